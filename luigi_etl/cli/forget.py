"""`luigi-etl forget`: remove the snapshots after a minute, as if they had never been merged."""

import argparse
from datetime import datetime

from luigi_etl.cli import Subcommands
from luigi_etl.common.minutes import read_parameter, to_parameter


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "forget",
        help="remove the snapshots after a minute, from the database and the disk",
        description="Remove the snapshots and syncs after a minute, of all queries, for a run whose clock "
        "was ahead. Rows and history become as if they had never been merged; `latest` becomes the newest "
        "remaining snapshot. If it is killed, run it again.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--after", required=True, metavar="MINUTE", help="UTC, such as 2026-11-22T0926; this minute stays")
    add("--dry-run", action="store_true", help="print the snapshots and files, and remove nothing")


def run(options: argparse.Namespace) -> int:
    """Remove the later snapshots, or list them."""
    from luigi_etl.common.terminal import print_line, printable
    from luigi_etl.database.connection import Database
    from luigi_etl.service.forget.deletion import forget
    from luigi_etl.service.forget.files import describe_later_files
    from luigi_etl.service.forget.preview import find_later_snapshots, preview
    from luigi_etl.tasks.config import storage

    after = _read_minute(options.after)
    database, root = Database(storage().database_address), storage().path
    if options.dry_run:
        for later in find_later_snapshots(database, after):
            print_line(printable(str(later)))
        for line in describe_later_files(root, after):
            print_line(printable(line))
        print_line(f"would forget {preview(database, root, after)}")
    else:
        print_line(f"forgot {forget(database, root, after)}")
    return 0


def _read_minute(text: str) -> datetime:
    """Read a minute as `--timestamp` takes it, or as `luigi-etl runs` prints it.

    Raises:
        SettingError: the text is not a minute.

    """
    from luigi_etl.common.errors import SettingError

    try:
        return read_parameter(to_parameter(text))
    except ValueError:
        raise SettingError(f"--after: {text!r} is not a minute (UTC) such as 2026-11-22T0926") from None
