"""What is written here though a library, or Python itself, would do, beside that: is it worth its lines?"""

from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from benchmarks.bench import Costs, fetched, taking_turns
from benchmarks.contestants import environment
from benchmarks.environments import OURS, PROJECT, programs
from benchmarks.processes import BenchmarkError, Command, Cost, measured
from benchmarks.tables import megabytes, ratio, seconds, table
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS
from luigi_etl.snapshot.decoding import read_page

PIECES = Path(__file__).with_name("libraries")
ROWS = 100_000
WRITTEN = "rows.csv"
OWN, OTHER = "own", "other"  # as the scripts know them


class Piece(NamedTuple):
    """A module, what it stands in for, and the script of PIECES that does the `work` with either.

    `environment` is the one that has the library; `told` are the script's further arguments.
    """

    work: str
    module: str
    instead_of: str
    environment: str = OURS
    told: Sequence[str | Path] = ()


def beside_libraries(folder: Path, url: str, rounds: int) -> str:
    """Measure each piece and its library in turn, as whole processes; return the table."""
    rows = _rows_of(url, folder / "rows.json")
    pieces = [
        Piece(f"{ROWS:,} rows, from JSON to CSV", "csv_format", "csv", told=[rows, WRITTEN]),
        Piece("a turn to ask", "rate_limit", "pyrate-limiter", "pyrate", ["turns"]),
    ]
    header = [
        "",
        "written here",
        "lines",
        "seconds",
        "MB",
        "instead of",
        "seconds",
        "MB",
        "which takes … times as long",
    ]
    return f"{rounds} rounds:\n\n" + table(
        header, [_row(piece, _in_turn(piece, folder, rounds)) for piece in pieces]
    )


def _in_turn(piece: Piece, folder: Path, rounds: int) -> Costs:
    """Return what either took, by the name of its script and which it is."""
    runs = {f"{piece.module}, {which}": partial(_run, piece, which, folder) for which in (OWN, OTHER)}
    return taking_turns(runs, rounds)


def _run(piece: Piece, which: str, folder: Path) -> Cost:
    """Run the script of a piece in a folder that is kept from round to round."""
    own = folder / piece.module / which
    own.mkdir(parents=True, exist_ok=True)
    python = programs(OURS if which == OWN else piece.environment) / "python"
    command = [python, PIECES / f"{piece.module}.py", which, *piece.told]
    cost = measured(Command(command, environment(own), own))
    _compare(own.parent)
    return cost


def _compare(folder: Path) -> None:
    """See to it that what was written, if anything was, is the same, byte by byte."""
    written = {path.read_bytes() for path in folder.glob(f"*/{WRITTEN}")}
    if len(written) > 1:
        raise BenchmarkError(f"{folder.name}: what the two wrote to {WRITTEN} differs")


def _source(piece: Piece) -> Path:
    (path,) = (PROJECT / "luigi_etl").glob(f"*/{piece.module}.py")
    return path


def _row(piece: Piece, costs: Costs) -> list[str]:
    own, other = costs
    return [
        piece.work,
        f"`{piece.module}.py`",
        str(len(_source(piece).read_text().splitlines())),
        seconds(costs[own]),
        megabytes(costs[own]),
        piece.instead_of,
        seconds(costs[other]),
        megabytes(costs[other]),
        f"{ratio(costs, other, own):.2f}",
    ]


def _rows_of(url: str, path: Path) -> Path:
    """Write rows as JSON, those of a page of complaints again and again; return the path."""
    complaints = read_page(fetched(f"{url}?size=10000")).results
    values = attrgetter(*(column.field for column in DEFAULT_COLUMNS))
    rows = [[None if value is UNSET else value for value in values(one)] for one in complaints]
    path.write_bytes(msgspec.json.encode([*islice(cycle(rows), ROWS)]))
    return path
