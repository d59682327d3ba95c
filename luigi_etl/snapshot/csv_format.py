"""CSV writing, column by column, because most columns need no quotes.

`csv.writer` checks each character of each cell and takes three times as long. It also needs workarounds for
the same bytes: before Python 3.13 it does not quote a lone CR, and 3.10 refuses NUL.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

Cell = str | bool | date | None
_ROWS = 250  # per block: more texts would not fit into the processor's cache


class Block(NamedTuple):
    """Lines of a CSV and the number of rows in them."""

    lines: bytes
    rows: int


def csv_blocks(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[Block]:
    """Yield the header, which is not counted as a row, and then the rows as CSV.

    The format is the CFPB's: RFC 4180 in UTF-8 with LF line ends. None is an empty cell, a boolean `true` or
    `false`, a date `YYYY-MM-DD`. Texts are stored exactly, even if a spreadsheet reads them as formulas.

    Raises:
        ValueError: the rows of a block have different lengths.

    """
    yield Block(_lines([header]), 0)
    remaining = iter(rows)
    while block := list(islice(remaining, _ROWS)):
        yield Block(_lines(block), len(block))


def _lines(rows: Sequence[Sequence[Cell]]) -> bytes:
    columns = [_texts(column) for column in zip(*rows, strict=True)]
    if len(columns) == 1:  # CSV readers skip an empty line
        columns = [[text or '""' for text in columns[0]]]
    return ("\n".join(map(",".join, zip(*columns, strict=True))) + "\n").encode()


def _texts(column: Sequence[Any]) -> Sequence[str]:
    """Return the texts of a column's cells; format each different value only once."""
    cells = ["" if cell is None else cell for cell in column] if None in column else column
    if _is_plain(cells):
        return cells
    texts = {cell: _text(cell) for cell in set(cells)}
    return [texts[cell] for cell in cells]


def _is_plain(cells: Sequence[Any]) -> bool:
    try:
        return not _needs_quotes("".join(cells))
    except TypeError:  # a boolean or a date
        return False


def _text(cell: str | bool | date) -> str:
    if isinstance(cell, str):
        return '"' + cell.replace('"', '""') + '"' if _needs_quotes(cell) else cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat()


def _needs_quotes(text: str) -> bool:
    """Return whether a text needs quotes (RFC 4180, 2.6)."""
    return '"' in text or "," in text or "\n" in text or "\r" in text
