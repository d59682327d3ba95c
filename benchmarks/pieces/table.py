"""Rows as CSV: those of a JSON file, into another.

python table.py own|other ROWS TARGET
"""

import csv
import sys
from pathlib import Path

import msgspec

from luigi_etl.complaint import DEFAULT_COLUMNS
from luigi_etl.store import labels
from luigi_etl.table import csv_blocks

HEADER = labels(DEFAULT_COLUMNS)


def own(rows: list[list[str | None]], target: Path) -> None:
    """Write by `luigi_etl.table`."""
    with target.open("wb") as file:
        file.writelines(block.lines for block in csv_blocks(HEADER, rows))


def other(rows: list[list[str | None]], target: Path) -> None:
    """Write by the `csv` module."""
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    write = {"own": own, "other": other}[sys.argv[1]]
    write(msgspec.json.decode(Path(sys.argv[2]).read_bytes()), Path(sys.argv[3]))
