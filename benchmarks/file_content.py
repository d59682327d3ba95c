"""The check that a database or an export holds exactly the rows of a daily file."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.file_rows import FIELDS
from benchmarks.processes import BenchmarkError
from benchmarks.results import Content
from luigi_etl.snapshot.columns import COLUMNS

_FIELD_OF = {column.label: column.field for column in COLUMNS}


def content_of(rows: Iterable[tuple[str, ...]]) -> Content:
    """Return the content of rows with the cells of `FIELDS`."""
    count = hashes = 0
    for row in rows:
        count += 1
        hashes += hash(row)
    return Content(count, hashes % 2**64)


def content_of_file(path: Path) -> Content:
    """Return the content of a CSV file; other columns than the daily file's are ignored."""
    return content_of(_read_rows(path))


def check_content(name: str, content: Content, expected: Content) -> None:
    """Compare the content of a result with that of the file.

    Raises:
        BenchmarkError: they differ.

    """
    if content != expected:
        raise BenchmarkError(
            f"{name}: the result differs: {content.rows:,} rows, expected {expected.rows:,}, or other cells"
        )


def _read_rows(path: Path) -> Iterator[tuple[str, ...]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        header = [_FIELD_OF[label] for label in next(lines)]
        places = [header.index(field) for field in FIELDS]
        for line in lines:
            yield tuple([line[place] for place in places])
