"""Rows as CSV: those of a JSON file, into another.

python table.py ours|library ROWS TARGET
"""

import csv
import sys
from pathlib import Path

import msgspec

from luigi_etl.table import csv_blocks


def ours(rows: list[list[str | None]], target: Path) -> None:
    """Write by `luigi_etl.table`."""
    with target.open("wb") as file:
        file.writelines(block.lines for block in csv_blocks(rows[0], rows[1:]))  # type: ignore[arg-type]


def library(rows: list[list[str | None]], target: Path) -> None:
    """Write by the `csv` module."""
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    write = {"ours": ours, "library": library}[sys.argv[1]]
    write(msgspec.json.decode(Path(sys.argv[2]).read_bytes()), Path(sys.argv[3]))
