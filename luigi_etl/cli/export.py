"""`luigi-etl export`: the database's complaints as CSV or Parquet."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands, interrupt_on_signals

if TYPE_CHECKING:
    from luigi_etl.api.query import Query
    from luigi_etl.database.connection import Database

STANDARD_OUTPUT = "-"

logger = logging.getLogger("luigi_etl")


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "export",
        help="write the database's complaints as CSV or Parquet",
        description="Write the complaints of the database except withdrawn ones, newest first: as CSV in the "
        "CFPB's layout, or as Parquet. A file gets its name when it is complete.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        default=STANDARD_OUTPUT,
        metavar="FILE",
        help="a .csv or .parquet file (default: -, CSV on standard output)",
    )
    add("--query", default="", metavar="QUERY", help="which complaints, as for the chain (default: all)")
    add("--search", metavar="TEXT", help="only complaints whose narratives have these words")


def run(options: argparse.Namespace) -> int:
    """Write the matching complaints to standard output or to a file."""
    from luigi_etl.api.query import parse_query
    from luigi_etl.common.terminal import print_line, write_all
    from luigi_etl.database.connection import Database
    from luigi_etl.database.export import as_csv, check_name, export, open_matches
    from luigi_etl.database.search import Search
    from luigi_etl.tasks.config import storage

    path = None if options.file == STANDARD_OUTPUT else Path(options.file)
    if path:
        check_name(path)
    interrupt_on_signals()  # so that no incomplete file stays
    query = parse_query(options.query)
    for note in query.notes:
        logger.warning("query: %s", note)
    search = None if options.search is None else Search(options.search)
    database = Database(storage().database_address)
    with open_matches(database, query, search) as rows:
        _warn(database, query)
        if not path:
            write_all(block.lines for block in as_csv(rows))
            return 0
        count = export(rows, path, storage().path)
    print_line(f"{count:,} complaints: {path}")
    return 0


def _warn(database: "Database", query: "Query") -> None:
    """Warn if the database may lack complaints that match the query."""
    from luigi_etl.common.minutes import this_minute
    from luigi_etl.database.doubts import find_doubts

    with database.reading() as connection:
        lines = find_doubts(connection, query, this_minute())
    for line in lines:
        logger.warning("luigi-etl: warning: %s", line)
