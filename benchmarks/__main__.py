"""What the chain costs, beside its peers: all parts, by one command.

    python -m benchmarks    # half an hour, 4 GB in $TMPDIR
    python -m benchmarks --only tick --rounds 3 --complaints 20000    # a trial

Linux alone. What is measured are whole processes, in turn and repeatedly: seconds from start to end, those
of the CPU, and the most memory of the process and its descendants. Each contestant has a virtual
environment of its own, of pinned versions (`environments/`), and what it left is compared, cell by cell,
with what the others left. One server on loopback gives all the same complaints. It, luigid and Prefect's
server run at the same time, and are not counted. A run with the default numbers writes its tables into
docs/performance.md; a trial only prints them.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from benchmarks.bench import Bench, open_bench, tell
from benchmarks.environments import PROJECT
from benchmarks.parts import PARTS, Rounds
from benchmarks.processes import BenchmarkError
from benchmarks.tables import machine, put_into

COMPLAINTS = 1_000_000
PYTHON = (3, 11)
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Measure, and put the tables into docs/performance.md."""
    for ending in ENDINGS:  # what was begun is ended, too
        signal.signal(ending, _end)
    options = _options(sys.argv[1:])
    if sys.version_info[:2] != PYTHON:
        sys.exit("benchmarks: the versions are pinned for Python {}.{}: run this with that".format(*PYTHON))
    rounds = Rounds(*[options.rounds] * len(Rounds._fields)) if options.rounds else Rounds()
    is_trial = bool(options.rounds) or options.complaints != COMPLAINTS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="luigi_etl.benchmarks.")))
        try:
            bench = stack.enter_context(open_bench(folder, options.complaints))
            for part in options.only or PARTS:
                _measure(bench, part, rounds, is_trial)
        except BenchmarkError as error:
            sys.exit(f"benchmarks: {error}")


def _end(number: int, _: object) -> NoReturn:
    for ending in ENDINGS:  # the cleaning up is not interrupted
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)


def _measure(bench: Bench, part: str, rounds: Rounds, is_trial: bool) -> None:
    """Measure a part, in a folder of its own."""
    tell(f"--- {part}")
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        text = f"{PARTS[part](bench.within(Path(folder)), rounds)}\n\nMeasured {machine()}."
    print(f"\n{text}\n", flush=True)
    if not is_trial:
        put_into(PROJECT / "docs" / "performance.md", part, text)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the chain and its peers."
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="a part alone; may be repeated")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each part; a trial")
    parser.add_argument(
        "--complaints", type=int, default=COMPLAINTS, metavar="N", help="instead of a million; a trial"
    )
    options = parser.parse_args(arguments)
    if options.complaints < 1000 or (options.rounds is not None and options.rounds < 1):
        parser.error("at least 1000 complaints, and one round")
    return options


if __name__ == "__main__":
    main()
