"""`luigi-etl unattended`: run a task as cron should."""

import argparse

from luigi_etl.cli import Subcommands


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "unattended",
        help="run a task as cron should: one at a time, logged, silent unless a person is needed",
        usage="luigi-etl unattended TASK [PARAMETERS]",
        description="Run a task as cron should. A second run of the same query is skipped (exit code 10); "
        "without luigid the local scheduler does; all that is said goes to a log in [service] folder. The "
        "first failure of an outage and its end are told once, by [service] notify or on standard error.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("task", help="StoreComplaints, MergeComplaints, SyncComplaints, PruneSnapshots")
    parser.add_argument(
        "parameters", nargs=argparse.REMAINDER, help="of the task, as for luigi: --query, --limit"
    )


def run(options: argparse.Namespace) -> int:
    """Run the task; return Luigi's exit code."""
    from luigi_etl.service.unattended import run_unattended

    return run_unattended([options.task, *options.parameters])
