"""The plan of an unattended run: the task of a command line, its job, and settings."""

import contextlib
import hashlib
import io
from collections.abc import Iterator
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

    `root` is None if the command line can't be read, `task` also if the task has no minute and query.
    `luigid` is None for the local scheduler. `unreadable_job` stands for this command line when it can't be
    read; then `job` is the same.
    """

    arguments: tuple[str, ...]
    root: luigi.Task | None
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


@contextlib.contextmanager
def planning(arguments: tuple[str, ...]) -> Iterator[Plan]:
    """Read a command line as Luigi does, and keep Luigi's context of it for the block.

    The run itself reports an unreadable one.
    """
    with contextlib.ExitStack() as stack:
        yield _create_plan(arguments, _create_task(arguments, stack))


def _create_task(arguments: tuple[str, ...], stack: contextlib.ExitStack) -> luigi.Task | None:
    """Return the task of a command line, or None; leave Luigi's context of it to `stack`."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            parser = stack.enter_context(CmdlineParser.global_instance(arguments))
            task: luigi.Task = parser.get_task_obj()
    except (SystemExit, Exception):
        stack.close()
        return None
    return task


def _create_plan(arguments: tuple[str, ...], task: luigi.Task | None) -> Plan:
    settings, luigid = service(), read_address()
    unreadable_job = Job(_name_unreadable(arguments), settings.path)
    is_local = "--local-scheduler" in arguments or luigi.interface.core().local_scheduler
    return Plan(
        arguments,
        task,
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
