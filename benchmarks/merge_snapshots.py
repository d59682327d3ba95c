"""The snapshots that the benchmark of merges makes: all complaints, the newest, and changes to them."""

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

DAYS, WINDOW = 200, 5  # days that the complaints are of, and those of a snapshot of changes
WINDOWS = 4  # they are the days of the smaller database
PAGE = 10_000
MINUTE = datetime(2026, 11, 22, 9, 26)


class Numbers(NamedTuple):
    """How many complaints there are, how many of each kind, and how many turns with changes."""

    complaints: int
    turns: int

    @property
    def fewer(self) -> int:
        """Those of the smaller database: the windows' alone."""
        return self.window * WINDOWS

    @property
    def window(self) -> int:
        """Those of a snapshot of changes."""
        return self.a_day * WINDOW

    @property
    def a_day(self) -> int:
        """Those received on a day."""
        return self.complaints // DAYS

    @property
    def changed(self) -> int:
        """Those of a window that have changed."""
        return self.window * 4 // 5

    @property
    def replaced(self) -> int:
        """Those of a window that are gone; as many are new."""
        return self.changed // 100


class Made(NamedTuple):
    """The snapshots to merge: all complaints, the newest alone, and the changes."""

    everything: SnapshotFiles
    newest: SnapshotFiles
    changes: list[SnapshotFiles]


def make(folder: Path, numbers: Numbers) -> Made:
    """Make the snapshots, with the chain's own functions."""
    generator = Generator(1, ERAS[TODAY], days=1)
    dated = _dated(generator, numbers)
    newest = list(islice(dated, numbers.fewer))
    windows = [newest[start : start + numbers.window] for start in range(0, numbers.fewer, numbers.window)]
    return Made(
        _snapshot(folder / "all", MINUTE, chain(newest, dated), numbers.complaints),
        _snapshot(folder / "newest", MINUTE, newest, numbers.fewer),
        [_changes(folder, turn, windows, generator, numbers) for turn in range(numbers.turns)],
    )


def _dated(generator: Generator, numbers: Numbers) -> Iterator[Source]:
    for count, source in enumerate(generator.complaints(numbers.complaints)):
        yield generator.redated(source, NOW - timedelta(days=count // numbers.a_day))


def _changes(
    folder: Path, turn: int, windows: list[list[Source]], generator: Generator, numbers: Numbers
) -> SnapshotFiles:
    """Make the snapshot of a window in which much has changed; the next of that window goes on from there."""
    at = turn % WINDOWS
    last = NOW - timedelta(days=at * WINDOW)
    changed = [generator.changed(one) for one in windows[at][: numbers.changed]]
    new = [generator.redated(one, last) for one in generator.complaints(numbers.replaced)]
    windows[at] = [*changed, *windows[at][numbers.changed : -numbers.replaced], *new]
    query = (
        f"date_received_min={last - timedelta(days=WINDOW - 1):%Y-%m-%d}&date_received_max={last:%Y-%m-%d}"
    )
    return _snapshot(
        folder / "changes", MINUTE + timedelta(days=1 + turn), windows[at], numbers.window, query
    )


def _snapshot(
    root: Path, minute: datetime, sources: Iterable[Source], total: int, query: str = ""
) -> SnapshotFiles:
    every = iter(sources)
    pages = iter(lambda: list(islice(every, PAGE)), [])
    asked = SnapshotSpec(parse_query(query), 0, minute)
    return fetched(root, asked, (answer(page, total, "of a benchmark") for page in pages))
