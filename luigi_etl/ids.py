"""Which complaints were seen already, in little memory."""

from collections.abc import Iterable

_BLOCK = 1 << 16
_MOST_DIGITS = 10  # no complaint has more; of longer ones each could cost a block of its own


class IdSet:
    """A set of ids that takes a bit each where they are numbers, as complaint ids are.

    Ids of one window lie close together, so that 200,000 take kilobytes here and megabytes in a set.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._others: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, identifiers: Iterable[str | int]) -> list[bool]:
        """Add ids, a page at a time; tell of each whether it was new."""
        texts = list(map(str, identifiers))
        if _are_numbers(texts):
            new = self._add_numbers(map(int, texts))
        else:
            new = [self._add_text(text) for text in texts]
        self._count += sum(new)
        return new

    def _add_numbers(self, numbers: Iterable[int]) -> list[bool]:
        blocks, new = self._blocks, []
        for number in numbers:
            block = blocks.get(number // _BLOCK)
            if block is None:
                block = blocks[number // _BLOCK] = bytearray(_BLOCK // 8)
            place, bit = number % _BLOCK // 8, 1 << number % 8
            new.append(not block[place] & bit)
            block[place] |= bit
        return new

    def _add_text(self, text: str) -> bool:
        if _are_numbers([text]):
            return self._add_numbers([int(text)])[0]
        is_new = text not in self._others
        self._others.add(text)
        return is_new


def _are_numbers(texts: list[str]) -> bool:
    """Tell whether all are numbers in their only spelling, which `07` is not, and none is absurdly long."""
    digits = "".join(texts)
    return (
        digits.isascii()
        and digits.isdecimal()
        and min(texts) >= "1"
        and len(max(texts, key=len)) <= _MOST_DIGITS
    )
