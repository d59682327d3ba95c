"""A benchmark of merges: time, memory and disk use for many complaints and for changes to them.

    python -m benchmarks.merge                      # a million; ten minutes, 5 GB in $TMPDIR
    python -m benchmarks.merge --complaints 10000   # a trial

Needs the extra `test` (`pip install -e '.[test]'`) and Debian's package `postgresql`.

First, a complete snapshot of a million generated complaints, 5,000 a day, is merged into an empty database,
and the newest tenth into another. Then both databases merge the same complete snapshots of five days each:
20,000 of their 25,000 complaints have changed, 200 are gone, and 200 are new. The databases take turns, so
that other load affects both equally; the figures are medians. Each merge runs in a new process, so its peak
memory is that of the merge. With fewer complaints all numbers shrink in proportion.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import psycopg

from benchmarks.merge_snapshots import DAYS, Numbers, Snapshots, make_snapshots
from luigi_etl.database.connection import Database
from luigi_etl.database.merge import merge
from luigi_etl.snapshot.paths import SnapshotFiles

COMPLAINTS = 1_000_000

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Cost(NamedTuple):
    """The wall time of a merge in seconds, and its peak memory in bytes."""

    seconds: float
    memory: int


class DatabaseCosts(NamedTuple):
    """The cost to fill a database, its size afterwards, and the cost of each change."""

    filling: Cost
    size: int
    changes: list[Cost]


class Measurement(NamedTuple):
    """The costs of a database of all complaints, and of one of only the newest."""

    larger: DatabaseCosts
    smaller: DatabaseCosts


def main() -> None:
    """Measure merges and print a table for docs/performance.md."""
    import pytest  # imported here to keep it out of the measured processes

    from tests.conftest import free_port
    from tests.postgres import running_postgres

    numbers = _parse_numbers(sys.argv[1:])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luigi_etl.benchmark.")))
        try:
            server = stack.enter_context(running_postgres(free_port()))
        except pytest.skip.Exception as absent:
            sys.exit(str(absent))
        _log(f"generating {numbers.complaints:,} complaints")
        snapshots = _run_in_process(make_snapshots, folder, numbers)
        sqlite = measure(snapshots, folder / "larger.db", folder / "smaller.db")
        databases = [stack.enter_context(server.new_database(name)) for name in ("larger", "smaller")]
        postgres = measure(snapshots, *databases)
    print(format_table(numbers, sqlite, postgres))


def measure(snapshots: Snapshots, larger: str | Path, smaller: str | Path) -> Measurement:
    """Fill two databases, then merge each change into both."""
    _log(f"filling {larger}")
    filling = [_measure_merge(larger, snapshots.all), _measure_merge(smaller, snapshots.newest)]
    sizes = [_database_size(larger), _database_size(smaller)]
    turns: list[tuple[Cost, Cost]] = []
    for turn, files in enumerate(snapshots.changes):
        _log(f"changes {turn + 1} of {len(snapshots.changes)}")
        turns.append((_measure_merge(larger, files), _measure_merge(smaller, files)))
    costs = map(DatabaseCosts, filling, sizes, map(list, zip(*turns, strict=True)))
    return Measurement(*costs)


def _measure_merge(address: str | Path, files: SnapshotFiles) -> Cost:
    return _run_in_process(timed_merge, address, files)


def timed_merge(address: str | Path, files: SnapshotFiles) -> Cost:
    """Merge a snapshot in this process and return the cost."""
    start = time.monotonic()
    merge(Database(address), files)
    return Cost(time.monotonic() - start, _peak_memory())


def format_table(numbers: Numbers, sqlite: Measurement, postgres: Measurement) -> str:
    """Return the Markdown table of the measurements."""
    many, fewer, changed = f"{numbers.complaints:,}", f"{numbers.fewer:,}", f"{numbers.changed:,}"
    rows: list[tuple[str, Callable[[Measurement], str]]] = [
        (
            f"{many} complaints into an empty database",
            lambda one: _format_seconds(one.larger.filling.seconds),
        ),
        ("memory for that", lambda one: _format_megabytes(one.larger.filling.memory)),
        (f"memory for {fewer}", lambda one: _format_megabytes(one.smaller.filling.memory)),
        (f"the database of {many}", lambda one: _format_megabytes(one.larger.size)),
        (f"{changed} changes into {many}", lambda one: _format_seconds(_median(one.larger))),
        (f"the same changes into {fewer}", lambda one: _format_seconds(_median(one.smaller))),
        ("ratio of the last two", lambda one: f"{_median(one.larger) / _median(one.smaller):.2f}"),
        (f"memory for {changed} changes", lambda one: _format_megabytes(_peak_of_changes(one.larger))),
    ]
    lines = [f"| {name} | {cell(sqlite)} | {cell(postgres)} |" for name, cell in rows]
    return "\n".join(["| | SQLite | PostgreSQL |", "|---|---|---|", *lines])


def _parse_numbers(arguments: Sequence[str]) -> Numbers:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge", description="Measure merges.")
    parser.add_argument(
        "--complaints",
        type=int,
        default=COMPLAINTS,
        metavar="N",
        help="number of complaints (default: a million)",
    )
    parser.add_argument("--turns", type=int, default=8, metavar="N", help="number of changes (default: 8)")
    numbers = Numbers(**vars(parser.parse_args(arguments)))
    if numbers.replaced < 1 or numbers.complaints % DAYS:
        parser.error(f"--complaints must be a multiple of {DAYS} and at least 5000")
    return numbers


def _run_in_process(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Run a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments, **named).result()


def _peak_memory() -> int:
    """Return the peak memory of this process; `ru_maxrss` would include its parent's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _database_size(address: str | Path) -> int:
    if isinstance(address, Path):
        return address.stat().st_size
    with psycopg.connect(address) as connection:
        (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        return int(size)


def _median(costs: DatabaseCosts) -> float:
    return statistics.median(cost.seconds for cost in costs.changes)


def _peak_of_changes(costs: DatabaseCosts) -> int:
    return max(cost.memory for cost in costs.changes)


def _format_seconds(seconds: float) -> str:
    digits = 0 if seconds > 20 else 1 if seconds >= 1 else 2
    return f"{seconds:.{digits}f} s"


def _format_megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
