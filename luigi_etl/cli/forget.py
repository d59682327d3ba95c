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
        description="Remove the snapshots and syncs after a minute, of all queries: what a run left whose "
        "clock was ahead. Rows and history become what they would be without them, `latest` the newest "
        "snapshot that remains. Killed in between, it is run again.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--after", required=True, metavar="MINUTE", help="UTC, as 2026-11-22T0926; this minute itself stays")
    add("--dry-run", action="store_true", help="only print what would be removed")


def run(options: argparse.Namespace) -> int:
    """Forget what is later, or print what that is."""
    from luigi_etl.common.terminal import print_line, printable
    from luigi_etl.database.connection import Database
    from luigi_etl.service.forget.deletion import forget
    from luigi_etl.service.forget.files import later_runs
    from luigi_etl.service.forget.preview import later_snapshots, preview
    from luigi_etl.tasks.config import storage

    after = _minute(options.after)
    database, root = Database(storage().database_address), storage().path
    if options.dry_run:
        for later in later_snapshots(database, after):
            print_line(printable(str(later)))
        for line in later_runs(root, after):
            print_line(printable(line))
        print_line(f"would forget {preview(database, root, after)}")
    else:
        print_line(f"forgot {forget(database, root, after)}")
    return 0


def _minute(text: str) -> datetime:
    """Read a minute, also as `luigi-etl runs` prints it.

    Raises:
        SettingError: it is none.

    """
    from luigi_etl.common.errors import SettingError

    try:
        return read_parameter(to_parameter(text))
    except ValueError:
        raise SettingError(f"--after: {text!r} is not a minute (UTC) written as 2026-11-22T0926") from None
