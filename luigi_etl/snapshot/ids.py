"""A set of complaint ids that needs little memory."""

from collections.abc import Iterable

from pyroaring import BitMap64

_MOST_DIGITS = 19  # such numbers always fit into 64 bits


class IdSet:
    """A set of ids; numbers are in a compressed bitmap, other ids in a Python set."""

    def __init__(self) -> None:
        self._numbers = BitMap64()
        self._others: set[str] = set()

    def __len__(self) -> int:
        return len(self._numbers) + len(self._others)

    def add(self, identifiers: Iterable[str | int]) -> list[bool]:
        """Add ids; return for each whether it was new."""
        return [self._add(str(identifier)) for identifier in identifiers]

    def _add(self, text: str) -> bool:
        if _is_number(text):
            number = int(text)
            is_new = number not in self._numbers
            self._numbers.add(number)
        else:
            is_new = text not in self._others
            self._others.add(text)
        return is_new


def _is_number(text: str) -> bool:
    """Return whether a text is a number without leading zeros; `07` and `7` are different ids."""
    return text.isascii() and text.isdecimal() and text[0] != "0" and len(text) <= _MOST_DIGITS
