"""The command that measures the chain and its peers and writes the tables of docs/performance.md.

    python -m benchmarks    # half an hour, 4 GB in $TMPDIR
    python -m benchmarks --only tick --rounds 3 --complaints 20000    # a trial

Needs Linux. Figures cover the whole process tree: wall time, CPU time and peak memory. The contestants take
turns, and each has a virtual environment with pinned versions (`environments/`). One server on loopback
serves all of them the same complaints, and all results are compared cell by cell. This server, luigid and
Prefect's server are not counted. A run with the default numbers writes its tables into docs/performance.md; a
trial only prints them.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, log, open_bench
from benchmarks.environments import PROJECT
from benchmarks.parts import PARTS, Rounds
from benchmarks.processes import BenchmarkError, exit_on_signals
from benchmarks.tables import describe_machine, replace_section

COMPLAINTS = 1_000_000
PYTHON = (3, 11)


def main() -> None:
    """Measure the parts, and write the tables into docs/performance.md unless this is a trial."""
    exit_on_signals()
    options = _parse_options(sys.argv[1:])
    if sys.version_info[:2] != PYTHON:
        sys.exit("benchmarks: the versions are pinned for Python {0}.{1}; use Python {0}.{1}".format(*PYTHON))
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


def _measure(bench: Bench, part: str, rounds: Rounds, is_trial: bool) -> None:
    """Measure a part in a new folder and print its tables."""
    log(f"--- {part}")
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        text = f"{PARTS[part](bench.within(Path(folder)), rounds)}\n\nMeasured {describe_machine()}."
    print(f"\n{text}\n", flush=True)
    if not is_trial:
        replace_section(PROJECT / "docs" / "performance.md", part, text)


def _parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the chain and its peers."
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part; may be repeated")
    parser.add_argument("--rounds", type=int, metavar="N", help="number of rounds of each part; a trial")
    parser.add_argument(
        "--complaints",
        type=int,
        default=COMPLAINTS,
        metavar="N",
        help="number of complaints (default: a million); another number is a trial",
    )
    options = parser.parse_args(arguments)
    if options.complaints < 1000 or (options.rounds is not None and options.rounds < 1):
        parser.error("--complaints must be 1000 or more, and --rounds 1 or more")
    return options


if __name__ == "__main__":
    main()
