"""`luigi-etl unattended`: run a task under cron."""

import argparse

from luigi_etl.cli import Subcommands


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "unattended",
        help="run a task under cron: one at a time, logged, silent unless a person must act",
        usage="luigi-etl unattended TASK [PARAMETERS]",
        description="Run a task under cron. A second run of the same query is skipped (exit code 10). "
        "Without luigid the local scheduler is used. All output goes to a log in [service] folder. The first "
        "failure of an outage and its end are each reported once, by [service] notify or on standard error.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("task", help="StoreComplaints, SyncComplaints, ReconcileComplaints or another task")
    parser.add_argument(
        "parameters", nargs=argparse.REMAINDER, help="parameters of the task, as for luigi: --query, --limit"
    )


def run(options: argparse.Namespace) -> int:
    """Run the task; return Luigi's exit code."""
    from luigi_etl.service.unattended import run_unattended

    return run_unattended([options.task, *options.parameters])
