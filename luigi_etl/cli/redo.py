"""`luigi-etl redo`: make a snapshot's files again."""

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands, interrupt_when_told_to_end
from luigi_etl.common.minutes import as_parameter, to_parameter
from luigi_etl.snapshot.paths import STAGES

if TYPE_CHECKING:
    from luigi_etl.tasks.base import Snapshot
    from luigi_etl.tasks.chain import StoreComplaints


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "redo",
        help="make a snapshot's files again, from a stage on",
        description="Remove a snapshot's files from a stage on and run the chain for it again, into the "
        "database, too, where it was in it; --from merge brings it there as it is. Should that fail, the "
        "files are put back. From parse, store or merge on, the API is not asked.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("timestamp", metavar="TIMESTAMP", help="the snapshot's minute, UTC, as 2026-11-22T0926")
    add("--from", dest="stage", choices=STAGES, default="extract", help="default: extract")
    add("--query", default="", help="the snapshot's query (default: all complaints)")
    add("--limit", default="", help="the snapshot's limit (default: as for the chain)")


def run(options: argparse.Namespace) -> int:
    """Redo the snapshot; return Luigi's exit code."""
    from luigi_etl.common.errors import EtlError
    from luigi_etl.common.job_state import BusyError, Job
    from luigi_etl.service.redo import check_may_be_asked_again, check_there, is_to_be_merged, redo
    from luigi_etl.tasks.config import service
    from luigi_etl.tasks.merge import MergeComplaints

    stored = _stored(options)
    merged = stored.same(MergeComplaints)
    check_there(stored.files)
    if options.stage == "extract":
        check_may_be_asked_again(stored.files)
    interrupt_when_told_to_end()  # nothing must stay half removed
    try:
        with ExitStack() as alone:
            for either in (stored, merged):
                job = Job(either.job, service().path)
                alone.enter_context(job.exclusive(either.timestamp, either.slug))
            wanted = merged if options.stage == "merge" or is_to_be_merged(stored.files) else stored
            return redo(stored.files, options.stage, lambda: _run_luigi(_arguments(wanted)))
    except BusyError as error:
        raise EtlError(f"{error}: try again when it has ended") from error


def _stored(options: argparse.Namespace) -> "StoreComplaints":
    """Return the task that stored the snapshot, as Luigi reads it from a command line."""
    from luigi.cmdline_parser import CmdlineParser

    from luigi_etl.tasks.chain import StoreComplaints

    arguments = ["--module", "luigi_etl", "StoreComplaints", "--timestamp", to_parameter(options.timestamp)]
    arguments += [f"--query={options.query}"] if options.query else []
    arguments += [f"--limit={options.limit}"] if options.limit else []
    with CmdlineParser.global_instance(arguments) as parser:
        task = parser.get_task_obj()
    assert isinstance(task, StoreComplaints)  # noqa: S101  # for mypy: it is
    return task


def _arguments(task: "Snapshot") -> list[str]:
    """Return a task's command line, every parameter in it: one left out may have another default."""
    minute = as_parameter(task.timestamp)
    given = ["--timestamp", minute, f"--query={task.query}", f"--limit={task.limit}"]
    return ["--module", "luigi_etl", task.task_family, *given]


def _run_luigi(arguments: list[str]) -> int:
    from luigi.interface import core
    from luigi.retcodes import run_with_retcodes

    from luigi_etl.service.luigid import address, problem_of
    from luigi_etl.service.own_luigid import run_under

    luigid, is_local = address(), core().local_scheduler
    if not is_local and (problem := problem_of(luigid)):
        sys.stderr.write(f"{problem}: it goes without it\n")
        is_local = True
    if not is_local:
        return run_under(luigid, arguments)
    try:
        run_with_retcodes([*arguments, "--local-scheduler"])
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0
