"""`luigi-etl runs`: list the runs and their outcomes."""

import argparse
import functools
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands
from luigi_etl.common.minutes import as_iso, read_parameter
from luigi_etl.common.terminal import print_all, printable

if TYPE_CHECKING:
    from luigi_etl.service.run_status import Run

HEADER = ("minute", "query", "limit", "outcome", "rows", "rejected", "seconds", "error or changes")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{4})?", re.ASCII)
_AGE = re.compile(r"([0-9]+)([mhd])", re.ASCII)


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "runs",
        help="list the runs, newest first",
        description="List the runs of all queries, newest first, with their outcomes: stored, merged "
        "(stored, and in the database), synced (the database is up to date), failed, skipped (another run "
        "was under way), running, unfinished (killed, or started by hand and still running), or damaged (the "
        "run ended, but its files can't be read). Times are UTC. Other commands take the query and the limit "
        "as they are printed.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--failed", action="store_true", help="only runs that failed, are unfinished or damaged")
    add(
        "--since",
        type=moment,
        default="24h",
        metavar="WHEN",
        help="a day (2026-11-22), a minute (2026-11-22T0926) or an age (30m, 12h, 7d); default: 24h",
    )
    add("--json", action="store_true", help="print one JSON array with an object for each run")


def moment(text: str) -> datetime:
    """Return a day, a minute, or now minus an age, as naive UTC.

    Raises:
        ArgumentTypeError: the text is neither.

    """
    try:
        if _MOMENT.fullmatch(text):
            return read_parameter(text) if "T" in text else datetime.fromisoformat(text)
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
    from luigi_etl.service.run_history import list_runs, read_job_runs
    from luigi_etl.service.run_status import TROUBLE
    from luigi_etl.tasks.config import service, storage

    root = storage().path
    remembered = list(read_job_runs(service().path))
    found = list_runs(root, options.since, remembered)
    runs = (run for run in found if not options.failed or run.outcome in TROUBLE)
    formatter = _QueryFormatter(root)
    print_all(_as_json(runs, formatter) if options.json else _as_text(runs, formatter, remembered, options))
    return 0


class _QueryFormatter:
    """The query and limit of each slug as options take them, or the slug itself if they are unknown."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.find = functools.cache(self._find)

    def _find(self, slug: str) -> tuple[str, int] | None:
        from luigi_etl.service.run_history import find_query

        return find_query(self.root, slug)

    def query(self, slug: str) -> str:
        """Return the query, quoted for a shell."""
        found = self.find(slug)
        return shlex.quote(found[0]) if found else printable(slug)

    def limit(self, slug: str) -> str:
        """Return the limit, or `sync`."""
        from luigi_etl.snapshot.paths import is_sync_slug

        found = self.find(slug)
        return "sync" if is_sync_slug(slug) else str(found[1]) if found else ""


def _as_json(runs: Iterable["Run"], formatter: _QueryFormatter) -> Iterator[str]:
    start = "["
    for run in runs:
        yield start + json.dumps(_fields(run, formatter))
        start = ","
    yield "]" if start == "," else "[]"


def _fields(run: "Run", formatter: _QueryFormatter) -> dict[str, object]:
    from luigi_etl.snapshot.paths import is_sync_slug

    query, limit = formatter.find(run.query) or (None, None)
    return {
        "minute": as_iso(run.minute),
        "query": run.query,
        "query_string": query,
        "limit": None if is_sync_slug(run.query) else limit,
        "outcome": run.outcome,
        "attempt": run.attempt,
        "attempts": run.attempts,
        "rows": run.rows,
        "rejected": run.rejected,
        "counts": run.counts,
        "seconds": run.seconds,
        "error": run.error or None,
    }


def _as_text(
    runs: Iterator["Run"],
    formatter: _QueryFormatter,
    remembered: list["Run"],
    options: argparse.Namespace,
) -> Iterator[str]:
    first = next(runs, None)
    if first is None:
        yield _describe_nothing(formatter, options)
        return
    widths = _widths(formatter, remembered)
    yield _line(widths, *HEADER)
    for run in chain([first], runs):
        yield _line(widths, *_cells(run, formatter))


def _widths(formatter: _QueryFormatter, remembered: list["Run"]) -> tuple[int, int, int]:
    """Return the widths of query, limit and outcome for all runs, before they are read."""
    from luigi_etl.snapshot.listing import list_slugs

    found = {*list_slugs(formatter.root), *(run.query for run in remembered)}
    return (
        max(map(len, ["query", *map(formatter.query, found)])),
        max(map(len, ["limit", *map(formatter.limit, found)])),
        max(map(len, ["unfinished", *map(_outcome, remembered)])),
    )


def _cells(run: "Run", formatter: _QueryFormatter) -> tuple[str, ...]:
    return (
        as_iso(run.minute),
        formatter.query(run.query),
        formatter.limit(run.query),
        _outcome(run),
        "" if run.rows is None else f"{run.rows:,}",
        "" if run.rejected is None else f"{run.rejected:,}",
        "" if run.seconds is None else f"{run.seconds:,.1f}",
        printable(run.error) or ", ".join(f"{count:,} {change}" for change, count in _counts(run)),
    )


def _counts(run: "Run") -> Iterable[tuple[str, int]]:
    return run.counts.items() if run.counts else ()


def _outcome(run: "Run") -> str:
    return f"{run.outcome} (attempt {run.attempt} of {run.attempts})" if run.attempt else run.outcome


def _line(widths: tuple[int, int, int], *cells: str) -> str:
    """Return a line of the list; the other columns have a fixed width."""
    minute, query, limit, outcome, rows, rejected, seconds, note = cells
    query_width, limit_width, outcome_width = widths
    left = f"{minute:17}  {query:{query_width}}  {limit:>{limit_width}}  {outcome:{outcome_width}}"
    return f"{left}  {rows:>10}  {rejected:>8}  {seconds:>8}  {note}".rstrip()


def _describe_nothing(formatter: _QueryFormatter, options: argparse.Namespace) -> str:
    from luigi_etl.service.run_history import newest_of_all
    from luigi_etl.snapshot.paths import snapshots_folder

    newest = newest_of_all(formatter.root)
    if newest is None:
        folder = snapshots_folder(formatter.root).absolute()
        return f"no runs: there are no snapshots in {printable(str(folder))}"
    which = "no failed, unfinished or damaged runs" if options.failed else "no runs"
    last = f"{as_iso(newest.minute)} {printable(newest.query)}, {newest.outcome}"
    return f"{which} since {as_iso(options.since)}; the newest run is {last}"
