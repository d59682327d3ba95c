"""Snapshots for the benchmark of merges: all complaints, the newest complaints, and changes."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from luigi_etl.api.query import parse_query
from luigi_etl.sandbox.eras import ERAS, TODAY
from luigi_etl.sandbox.generate import NOW, Generator, Source
from luigi_etl.snapshot.datapackage import SnapshotSpec
from luigi_etl.snapshot.paths import SnapshotFiles
from tests.made import answer, fetched

DAYS, WINDOW = 200, 5  # days of all complaints, and of a snapshot of changes
WINDOWS = 4  # together the days of the smaller database
PAGE = 10_000
MINUTE = datetime(2026, 11, 22, 9, 26)


class Numbers(NamedTuple):
    """The number of complaints, of their subsets, and of turns with changes."""

    complaints: int
    turns: int

    @property
    def fewer(self) -> int:
        """Complaints of the smaller database, which has only the windows."""
        return self.window * WINDOWS

    @property
    def window(self) -> int:
        """Complaints of a snapshot of changes."""
        return self.per_day * WINDOW

    @property
    def per_day(self) -> int:
        """Complaints received on one day."""
        return self.complaints // DAYS

    @property
    def changed(self) -> int:
        """Changed complaints of a window."""
        return self.window * 4 // 5

    @property
    def replaced(self) -> int:
        """Removed complaints of a window; the same number is new."""
        return self.changed // 100


class Snapshots(NamedTuple):
    """The snapshots to merge: all complaints, only the newest, and the changes."""

    all: SnapshotFiles
    newest: SnapshotFiles
    changes: list[SnapshotFiles]


def make_snapshots(folder: Path, numbers: Numbers) -> Snapshots:
    """Write the snapshots with the chain's functions."""
    generator = Generator(1, ERAS[TODAY], days=1)
    dated = _generate_dated(generator, numbers)
    newest = list(islice(dated, numbers.fewer))
    windows = [newest[start : start + numbers.window] for start in range(0, numbers.fewer, numbers.window)]
    return Snapshots(
        _write_snapshot(folder / "all", MINUTE, chain(newest, dated), numbers.complaints),
        _write_snapshot(folder / "newest", MINUTE, newest, numbers.fewer),
        [_write_changes(folder, turn, windows, generator, numbers) for turn in range(numbers.turns)],
    )


def _generate_dated(generator: Generator, numbers: Numbers) -> Iterator[Source]:
    for count, source in enumerate(generator.complaints(numbers.complaints)):
        yield generator.redated(source, NOW - timedelta(days=count // numbers.per_day))


def _write_changes(
    folder: Path, turn: int, windows: list[list[Source]], generator: Generator, numbers: Numbers
) -> SnapshotFiles:
    """Change the complaints of a turn's window in `windows`, and write its snapshot."""
    at = turn % WINDOWS
    last = NOW - timedelta(days=at * WINDOW)
    changed = [generator.changed(one) for one in windows[at][: numbers.changed]]
    new = [generator.redated(one, last) for one in generator.complaints(numbers.replaced)]
    windows[at] = [*changed, *windows[at][numbers.changed : -numbers.replaced], *new]
    query = (
        f"date_received_min={last - timedelta(days=WINDOW - 1):%Y-%m-%d}&date_received_max={last:%Y-%m-%d}"
    )
    return _write_snapshot(
        folder / "changes", MINUTE + timedelta(days=1 + turn), windows[at], numbers.window, query
    )


def _write_snapshot(
    root: Path, minute: datetime, sources: Iterable[Source], total: int, query: str = ""
) -> SnapshotFiles:
    remaining = iter(sources)
    pages = iter(lambda: list(islice(remaining, PAGE)), [])
    spec = SnapshotSpec(parse_query(query), 0, minute)
    return fetched(root, spec, (answer(page, total, "of a benchmark") for page in pages))
