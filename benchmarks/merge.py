"""What a merge costs: the time, memory and disk of very many complaints, and of a few changes to them.

    python -m benchmarks.merge                      # a million; ten minutes, 5 GB in $TMPDIR
    python -m benchmarks.merge --complaints 10000   # a trial

It wants the extras of the tests (`pip install -e '.[test]'`) and Debian's package `postgresql`.

A complete snapshot of a million generated complaints, 5,000 a day, is merged into an empty database, the
newest tenth of them into another. Then come complete snapshots of five days each, the same for both: of the
25,000 complaints of those days 20,000 have changed, 200 are gone, and 200 are new. The two databases take
turns, and the medians count: what else the machine does tells on both alike. Every merge has a process of
its own, whose peak memory is the merge's. With fewer complaints everything is fewer in proportion.
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

from benchmarks.merge_snapshots import DAYS, Made, Numbers, make
from luigi_etl.database.connection import Database
from luigi_etl.database.merge import merge
from luigi_etl.snapshot.paths import SnapshotFiles

COMPLAINTS = 1_000_000

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Cost(NamedTuple):
    """The seconds that a merge took, and the most bytes of memory it had."""

    seconds: float
    memory: int


class Costs(NamedTuple):
    """What it cost to fill a database, its size then, and what the changes cost."""

    filling: Cost
    size: int
    changes: list[Cost]


class Measured(NamedTuple):
    """The costs of a database of all complaints, and of one of the newest alone."""

    larger: Costs
    smaller: Costs


def main() -> None:
    """Measure, and print a table for docs/performance.md."""
    import pytest  # here, where the processes that are measured do not pay for it

    from tests.conftest import free_port
    from tests.postgres import running_postgres

    numbers = _numbers(sys.argv[1:])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luigi_etl.benchmark.")))
        try:
            server = stack.enter_context(running_postgres(free_port()))
        except pytest.skip.Exception as absent:
            sys.exit(str(absent))
        _tell(f"making {numbers.complaints:,} complaints")
        made = _alone(make, folder, numbers)
        sqlite = measure(made, folder / "larger.db", folder / "smaller.db")
        databases = [stack.enter_context(server.new_database(name)) for name in ("larger", "smaller")]
        postgres = measure(made, *databases)
    print(table(numbers, sqlite, postgres))


def measure(made: Made, larger: str | Path, smaller: str | Path) -> Measured:
    """Fill two databases, and let them take turns with the changes."""
    _tell(f"filling {larger}")
    filled = [_alone(merged, larger, made.everything), _alone(merged, smaller, made.newest)]
    sizes = [_size(larger), _size(smaller)]
    turns: list[tuple[Cost, Cost]] = []
    for turn, files in enumerate(made.changes):
        _tell(f"changes {turn + 1} of {len(made.changes)}")
        turns.append((_alone(merged, larger, files), _alone(merged, smaller, files)))
    costs = map(Costs, filled, sizes, map(list, zip(*turns, strict=True)))
    return Measured(*costs)


def merged(address: str | Path, files: SnapshotFiles) -> Cost:
    """Merge a snapshot, and return what that cost this process."""
    began = time.monotonic()
    merge(Database(address), files)
    return Cost(time.monotonic() - began, _peak_memory())


def table(numbers: Numbers, sqlite: Measured, postgres: Measured) -> str:
    """Return the table of what was measured."""
    many, fewer, changed = f"{numbers.complaints:,}", f"{numbers.fewer:,}", f"{numbers.changed:,}"
    rows: list[tuple[str, Callable[[Measured], str]]] = [
        (f"{many} complaints into an empty database", lambda one: _seconds(one.larger.filling.seconds)),
        ("memory for that", lambda one: _megabytes(one.larger.filling.memory)),
        (f"memory for {fewer}", lambda one: _megabytes(one.smaller.filling.memory)),
        (f"the database of {many}", lambda one: _megabytes(one.larger.size)),
        (f"{changed} changes into {many}", lambda one: _seconds(_median(one.larger))),
        (f"the same changes into {fewer}", lambda one: _seconds(_median(one.smaller))),
        ("the one to the other", lambda one: f"{_median(one.larger) / _median(one.smaller):.2f}"),
        (f"memory for {changed} changes", lambda one: _megabytes(_most_memory(one.larger))),
    ]
    lines = [f"| {name} | {tell(sqlite)} | {tell(postgres)} |" for name, tell in rows]
    return "\n".join(["| | SQLite | PostgreSQL |", "|---|---|---|", *lines])


def _numbers(arguments: Sequence[str]) -> Numbers:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge", description="Measure merges.")
    parser.add_argument("--complaints", type=int, default=COMPLAINTS, metavar="N")
    parser.add_argument("--turns", type=int, default=8, metavar="N")
    numbers = Numbers(**vars(parser.parse_args(arguments)))
    if numbers.replaced < 1 or numbers.complaints % DAYS:
        parser.error(f"--complaints: it takes a multiple of {DAYS}, from 5000 on")
    return numbers


def _alone(
    function: Callable[Parameters, Result], *arguments: Parameters.args, **named: Parameters.kwargs
) -> Result:
    """Run a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments, **named).result()


def _peak_memory() -> int:
    """Return the most memory this process had; `ru_maxrss` also tells of the process that began it."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _size(address: str | Path) -> int:
    if isinstance(address, Path):
        return address.stat().st_size
    with psycopg.connect(address) as connection:
        (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        return int(size)


def _median(costs: Costs) -> float:
    return statistics.median(cost.seconds for cost in costs.changes)


def _most_memory(costs: Costs) -> int:
    return max(cost.memory for cost in costs.changes)


def _seconds(seconds: float) -> str:
    digits = 0 if seconds > 20 else 1 if seconds >= 1 else 2
    return f"{seconds:.{digits}f} s"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
