"""`luigi-etl status`: the database, its coverage, the newest runs and the disk use on one screen."""

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from luigi_etl.cli import Subcommands
from luigi_etl.common.minutes import as_iso, as_text
from luigi_etl.common.terminal import one_line, print_all

if TYPE_CHECKING:
    from luigi_etl.database.covered_days import CoveredRange
    from luigi_etl.service.run_status import Run
    from luigi_etl.service.status import DatabaseStatus, Status

UNREADABLE = 1
MOST_LINES = 20  # of a section; the JSON has all


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "status",
        help="show the database, its coverage, the newest runs and the disk use",
        description="Show the database, the queries and days that it covers, the newest run of each query, "
        "and the disk use of [storage] root. Send no request to the API. The exit code is 1 if the database "
        "can't be read, else 0. Times are UTC.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print a JSON object, for programs")


def run(options: argparse.Namespace) -> int:
    """Print the status."""
    from luigi_etl.service.status import read_status
    from luigi_etl.tasks.config import storage

    settings = storage()
    found = read_status(settings.path, settings.database_address)
    print_all([json.dumps(_as_json(found), indent=2)] if options.json else _as_text(found))
    return UNREADABLE if found.database.problem else 0


def _as_text(found: "Status") -> Iterator[str]:
    yield from _section("database", _database(found.database))
    yield from _section("coverage", [str(one) for one in found.database.coverage] or ["none"])
    yield from _section("runs", [_run(one) for one in found.runs] or ["none"])
    disk = found.disk
    used = f"{disk.folder.absolute()}: {disk.bytes / 1e6:,.1f} MB, files: {disk.files:,}"
    yield from _section("disk", [used])


def _section(name: str, lines: list[str]) -> Iterator[str]:
    shown = lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        shown.append(f"and {len(lines) - MOST_LINES:,} more (--json has all)")
    for title, line in zip([name, *[""] * len(shown)], shown, strict=False):
        yield f"{title:<10}{one_line(line)}"


def _database(database: "DatabaseStatus") -> list[str]:
    if database.problem:
        return [database.problem]
    if not database.exists:
        return [f"{database.address}: none yet"]
    counts = {"unverified": database.unverified, "held back": database.held_back}
    open_counts = ", ".join(f"{name}: {number:,}" for name, number in counts.items() if number is not None)
    content = f"{database.address}: complaints: {database.complaints:,}, withdrawn: {database.withdrawn:,}"
    return [", ".join(filter(None, [content, open_counts]))]


def _run(run: "Run") -> str:
    rows = "" if run.rows is None else f", rows: {run.rows:,}"
    error = f": {run.error}" if run.error else ""
    return f"{as_text(run.minute)} of {run.query}, {run.outcome}{rows}{error}"


def _as_json(found: "Status") -> dict[str, Any]:
    database = found.database
    counts = ("complaints", "withdrawn", "unverified", "held_back")
    return {
        "database": {
            "address": database.address,
            "exists": database.exists,
            "problem": database.problem,
            **{name: getattr(database, name) for name in counts},
        },
        "coverage": [_range_as_json(one) for one in database.coverage],
        "runs": [
            {
                "minute": as_iso(run.minute),
                "query": run.query,
                "outcome": run.outcome,
                "rows": run.rows,
                "error": run.error or None,
            }
            for run in found.runs
        ],
        "disk": {
            "folder": str(found.disk.folder.absolute()),
            "files": found.disk.files,
            "bytes": found.disk.bytes,
        },
    }


def _range_as_json(one: "CoveredRange") -> dict[str, Any]:
    return {
        "query": one.query,
        "first_day": one.first_day and one.first_day.isoformat(),
        "last_day": one.last_day and one.last_day.isoformat(),
        "as_of": as_iso(one.as_of),
        "newest_as_of": as_iso(one.newest_as_of),
        "complete": not one.row_limit,
        "newest": one.row_limit or None,
    }
