"""`luigi-etl runs`: list what became of each minute."""

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from luigi_etl.commands import Subcommands
from luigi_etl.lines import print_all, printable

if TYPE_CHECKING:
    from luigi_etl.runs import Run

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{4})?", re.ASCII)
_AGE = re.compile(r"([0-9]+)([mhd])", re.ASCII)


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "runs",
        help="list the runs, the newest first",
        description="List what became of each minute, of all queries, the newest first: stored, merged "
        "(stored, and in the database), synced (the database was brought up to date), failed, skipped "
        "(another run was under way), unfinished (killed, or still running), or damaged (it ended, and is "
        "no longer readable). Times are UTC.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--failed", action="store_true", help="only what failed, is unfinished or damaged")
    add(
        "--since",
        type=moment,
        default="24h",
        metavar="WHEN",
        help="a day (2026-11-22), a minute (2026-11-22T0926) or an age (30m, 12h, 7d); default: 24h",
    )
    add("--json", action="store_true", help="one JSON array, an object for each run")


def moment(text: str) -> datetime:
    """Read a day, a minute, or an age before now: as naive UTC.

    Raises:
        ArgumentTypeError: it is none of them.

    """
    try:
        if _MOMENT.fullmatch(text):
            return datetime.strptime(text, "%Y-%m-%dT%H%M" if "T" in text else "%Y-%m-%d")
        if age := _AGE.fullmatch(text):
            now = datetime.now(timezone.utc).replace(tzinfo=None)
            return now - timedelta(**{UNITS[age[2]]: int(age[1])})
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a day (2026-11-22), a minute (2026-11-22T0926) or an age (30m, 12h, 7d)"
    )


def run(options: argparse.Namespace) -> int:
    """List the runs below `[storage] root`."""
    from luigi_etl.config import storage
    from luigi_etl.runs import TROUBLE, runs_since

    root = storage().path
    runs = (run for run in runs_since(root, options.since) if not options.failed or run.outcome in TROUBLE)
    print_all(_as_json(runs) if options.json else _as_text(root, runs, options))
    return 0


def _as_json(runs: Iterable["Run"]) -> Iterator[str]:
    between = "["
    for run in runs:
        yield between + json.dumps(_fields(run))
        between = ","
    yield "]" if between == "," else "[]"


def _fields(run: "Run") -> dict[str, str | float | None]:
    return {
        "minute": _minute(run.minute),
        "query": run.query,
        "outcome": run.outcome,
        "rows": run.rows,
        "rejected": run.rejected,
        "seconds": run.seconds,
        "error": run.error or None,
    }


def _as_text(root: Path, runs: Iterator["Run"], options: argparse.Namespace) -> Iterator[str]:
    from luigi_etl.paths import slugs

    first = next(runs, None)
    if first is None:
        yield _nothing(root, options)
        return
    width = max(map(len, map(printable, ["query", *slugs(root)])))
    yield _line("minute", "query".ljust(width), "outcome", "rows", "rejected", "seconds", "error")
    for run in chain([first], runs):
        yield _line(
            _minute(run.minute),
            printable(run.query).ljust(width),
            run.outcome,
            "" if run.rows is None else f"{run.rows:,}",
            "" if run.rejected is None else f"{run.rejected:,}",
            "" if run.seconds is None else f"{run.seconds:,.1f}",
            printable(run.error),
        )


def _line(*cells: str) -> str:
    """Return a line of the list; its columns are as wide as their contents ever are, so it needs no other."""
    minute, query, outcome, rows, rejected, seconds, error = cells
    return f"{minute:17}  {query}  {outcome:10}  {rows:>10}  {rejected:>8}  {seconds:>8}  {error}".rstrip()


def _minute(minute: datetime) -> str:
    return f"{minute:%Y-%m-%dT%H:%MZ}"


def _nothing(root: Path, options: argparse.Namespace) -> str:
    from luigi_etl.paths import snapshots_folder
    from luigi_etl.runs import newest_of_all

    newest = newest_of_all(root)
    if newest is None:
        return f"no runs: there are no snapshots in {printable(str(snapshots_folder(root).absolute()))}"
    which = "nothing failed, unfinished or damaged" if options.failed else "no runs"
    last = f"{_minute(newest.minute)} {printable(newest.query)}, {newest.outcome}"
    return f"{which} since {_minute(options.since)}; the newest run is {last}"
