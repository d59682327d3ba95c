"""Which complaints were seen already, in little memory."""


class IdSet:
    """A set of ids that takes a bit each where they are numbers, as complaint ids are.

    Ids of one window lie close together, so that 200,000 take kilobytes here and megabytes in a set.
    """

    _BLOCK = 1 << 16

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._others: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self._others)

    def add(self, identifier: str | int) -> bool:
        """Add an id; tell whether it was new."""
        text = str(identifier)
        if not (text.isdecimal() and text.isascii() and len(text) <= 18 and (text[0] != "0" or text == "0")):
            new = text not in self._others
            self._others.add(text)
            return new
        block, place = divmod(int(text), self._BLOCK)
        bits = self._blocks.get(block)
        if bits is None:
            bits = self._blocks[block] = bytearray(self._BLOCK // 8)
        byte, mask = place >> 3, 1 << (place & 7)
        if bits[byte] & mask:
            return False
        bits[byte] |= mask
        self._count += 1
        return True
