"""The check that all contestants write the same cells, because wrong results could be faster."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import BenchmarkError
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS


class Content(NamedTuple):
    """The number of rows and the sum of their hashes, which ignores their order."""

    rows: int
    hashes: int


class ResultChecker:
    """Compares each result with the first result of the same work."""

    def __init__(self) -> None:
        self._expected: dict[str, Content] = {}  # by work
        self._contents: dict[str, Content] = {}  # by SHA-256 of the files

    def check(self, name: str, work: str, files: Iterable[Path]) -> None:
        """Compare a contestant's CSV files with the first result of the same work.

        Raises:
            BenchmarkError: they differ or have no rows.

        """
        content = self._read(sorted(files))
        expected = self._expected.setdefault(work, content)
        if content != expected or not content.rows:
            raise BenchmarkError(
                f"{name}: the result for {work} differs: {content.rows:,} rows, expected {expected.rows:,}, "
                "or other cells"
            )

    def _read(self, files: list[Path]) -> Content:
        """Return the content of files; files with known bytes are not parsed again."""
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        key = digest.hexdigest()
        if key not in self._contents:
            self._contents[key] = _parse(files)
        return self._contents[key]


def _parse(files: list[Path]) -> Content:
    hashes = rows = 0
    for row in _rows(files):
        rows += 1
        hashes += hash(row)
    return Content(rows, hashes % 2**64)


def _rows(files: list[Path]) -> Iterator[tuple[str, ...]]:
    """Yield the cells in the CFPB's column order; headers may be labels or field names, in any order."""
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            header = next(lines)
            indexes = [
                header.index(column.label if column.label in header else column.field)
                for column in DEFAULT_COLUMNS
            ]
            for line in lines:
                yield tuple([line[index] for index in indexes])
