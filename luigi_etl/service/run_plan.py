"""The plan of an unattended run: the task of a command line, its job, and settings."""

import contextlib
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import luigi
from luigi.cmdline_parser import CmdlineParser

from luigi_etl.common.job_state import Job
from luigi_etl.service.failure_causes import JobLabel
from luigi_etl.service.luigid import Address, read_address
from luigi_etl.tasks.base import Recorded
from luigi_etl.tasks.config import service


@dataclass(frozen=True)
class Plan:
    """The task of a command line, its job, and the settings of the run.

    `task` is None for a task without a minute and a query. `luigid` is None for the local scheduler.
    `unreadable_job` stands for this command line when it can't be read; then `job` is the same.
    """

    arguments: tuple[str, ...]
    task: Recorded | None
    job: Job
    unreadable_job: Job
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
        return self.job != self.unreadable_job

    def label(self, job: Job) -> JobLabel:
        """Return the label of one of the two jobs; the log is the same."""
        title = job.name.partition("~")[0] if job == self.unreadable_job else job.name
        return JobLabel(job.name, title, str(self.log.absolute()) if self.log.is_file() else "")


def make_plan(arguments: tuple[str, ...]) -> Plan:
    """Read the command line as Luigi does; the run itself reports an unreadable one."""
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            CmdlineParser.global_instance(arguments) as parser,
        ):
            return _create_plan(arguments, parser.get_task_obj())
    except (SystemExit, Exception):
        return _create_plan(arguments, None)


def _create_plan(arguments: tuple[str, ...], task: luigi.Task | None) -> Plan:
    settings, luigid = service(), read_address()
    unreadable_job = Job(_name_unreadable(arguments), settings.path)
    is_local = "--local-scheduler" in arguments or luigi.interface.core().local_scheduler
    return Plan(
        arguments,
        task if isinstance(task, Recorded) else None,
        Job(_name_job(task), settings.path) if task else unreadable_job,
        unreadable_job,
        None if is_local else luigid,
        settings.notify,
        settings.metrics_folder,
    )


def _name_job(task: luigi.Task) -> str:
    return task.job if isinstance(task, Recorded) else str(task.task_family)


def _name_unreadable(arguments: tuple[str, ...]) -> str:
    """Return a file name that is the same for each run of an unreadable command line."""
    family = arguments[2] if arguments[2].isascii() and arguments[2].isidentifier() else "unreadable"
    return f"{family}~{hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]}"
