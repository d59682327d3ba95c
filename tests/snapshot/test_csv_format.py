"""Rows as CSV: the same bytes as Python's own writer, whatever the cells hold."""

import csv
import io
from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_etl.snapshot.csv_format import Cell, csv_blocks

texts = st.text(st.sampled_from('ab ,"\n\r\t;\0é\u2028😀'), max_size=8) | st.text(max_size=5)
cells = st.none() | st.booleans() | st.dates() | texts
tables = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width)))


def written(header: list[str], rows: list[list[Cell]]) -> bytes:
    return b"".join(block.lines for block in csv_blocks(header, rows))


def as_python_writes_it(*rows: Sequence[Cell]) -> bytes:
    """Write each row by itself: `csv` quotes a lone carriage return only where lines end in one."""
    flags: dict[Cell, str] = {True: "true", False: "false"}
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow([flags.get(cell, cell) for cell in row])
        lines.append(line.getvalue()[:-2] + "\n")
    return "".join(lines).encode()


@given(tables)
def test_any_cells_are_written_as_pythons_writer_would(rows: list[list[Cell]]) -> None:
    header = ["a, b"] * (len(rows[0]) if rows else 1)

    assert written(header, rows) == as_python_writes_it(header, *rows)


def test_many_rows_are_written_in_their_order_whatever_each_holds() -> None:
    kinds: list[list[Cell]] = [["1", None], ['"', True], ["", date(2026, 11, 22)], ["plain", "a,b"]]
    rows = [kinds[(number * number) % 4] for number in range(2_001)]

    assert written(["one", "two"], rows) == as_python_writes_it(["one", "two"], *rows)


def test_the_header_counts_as_no_row() -> None:
    rows: list[list[Cell]] = [["1"]] * 777

    assert sum(block.rows for block in csv_blocks(["id"], rows)) == 777


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="shorter"):
        written(["one", "two"], [["1", "2"], ["1"]])
