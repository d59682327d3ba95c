"""What is written here though a library, or Python itself, would do, beside that: is it worth its lines?"""

from collections.abc import Sequence
from itertools import cycle, islice
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from urllib.request import ProxyHandler, build_opener

import msgspec
from msgspec import UNSET

from benchmarks.bench import Costs, tell
from benchmarks.contestants import environment
from benchmarks.environments import OURS, PROJECT, programs
from benchmarks.processes import BenchmarkError, Command, Cost, measured
from benchmarks.tables import ratio, spread, table
from luigi_etl.complaint import DEFAULT_COLUMNS, read_page

PIECES = Path(__file__).with_name("pieces")
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
        Piece("100,000 rows, from JSON to CSV", "table", "csv", told=[rows, WRITTEN]),
        Piece("a million ids, each seen twice", "ids", "a set"),
        Piece("ten complaints, asked for by HTTP", "web", "requests", "bare", [f"{url}?size=10"]),
        Piece("a turn to ask", "pace", "pyrate-limiter", "pyrate", ["turns"]),
        Piece("Luigi, imported", "lean", "`import luigi`"),
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
    """Return what either took; of a first round, which warms up, nothing is kept."""
    costs: Costs = {OWN: [], OTHER: []}
    for number in range(rounds + 1):
        for which in (OWN, OTHER) if number % 2 else (OTHER, OWN):
            cost = _run(piece, which, folder)
            tell(f"round {number} of {rounds}: {piece.module}, {which}: {cost.wall:.2f} s")
            if number:
                costs[which].append(cost)
        _compare(folder / piece.module)
    return costs


def _run(piece: Piece, which: str, folder: Path) -> Cost:
    """Run the script of a piece in a folder that is kept from round to round."""
    own = folder / piece.module / which
    own.mkdir(parents=True, exist_ok=True)
    python = programs(OURS if which == OWN else piece.environment) / "python"
    command = [python, PIECES / f"{piece.module}.py", which, *piece.told]
    return measured(Command(command, environment(own), own))


def _compare(folder: Path) -> None:
    """See to it that what was written, if anything was, is the same, byte by byte."""
    written = {path.read_bytes() for path in folder.glob(f"*/{WRITTEN}")}
    if len(written) > 1:
        raise BenchmarkError(f"{folder.name}: what the two wrote to {WRITTEN} differs")


def _row(piece: Piece, costs: Costs) -> list[str]:
    times_as_long = f"{ratio(costs, OTHER, OWN):.2f}"
    return [
        piece.work,
        f"`{piece.module}.py`",
        str(len((PROJECT / "luigi_etl" / f"{piece.module}.py").read_text().splitlines())),
        *_told(costs[OWN]),
        piece.instead_of,
        *_told(costs[OTHER]),
        times_as_long,
    ]


def _told(costs: Sequence[Cost]) -> list[str]:
    return [spread([cost.wall for cost in costs]), spread([cost.memory / 1e6 for cost in costs])]


def _rows_of(url: str, path: Path) -> Path:
    """Write rows as JSON, those of a page of complaints again and again; return the path."""
    directly = build_opener(ProxyHandler({}))
    with directly.open(f"{url}?size=10000", timeout=60) as answer:
        complaints = read_page(answer.read()).results
    values = attrgetter(*(column.field for column in DEFAULT_COLUMNS))
    rows = [[None if value is UNSET else value for value in values(one)] for one in complaints]
    path.write_bytes(msgspec.json.encode([*islice(cycle(rows), ROWS)]))
    return path
