"""`luigi-etl redo`: make a snapshot's files again."""

import argparse
import sys

from luigi_etl.commands import Subcommands, interrupt_when_told_to_end
from luigi_etl.paths import STAGES


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "redo",
        help="make a snapshot's files again, from a stage on",
        description="Remove a snapshot's files from a stage on and run the chain for it again. Should that "
        "fail, they are put back. From parse or store on, the API is not asked.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("timestamp", metavar="TIMESTAMP", help="the snapshot's minute, UTC, as 2026-11-22T0926")
    add("--from", dest="stage", choices=STAGES, default="extract", help="default: extract")
    add("--query", default="", help="the snapshot's query (default: all complaints)")
    add("--limit", default="", help="the snapshot's limit (default: as for the chain)")


def run(options: argparse.Namespace) -> int:
    """Redo the snapshot; return Luigi's exit code."""
    from luigi.cmdline_parser import CmdlineParser

    from luigi_etl.config import service
    from luigi_etl.errors import EtlError
    from luigi_etl.jobs import BusyError, Job
    from luigi_etl.redo import check_there, redo
    from luigi_etl.snapshot import Snapshot

    arguments = ["--module", "luigi_etl", "StoreComplaints", "--timestamp", _minute(options.timestamp)]
    arguments += [f"--query={options.query}"] if options.query else []
    arguments += [f"--limit={options.limit}"] if options.limit else []
    with CmdlineParser.global_instance(arguments) as parser:
        task = parser.get_task_obj()
        assert isinstance(task, Snapshot)  # noqa: S101  # for mypy: it is StoreComplaints
        files = task.files
    check_there(files)
    interrupt_when_told_to_end()  # nothing must stay half removed
    try:
        with Job(task.job, service().path).alone():
            return redo(files, options.stage, lambda: _run_luigi(arguments))
    except BusyError as error:
        raise EtlError(f"{error}: try again when it has ended") from error


def _minute(text: str) -> str:
    """Return a minute as Luigi takes it, also from as `luigi-etl runs` prints it."""
    return text.replace(":", "").removesuffix("Z")


def _run_luigi(arguments: list[str]) -> int:
    from luigi.retcodes import run_with_retcodes

    from luigi_etl.scheduler import address, answers

    luigid = address()
    if not answers(luigid):
        sys.stderr.write(f"luigid does not answer at {luigid}: it goes without it\n")
        arguments = [*arguments, "--local-scheduler"]
    try:
        run_with_retcodes(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0
