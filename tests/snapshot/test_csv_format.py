"""CSV writing gives the same bytes as Python's `csv.writer`."""

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


def write(header: list[str], rows: list[list[Cell]]) -> bytes:
    return b"".join(block.lines for block in csv_blocks(header, rows))


def write_with_csv_module(*rows: Sequence[Cell]) -> bytes:
    """Write each row separately with CRLF, because `csv` quotes a lone CR only then."""
    flags: dict[Cell, str] = {True: "true", False: "false"}
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow([flags.get(cell, cell) for cell in row])
        lines.append(line.getvalue()[:-2] + "\n")
    return "".join(lines).encode()


@given(tables)
def test_any_cells_are_written_as_by_csv_writer(rows: list[list[Cell]]) -> None:
    header = ["a, b"] * (len(rows[0]) if rows else 1)

    assert write(header, rows) == write_with_csv_module(header, *rows)


def test_many_rows_of_mixed_values_keep_their_order() -> None:
    kinds: list[list[Cell]] = [["1", None], ['"', True], ["", date(2026, 11, 22)], ["plain", "a,b"]]
    rows = [kinds[(number * number) % 4] for number in range(2_001)]

    assert write(["one", "two"], rows) == write_with_csv_module(["one", "two"], *rows)


def test_header_is_not_counted_as_a_row() -> None:
    rows: list[list[Cell]] = [["1"]] * 777

    assert sum(block.rows for block in csv_blocks(["id"], rows)) == 777


def test_row_of_another_length_raises_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        write(["one", "two"], [["1", "2"], ["1"]])
