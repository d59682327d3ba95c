"""Rows of a complaint file: read block by block, and row by row where a block holds a bad one."""

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from luigi_etl.bulk.columns import CellError, Converters, Value, read_header
from luigi_etl.bulk.containers import Readable
from luigi_etl.common.errors import FileFormatError

BLOCK = 1 << 20  # bytes
LONGEST_ROW = 1 << 23  # bytes
BOM = b"\xef\xbb\xbf"
_UNCLOSED = "unexpected end of data"  # the csv module has one class for all errors
_MALFORMED = (UnicodeDecodeError, csv.Error, CellError)

Row = tuple[Value, ...]


class RejectedRow(NamedTuple):
    """A row that is not a valid complaint: its first line in the file, the reason, and its text."""

    line: int
    reason: str
    text: str


class Batch(NamedTuple):
    """Rows in the order of the file, and the rejected ones between them.

    `lines` are the texts of the rows, or empty if a row is rejected or not one line. `known` is the number of
    rows that were left out because `FindKnown` knew them.
    """

    rows: list[Row]
    rejected: list[RejectedRow]
    lines: list[bytes]
    known: int = 0


# Returns for each of these lines whether its row is known, or an empty list if none is.
FindKnown = Callable[[list[bytes]], list[bool]]


class RowReader:
    """The rows of a CSV file, as values of its `fields`; `unknown_labels` are columns of no field.

    `header` is its first line. `is_checked` is true where a checksum protects the content, so that a cut file
    can't look whole.

    Every method raises `FileFormatError` where the whole file can't be used, also after its last row.
    """

    def __init__(self, stream: Readable, *, is_checked: bool) -> None:
        self._stream = stream
        self._is_checked = is_checked
        self._line = 1
        self._rest = b""
        self._is_at_end = False
        self._is_last_row_cut = False
        self.header = self._read_first_line()
        header = read_header(_split_header(self.header))
        self._width = len(header.fields)
        self.unknown_labels = header.unknown_labels
        self.fields = tuple(field for field in header.fields if field)
        # The API's own export has CRLF, and `None` for no value.
        self._converters = Converters("None" if self.header.endswith("\r\n") else "")
        self._columns = [
            (place, self._converters.find(field)) for place, field in enumerate(header.fields) if field
        ]

    def batches(self, find_known: FindKnown = lambda _: []) -> Iterator[Batch]:
        """Give all rows except the known ones, some thousand at a time.

        A known row has the same text as a valid row that was read with the same header.
        """
        is_empty = True
        while block := self._next_block():
            batch = self._read_unknown_rows(block, find_known) or self._read_block(block)
            is_empty = is_empty and not (batch.rows or batch.rejected or batch.known)
            yield batch
        if is_empty:
            raise FileFormatError("it has no rows")
        if self._is_last_row_cut:
            raise FileFormatError("its last row is cut off; copy or download it again")
        self._converters.check_zip_codes()

    def _read_more(self) -> None:
        more = self._stream.read(BLOCK)
        self._is_at_end = not more
        self._rest += more.replace(b"\0", "\ufffd".encode())  # PostgreSQL can't hold it

    def _read_first_line(self) -> str:
        while not self._is_at_end and b"\n" not in self._rest and len(self._rest) <= LONGEST_ROW:
            self._read_more()
        line, newline, self._rest = self._rest.removeprefix(BOM).partition(b"\n")
        self._line += 1
        try:
            return (line + newline).decode()
        except UnicodeDecodeError:
            raise FileFormatError("its first row is not UTF-8 text; save it as CSV in UTF-8") from None

    def _next_block(self) -> bytes:
        """Return whole lines that end outside of quotation marks, unless a row is malformed."""
        while not self._is_at_end:
            self._read_more()
            end = self._rest.rfind(b"\n") + 1
            is_long = len(self._rest) > LONGEST_ROW
            if end and (is_long or self._rest.count(b'"', 0, end) % 2 == 0):
                return self._take(end)
            if is_long:
                raise FileFormatError(f"line {self._line:,} is longer than {LONGEST_ROW:,} bytes")
        return self._take(len(self._rest))

    def _take(self, end: int) -> bytes:
        block, self._rest = self._rest[:end], self._rest[end:]
        if block and not block.endswith(b"\n"):
            if not self._is_checked:
                raise FileFormatError("its last line has no end; copy or download it again")
            block += b"\n"
        return block

    def _read_unknown_rows(self, block: bytes, find_known: FindKnown) -> Batch | None:
        """Return the rows that are not known, or None if the whole block must be read."""
        if "zip_code" in self.fields and not self._converters.has_leading_zero:  # a sign of no spreadsheet
            return None
        lines = block.split(b"\n")[:-1]
        known = find_known(lines)
        if True not in known:
            return None
        unknown = [line for line, is_known in zip(lines, known, strict=True) if not is_known]
        try:
            values = self._parse(b"".join(line + b"\n" for line in unknown))
        except _MALFORMED:
            return None
        if len(values) != len(unknown):  # a row has several lines, perhaps a known one among them
            return None
        self._line += len(lines)
        self._is_last_row_cut = False
        return Batch(values, [], unknown, len(lines) - len(unknown))

    def _read_block(self, block: bytes) -> Batch:
        try:
            values = self._parse(block)
        except _MALFORMED:
            text = block.decode("utf-8", "surrogateescape")
            return self._read_row_by_row(deque(io.StringIO(text, newline="\n")))
        self._line += block.count(b"\n")
        self._is_last_row_cut = self._is_last_row_cut and not values
        lines = block.split(b"\n")[:-1]
        return Batch(values, [], lines if len(lines) == len(values) else [])

    def _parse(self, block: bytes) -> list[Row]:
        text = io.StringIO(block.decode(), newline="\n")
        return self._convert([row for row in csv.reader(text, strict=True) if row])

    def _convert(self, rows: list[list[str]]) -> list[Row]:
        for row in rows:
            if len(row) != self._width:
                raise CellError(f"{len(row)} cells, not {self._width}")
        columns = list(zip(*rows, strict=True))
        values = [convert(columns[place]) for place, convert in self._columns] if rows else []
        return list(zip(*values, strict=True))

    def _read_row_by_row(self, lines: deque[str]) -> Batch:
        """Read lines of which a row is bad, so that it costs no other row."""
        batch = Batch([], [], [])
        is_open = False  # a quotation mark is not closed, and no valid row follows it
        while lines:
            taken: list[str] = []
            try:
                cells = next(csv.reader(_move(lines, taken), strict=True))
                if cells:
                    self._is_last_row_cut = is_open or len(cells) < self._width
                    "".join(taken).encode()
                    batch.rows.extend(self._convert([cells]))
                    is_open = self._is_last_row_cut = False
            except csv.Error as error:
                is_unclosed = str(error) == _UNCLOSED
                if is_unclosed and not self._is_at_end:  # the row may end in the next block
                    self._rest = "".join(taken).encode("utf-8", "surrogateescape") + self._rest
                    break
                is_open = self._is_last_row_cut = is_open or is_unclosed
                # A quotation mark too many swallowed the lines after the first.
                lines.extendleft(reversed(taken[1:]))
                del taken[1:]
                self._reject(batch, taken, str(error))
            except UnicodeEncodeError:
                self._reject(batch, taken, "not UTF-8 text")
            except CellError as error:
                self._reject(batch, taken, str(error))
            self._line += len(taken)
        return batch

    def _reject(self, batch: Batch, lines: list[str], reason: str) -> None:
        text = "".join(lines).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        batch.rejected.append(RejectedRow(self._line, reason, text.rstrip("\r\n")))


def _split_header(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:  # line ends of old Macs, or no CSV
        raise FileFormatError(f"its first row is not CSV ({error}); save it as CSV with LF or CRLF") from None


def _move(lines: deque[str], taken: list[str]) -> Iterator[str]:
    while lines:
        taken.append(lines.popleft())
        yield taken[-1]
