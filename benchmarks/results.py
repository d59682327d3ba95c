"""What a run left: cell by cell what the others left, so that nobody is fast by being wrong."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import BenchmarkError
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS


class Content(NamedTuple):
    """How many rows there are, and the sum of their hashes, for which their order does not count."""

    rows: int
    hashes: int


class Judge:
    """Knows what the first told of each kind of work was, and holds the others to it."""

    def __init__(self) -> None:
        self._right: dict[str, Content] = {}
        self._known: dict[str, Content] = {}

    def check(self, name: str, work: str, files: Iterable[Path]) -> None:
        """Compare what a contestant left with what the first left for the same work.

        Raises:
            BenchmarkError: they differ.

        """
        found = self._content(sorted(files))
        right = self._right.setdefault(work, found)
        if found != right or not found.rows:
            raise BenchmarkError(
                f"{name} left {found.rows:,} rows of {right.rows:,}, or other cells in them, of {work}"
            )

    def _content(self, files: list[Path]) -> Content:
        """Read files, unless they are byte by byte those of another run."""
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        if digest.hexdigest() not in self._known:
            self._known[digest.hexdigest()] = _read(files)
        return self._known[digest.hexdigest()]


def _read(files: list[Path]) -> Content:
    hashes = rows = 0
    for row in _rows(files):
        rows += 1
        hashes += hash(row)
    return Content(rows, hashes % 2**64)


def _rows(files: list[Path]) -> Iterator[tuple[str, ...]]:
    """Give the cells in the CFPB's order, whatever the columns are called and what else there is."""
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            header = next(lines)
            places = [
                header.index(column.label if column.label in header else column.field)
                for column in DEFAULT_COLUMNS
            ]
            for line in lines:
                yield tuple([line[place] for place in places])
