"""`luigi-etl runs`: list what became of each minute."""

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
        "(another run was under way), running, unfinished (killed, or still running by hand), or damaged (it "
        "ended, and is no longer readable). Times are UTC. The query and the limit are as other commands "
        "take them.",
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
    from luigi_etl.service.run_history import of_jobs, runs_since
    from luigi_etl.service.run_status import TROUBLE
    from luigi_etl.tasks.config import service, storage

    root = storage().path
    remembered = list(of_jobs(service().path))
    found = runs_since(root, options.since, remembered)
    runs = (run for run in found if not options.failed or run.outcome in TROUBLE)
    shown = _Shown(root)
    print_all(_as_json(runs, shown) if options.json else _as_text(runs, shown, remembered, options))
    return 0


class _Shown:
    """How queries are shown: as `--query` takes them, with `--limit`, or else as their files are named."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = functools.cache(self._asked)

    def _asked(self, slug: str) -> tuple[str, int] | None:
        from luigi_etl.service.run_history import query_of

        return query_of(self.root, slug)

    def query(self, slug: str) -> str:
        """Return the query, quoted for a shell."""
        asked = self.asked(slug)
        return shlex.quote(asked[0]) if asked else printable(slug)

    def limit(self, slug: str) -> str:
        """Return the limit; a sync has none."""
        from luigi_etl.snapshot.paths import is_of_syncs

        asked = self.asked(slug)
        return "sync" if is_of_syncs(slug) else str(asked[1]) if asked else ""


def _as_json(runs: Iterable["Run"], shown: _Shown) -> Iterator[str]:
    between = "["
    for run in runs:
        yield between + json.dumps(_fields(run, shown))
        between = ","
    yield "]" if between == "," else "[]"


def _fields(run: "Run", shown: _Shown) -> dict[str, object]:
    from luigi_etl.snapshot.paths import is_of_syncs

    query, limit = shown.asked(run.query) or (None, None)
    return {
        "minute": as_iso(run.minute),
        "query": run.query,
        "query_string": query,
        "limit": None if is_of_syncs(run.query) else limit,
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
    runs: Iterator["Run"], shown: _Shown, remembered: list["Run"], options: argparse.Namespace
) -> Iterator[str]:
    from luigi_etl.snapshot.listing import slugs

    first = next(runs, None)
    if first is None:
        yield _nothing(shown, options)
        return
    named = {*slugs(shown.root), *(run.query for run in remembered)}
    widths = (
        max(map(len, ["query", *map(shown.query, named)])),
        max(map(len, ["limit", *map(shown.limit, named)])),
        max(map(len, ["unfinished", *map(_outcome, remembered)])),
    )
    yield _line(
        widths, "minute", "query", "limit", "outcome", "rows", "rejected", "seconds", "error or changes"
    )
    for run in chain([first], runs):
        yield _line(
            widths,
            as_iso(run.minute),
            shown.query(run.query),
            shown.limit(run.query),
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
    """Return a line of the list; the other columns are as wide as their contents ever are."""
    minute, query, limit, outcome, rows, rejected, seconds, note = cells
    of_query, of_limit, of_outcome = widths
    left = f"{minute:17}  {query:{of_query}}  {limit:>{of_limit}}  {outcome:{of_outcome}}"
    return f"{left}  {rows:>10}  {rejected:>8}  {seconds:>8}  {note}".rstrip()


def _nothing(shown: _Shown, options: argparse.Namespace) -> str:
    from luigi_etl.service.run_history import newest_of_all
    from luigi_etl.snapshot.paths import snapshots_folder

    newest = newest_of_all(shown.root)
    if newest is None:
        return f"no runs: there are no snapshots in {printable(str(snapshots_folder(shown.root).absolute()))}"
    which = "nothing failed, unfinished or damaged" if options.failed else "no runs"
    last = f"{as_iso(newest.minute)} {printable(newest.query)}, {newest.outcome}"
    return f"{which} since {as_iso(options.since)}; the newest run is {last}"
