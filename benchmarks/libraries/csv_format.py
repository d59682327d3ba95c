"""A writer of rows from a JSON file as CSV, with our module or with `csv`.

python csv_format.py own|other ROWS TARGET
"""

import csv
import sys
from pathlib import Path

import msgspec

from luigi_etl.snapshot.columns import DEFAULT_COLUMNS
from luigi_etl.snapshot.csv_format import csv_blocks
from luigi_etl.snapshot.store import list_labels

HEADER = list_labels(DEFAULT_COLUMNS)


def write_with_own(rows: list[list[str | None]], target: Path) -> None:
    """Write rows with `luigi_etl.snapshot.csv_format`."""
    with target.open("wb") as file:
        file.writelines(block.lines for block in csv_blocks(HEADER, rows))


def write_with_library(rows: list[list[str | None]], target: Path) -> None:
    """Write rows with the `csv` module."""
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEADER, *rows])


if __name__ == "__main__":
    write = {"own": write_with_own, "other": write_with_library}[sys.argv[1]]
    write(msgspec.json.decode(Path(sys.argv[2]).read_bytes()), Path(sys.argv[3]))
