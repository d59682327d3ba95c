"""An unattended run: one at a time, recorded, and silent unless a person must act."""

import contextlib
import hashlib
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import luigi
import msgspec
from luigi.cmdline_parser import CmdlineParser
from luigi.retcodes import retcode

from luigi_etl import define
from luigi_etl.common.errors import EtlError
from luigi_etl.common.job_state import BusyError, Job, JobState
from luigi_etl.common.log_files import bounded_log
from luigi_etl.service.alerts import alert
from luigi_etl.service.failure_causes import Who
from luigi_etl.service.luigi_run import run_luigi
from luigi_etl.service.luigid import Address, address
from luigi_etl.service.recording import recorded
from luigi_etl.service.run_result import Ended
from luigi_etl.service.signals import Signals
from luigi_etl.tasks.base import Recorded
from luigi_etl.tasks.config import service

logger = logging.getLogger("luigi_etl.unattended")


@dataclass(frozen=True)
class Plan:
    """The task of a command line, its job, and the settings for unattended runs.

    `task` is None for a task without a minute and a query, `luigid` for a run under the local scheduler.
    `unreadable` is the job of this command line while it can't be read; `job` is the same then.
    """

    arguments: tuple[str, ...]
    task: Recorded | None
    job: Job
    unreadable: Job
    luigid: Address | None
    notify: str
    metrics: Path | None

    @property
    def log(self) -> Path:
        """The path of the job's log."""
        return self.job.folder / f"{self.job.name}.log"

    @property
    def is_readable(self) -> bool:
        """Whether the command line names a task and its parameters."""
        return self.job != self.unreadable


def run_unattended(arguments: Sequence[str]) -> int:
    """Run a task, given as on Luigi's command line, unless a run of its query is under way.

    Returns Luigi's exit code (10: skipped); 128 and its number where a signal ended the run.

    Raises:
        StorageError: the folder of the service can't be used.

    """
    define()
    plan = _planned(("--module", "luigi_etl", *arguments))
    minute, slug = (plan.task.timestamp, plan.task.slug) if plan.task else (None, "")
    try:
        with plan.job.exclusive(minute, slug), bounded_log(logger, plan.log), Signals() as signals:
            return _attended(plan, signals)
    except BusyError as error:
        _skip(plan, error)
        return int(retcode().already_running)


def _attended(plan: Plan, signals: Signals) -> int:
    """Run Luigi; then record how it ended, alert whom that concerns, and write metrics."""
    clock, began = time.monotonic(), datetime.now(timezone.utc)
    ended = run_luigi(plan.arguments, plan.luigid, signals)
    seconds = round(time.monotonic() - clock, 3)
    logger.info("exit code %d after %.1f s", ended.code, seconds)
    memory = msgspec.structs.replace(plan.job.read_state(), seconds=seconds)
    if plan.task:
        memory = recorded(plan.task, memory, ended, began)
    memory = _alert(plan, plan.job, memory, ended)
    if plan.is_readable:
        _write_metrics(plan, memory)
        earlier = plan.unreadable.read_state()
        if ended.is_success and earlier.failures:  # the same command line could not be read before
            _alert(plan, plan.unreadable, earlier, ended)
    return ended.code


def _alert(plan: Plan, job: Job, memory: JobState, ended: Ended) -> JobState:
    title = job.name.partition("~")[0] if job == plan.unreadable else job.name
    who = Who(job.name, title, str(plan.log.absolute()) if plan.log.is_file() else "")
    return alert(job, who, memory, ended, plan.notify)


def _write_metrics(plan: Plan, memory: JobState) -> None:
    if plan.metrics is None:
        return
    from luigi_etl.service.metrics import write_metrics

    try:
        write_metrics(plan.metrics, plan.job.name, memory)
    except EtlError as error:
        logger.info("no metrics: %s", error)


def _skip(plan: Plan, busy: BusyError) -> None:
    """Put a skipped minute on record, unless it is the very minute that is being run."""
    with bounded_log(logger, plan.log):
        logger.info("skipped: %s", busy)
    began = busy.memory.began
    if plan.task and not plan.task.is_on_record:
        minute = plan.task.timestamp.replace(tzinfo=timezone.utc)
        if began is None or began.replace(second=0, microsecond=0) != minute:
            plan.task.record("skipped", str(busy))


# --- the command line ----------------------------------------------------------------------------


def _planned(arguments: tuple[str, ...]) -> Plan:
    """Read the command line as Luigi will; the run itself reports one that can't be read."""
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            CmdlineParser.global_instance(arguments) as parser,
        ):
            return _plan(arguments, parser.get_task_obj())
    except (SystemExit, Exception):
        return _plan(arguments, None)


def _plan(arguments: tuple[str, ...], task: luigi.Task | None) -> Plan:
    settings, luigid = service(), address()
    unreadable = Job(_name_of_unreadable(arguments), settings.path)
    is_local = "--local-scheduler" in arguments or luigi.interface.core().local_scheduler
    return Plan(
        arguments,
        task if isinstance(task, Recorded) else None,
        Job(_name_of(task), settings.path) if task else unreadable,
        unreadable,
        None if is_local else luigid,
        settings.notify,
        settings.metrics_folder,
    )


def _name_of(task: luigi.Task) -> str:
    return task.job if isinstance(task, Recorded) else str(task.task_family)


def _name_of_unreadable(arguments: tuple[str, ...]) -> str:
    """Return a file name for an unreadable command line, always the same for the same line."""
    family = arguments[2] if arguments[2].isascii() and arguments[2].isidentifier() else "unreadable"
    return f"{family}~{hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]}"
