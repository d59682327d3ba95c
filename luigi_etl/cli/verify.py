"""`luigi-etl verify`: check offline that snapshots and the database match the API's responses."""

import argparse
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands
from luigi_etl.cli.runs import moment
from luigi_etl.common.minutes import as_iso
from luigi_etl.common.terminal import print_all, printable

if TYPE_CHECKING:
    from luigi_etl.service.verify.verdict import Verdict

HAS_DIFFERENCES = 1


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "verify",
        help="check offline that snapshots and the database match the API's responses",
        description="Repeat each step of each snapshot offline and compare: hashes, counts, the proof that "
        "the pages are complete, the rows with the query, the pages with the complaints and the CSV. Compare "
        "the newest complete snapshot of each query with the database. The exit code is 1 if anything "
        "differs.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--query", help="only snapshots of this query (default: all)")
    add("--limit", type=_read_limit, help="only snapshots of this limit, 0 = all complaints (default: all)")
    add(
        "--since",
        type=moment,
        default=datetime.min,
        metavar="WHEN",
        help="a day (2026-11-22), a minute (2026-11-22T0926) or an age (30m, 12h, 7d); default: all",
    )
    add("--json", action="store_true", help="print a JSON array with an object for each line")


def run(options: argparse.Namespace) -> int:
    """Verify the snapshots below `[storage] root` and print the verdicts."""
    from luigi_etl.api.query import parse_query
    from luigi_etl.common.errors import StorageError
    from luigi_etl.database.connection import Database
    from luigi_etl.service.verify.report import verify
    from luigi_etl.tasks.config import storage

    root = storage().path
    query = None if options.query is None else parse_query(options.query)
    counter = _Counter()

    def is_wanted(slug: str) -> bool:
        if query is not None and options.limit is not None:
            return slug == query.slug(options.limit)
        if query is not None:
            return slug == query.slug(0) or slug == query.slug(_limit_of(slug))
        return options.limit is None or _limit_of(slug) == options.limit

    verdicts = counter.count(verify(root, Database(storage().database_address), is_wanted, options.since))
    print_all(_as_json(verdicts) if options.json else map(_format, verdicts))
    if not counter.number:
        raise StorageError(f"no snapshot to verify in {root.absolute()}; see --query, --limit and --since")
    return HAS_DIFFERENCES if counter.differences else 0


class _Counter:
    """Count verdicts in a stream."""

    def __init__(self) -> None:
        self.number = self.differences = 0

    def count(self, verdicts: "Iterable[Verdict]") -> "Iterator[Verdict]":
        """Yield the verdicts and count them."""
        for verdict in verdicts:
            self.number += 1
            self.differences += bool(verdict.difference)
            yield verdict


def _limit_of(slug: str) -> int:
    """Return the limit in the name of a query's folder, or 0 if the name has none or is cut."""
    digits = slug.rpartition("-newest-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() and "-newest-" in slug else 0


def _read_limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _format(verdict: "Verdict") -> str:
    state = "DIFF" if verdict.difference else "ok  "
    what = verdict.difference or f"{verdict.rows:,} complaints"
    where = "in the database: " if verdict.what == "database" else ""
    return f"{state}  {as_iso(verdict.minute)}  {printable(verdict.query)}  {where}{printable(what)}"


def _as_json(verdicts: "Iterable[Verdict]") -> Iterator[str]:
    separator = "["
    for verdict in verdicts:
        yield separator + json.dumps(
            {
                "minute": as_iso(verdict.minute),
                "query": verdict.query,
                "what": verdict.what,
                "rows": verdict.rows,
                "difference": verdict.difference or None,
            }
        )
        separator = ","
    yield "]" if separator == "," else "[]"
