"""`luigi-etl redo`: repeat the chain for a snapshot, from a step on."""

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands, interrupt_on_signals
from luigi_etl.common.minutes import as_parameter, to_parameter
from luigi_etl.snapshot.paths import STAGES

if TYPE_CHECKING:
    from luigi_etl.tasks.base import Snapshot
    from luigi_etl.tasks.chain import StoreComplaints


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "redo",
        help="repeat the chain for a snapshot, from a step on",
        description="Remove a snapshot's files from a step on, and run the chain for it again. A snapshot of "
        "the database is merged again; --from merge does only that. If the run fails, the files are "
        "restored. From parse, store or merge on, no request is sent to the API.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("timestamp", metavar="TIMESTAMP", help="the snapshot's minute, UTC, such as 2026-11-22T0926")
    add("--from", dest="stage", choices=STAGES, default="extract", help="the first step (default: extract)")
    add("--query", default="", help="the snapshot's query (default: all complaints)")
    add("--limit", default="", help="the snapshot's limit (default: the chain's)")


def run(options: argparse.Namespace) -> int:
    """Redo the snapshot; return Luigi's exit code."""
    from luigi_etl.common.errors import EtlError
    from luigi_etl.common.job_state import BusyError, Job
    from luigi_etl.service.redo import check_exists, check_not_merged, needs_merge, redo
    from luigi_etl.tasks.config import service
    from luigi_etl.tasks.merge import MergeComplaints

    stored = _parse_task(options)
    merged = stored.clone_as(MergeComplaints)
    check_exists(stored.files)
    if options.stage == "extract":
        check_not_merged(stored.files)
    interrupt_on_signals()  # so that `redo` restores the files
    try:
        with ExitStack() as locks:
            for task in (stored, merged):
                job = Job(task.job, service().path)
                locks.enter_context(job.exclusive(task.timestamp, task.slug))
            last = merged if options.stage == "merge" or needs_merge(stored.files) else stored
            return redo(stored.files, options.stage, lambda: _run_luigi(_arguments(last)))
    except BusyError as error:
        raise EtlError(f"{error}: try again when it has ended") from error


def _parse_task(options: argparse.Namespace) -> "StoreComplaints":
    """Return the snapshot's task, with parameters that Luigi parses from a command line."""
    from luigi.cmdline_parser import CmdlineParser

    from luigi_etl.tasks.chain import StoreComplaints

    arguments = ["--module", "luigi_etl", "StoreComplaints", "--timestamp", to_parameter(options.timestamp)]
    arguments += [f"--query={options.query}"] if options.query else []
    arguments += [f"--limit={options.limit}"] if options.limit else []
    with CmdlineParser.global_instance(arguments) as parser:
        task = parser.get_task_obj()
    assert isinstance(task, StoreComplaints)  # noqa: S101  # for mypy
    return task


def _arguments(task: "Snapshot") -> list[str]:
    """Return a task's command line with all parameters, because MergeComplaints may have other defaults."""
    minute = as_parameter(task.timestamp)
    options = ["--timestamp", minute, f"--query={task.query}", f"--limit={task.limit}"]
    return ["--module", "luigi_etl", task.task_family, *options]


def _run_luigi(arguments: list[str]) -> int:
    from luigi.interface import core

    from luigi_etl.service.luigi_command import run_command
    from luigi_etl.service.luigid import find_problem, read_address

    luigid, is_local = read_address(), core().local_scheduler
    if not is_local and (problem := find_problem(luigid)):
        sys.stderr.write(f"{problem}: the redo runs without luigid\n")
        is_local = True
    return run_command(arguments, None if is_local else luigid)
