"""Rows as CSV, many together and column by column: that most of it needs no quotes is seen at once.

`csv.writer` looks at each character of each cell, which takes three times as long.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

Cell = str | bool | date | None
# Rows of a block: few enough for its texts to stay in the processor's cache, many enough to be worth it.
_ROWS = 250


class Block(NamedTuple):
    """Some lines of a CSV, and how many rows they are."""

    lines: bytes
    rows: int


def csv_blocks(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[Block]:
    """Give the header, which counts as no row, and then the rows, as CSV as the CFPB writes it.

    That is RFC 4180, but lines end in LF; UTF-8. None is an empty cell, a flag `true` or `false`, a date
    `YYYY-MM-DD`; everything else is stored exactly, also what a spreadsheet would take for a formula.
    """
    yield Block(_lines([header]), 0)
    remaining = iter(rows)
    while block := list(islice(remaining, _ROWS)):
        yield Block(_lines(block), len(block))


def _lines(rows: Sequence[Sequence[Cell]]) -> bytes:
    columns = [_texts(column) for column in zip(*rows, strict=True)]
    if len(columns) == 1:  # an empty line would be no row
        columns = [[text or '""' for text in columns[0]]]
    return ("\n".join(map(",".join, zip(*columns, strict=True))) + "\n").encode()


def _texts(column: Sequence[Any]) -> Sequence[str]:
    """Return the cells of a column as they are written; what stands in several rows is looked at once."""
    cells = ["" if cell is None else cell for cell in column] if None in column else column
    if _is_plain(cells):
        return cells
    texts = {cell: _text(cell) for cell in set(cells)}
    return [texts[cell] for cell in cells]


def _is_plain(cells: Sequence[Any]) -> bool:
    try:
        return not _needs_quotes("".join(cells))
    except TypeError:  # not all are texts
        return False


def _text(cell: str | bool | date) -> str:
    if isinstance(cell, str):
        return '"' + cell.replace('"', '""') + '"' if _needs_quotes(cell) else cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat()


def _needs_quotes(text: str) -> bool:
    """Tell whether there is anything in a text for which RFC 4180 wants quotes around it (2.6)."""
    return '"' in text or "," in text or "\n" in text or "\r" in text
