"""Comparisons of modules of this project with libraries that could replace them."""

from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from benchmarks.bench import Costs, fetch, run_in_turns
from benchmarks.contestants import make_environment
from benchmarks.environments import OURS, PROJECT, prepare_environment
from benchmarks.processes import BenchmarkError, Command, Cost, measure
from benchmarks.tables import format_megabytes, format_seconds, format_table, median_ratio
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS
from luigi_etl.snapshot.decoding import read_page

SCRIPTS = Path(__file__).with_name("libraries")
ROWS = 100_000
OUTPUT = "rows.csv"
OWN, OTHER = "own", "other"  # arguments of the scripts
HEADER = (
    "",
    "our module",
    "lines",
    "seconds",
    "MB",
    "library",
    "seconds",
    "MB",
    "takes … times as long",
)


class Comparison(NamedTuple):
    """A module, its library, and the `work` that the script of the module's name does with either.

    `environment` has the library; `arguments` are further arguments of the script.
    """

    work: str
    module: str
    library: str
    environment: str = OURS
    arguments: Sequence[str | Path] = ()


def compare_with_libraries(folder: Path, url: str, rounds: int) -> str:
    """Measure each module and its library in turn, as whole processes; return the table."""
    rows = _write_rows(url, folder / "rows.json")
    comparisons = [
        Comparison(f"{ROWS:,} rows, from JSON to CSV", "csv_format", "csv", arguments=[rows, OUTPUT]),
        Comparison("one request's turn", "rate_limit", "pyrate-limiter", "pyrate", ["turns"]),
    ]
    table = format_table(HEADER, [_row(each, _measure(each, folder, rounds)) for each in comparisons])
    return f"{rounds} rounds:\n\n{table}"


def _measure(comparison: Comparison, folder: Path, rounds: int) -> Costs:
    """Return the costs of the module and of the library, in this order."""
    runs = {
        f"{comparison.module}, {which}": partial(_run, comparison, which, folder) for which in (OWN, OTHER)
    }
    return run_in_turns(runs, rounds)


def _run(comparison: Comparison, which: str, folder: Path) -> Cost:
    """Run the script in a folder that is kept from round to round."""
    run_folder = folder / comparison.module / which
    run_folder.mkdir(parents=True, exist_ok=True)
    python = prepare_environment(OURS if which == OWN else comparison.environment) / "python"
    command = [python, SCRIPTS / f"{comparison.module}.py", which, *comparison.arguments]
    cost = measure(Command(command, make_environment(run_folder), run_folder))
    _check_outputs(run_folder.parent)
    return cost


def _check_outputs(folder: Path) -> None:
    """Check that the module and the library wrote the same bytes, if any."""
    outputs = {path.read_bytes() for path in folder.glob(f"*/{OUTPUT}")}
    if len(outputs) > 1:
        raise BenchmarkError(f"{folder.name}: the module and the library wrote different {OUTPUT}")


def _find_source(comparison: Comparison) -> Path:
    (path,) = (PROJECT / "luigi_etl").glob(f"*/{comparison.module}.py")
    return path


def _row(comparison: Comparison, costs: Costs) -> list[str]:
    own, other = costs
    return [
        comparison.work,
        f"`{comparison.module}.py`",
        str(len(_find_source(comparison).read_text().splitlines())),
        format_seconds(costs[own]),
        format_megabytes(costs[own]),
        comparison.library,
        format_seconds(costs[other]),
        format_megabytes(costs[other]),
        f"{median_ratio(costs, other, own):.2f}",
    ]


def _write_rows(url: str, path: Path) -> Path:
    """Write the rows of one page as JSON, repeated up to ROWS; return the path."""
    complaints = read_page(fetch(f"{url}?size=10000")).results
    values = attrgetter(*(column.field for column in DEFAULT_COLUMNS))
    rows = [[None if value is UNSET else value for value in values(one)] for one in complaints]
    path.write_bytes(msgspec.json.encode([*islice(cycle(rows), ROWS)]))
    return path
