"""`luigi-etl luigid`: run luigid as luigi.cfg describes it."""

import argparse

from luigi_etl.commands import Subcommands


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "luigid",
        help="run luigid as luigi.cfg describes it",
        description="Run luigid at [core] scheduler_host and scheduler_port, loopback only, until it is told "
        "to end. Its log and, over restarts, its state are in [service] folder.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--unless-running", action="store_true", help="do nothing if luigid answers there")


def run(options: argparse.Namespace) -> int:
    """Run luigid until a signal ends it."""
    from luigi_etl.config import service
    from luigi_etl.errors import SettingError
    from luigi_etl.scheduler import address, answers, run_luigid

    luigid, folder = address(), service().path
    if options.unless_running and answers(luigid):
        return 0
    print(f"starting luigid at {luigid}; its log is {folder}/luigid.log", flush=True)
    try:
        run_luigid(luigid, folder)
    except SettingError:
        if not (options.unless_running and answers(luigid)):  # another started a moment before
            raise
    return 0
