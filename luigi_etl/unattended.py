"""A run that nobody watches: one at a time, on record, and silent unless a person is needed."""

import contextlib
import hashlib
import io
import logging
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import luigi
import msgspec
from luigi.cmdline_parser import CmdlineParser
from luigi.retcodes import retcode, run_with_retcodes
from luigi.task_register import TaskClassNotFoundException

from luigi_etl import define
from luigi_etl.config import refuse, service
from luigi_etl.errors import DamagedFileError, EtlError
from luigi_etl.jobs import BusyError, Job, Memory, State
from luigi_etl.lean import keep_what_stays_the_same
from luigi_etl.lines import one_line
from luigi_etl.logs import add_bounded_file
from luigi_etl.notify import deliver
from luigi_etl.outage import ROOM, Causes, Ended, Told, Who, after_failure, after_success
from luigi_etl.parse import read_summary
from luigi_etl.reason import bounded
from luigi_etl.record import read_record
from luigi_etl.scheduler import Address, address, problem_of
from luigi_etl.signals import Signals
from luigi_etl.snapshot import Recorded

SIGNALLED = 128  # and the number of the signal, as shells have it


@dataclass(frozen=True)
class Plan:
    """What is to be run, and what the settings say of runs nobody watches."""

    arguments: tuple[str, ...]
    task: luigi.Task | None
    job: Job
    unreadable: Job
    luigid: Address
    notify: str
    metrics: Path | None

    @property
    def log(self) -> Path:
        """The file that everything is told to."""
        return self.job.folder / f"{self.job.name}.log"


def attend(arguments: Sequence[str]) -> int:
    """Run a task, given as on Luigi's command line, unless a run of its query is under way.

    Returns Luigi's exit code (10: skipped); 128 and its number where a signal ended the run.

    Raises:
        StorageError: the folder of the service can't be used.

    """
    define()
    if "--module" not in arguments:  # which brings tasks of its own
        keep_what_stays_the_same(arguments[0])
    plan = _planned(("--module", "luigi_etl", *arguments))
    try:
        with plan.job.alone(*_run_of(plan.task)):
            return _attended(plan)
    except BusyError as error:
        _skip(plan, error)
        return int(retcode().already_running)


def _planned(arguments: tuple[str, ...]) -> Plan:
    """Read the command line as Luigi will; what it can't read the run itself will complain of."""
    try:
        with (
            contextlib.redirect_stderr(io.StringIO()),
            CmdlineParser.global_instance(arguments) as parser,
        ):
            return _plan(arguments, parser.get_task_obj())
    except (SystemExit, Exception):
        return _plan(arguments, None)


def _plan(arguments: tuple[str, ...], task: luigi.Task | None) -> Plan:
    settings = service()
    unreadable = Job(_name_of_unreadable(arguments), settings.path)
    job = Job(_name_of(task), settings.path) if task else unreadable
    return Plan(arguments, task, job, unreadable, address(), settings.notify, settings.metrics_folder)


def _name_of(task: luigi.Task) -> str:
    return task.job if isinstance(task, Recorded) else str(task.task_family)


def _name_of_unreadable(arguments: tuple[str, ...]) -> str:
    """Return a name for what the command line asks for, fit for a file name, the same however wrong it is."""
    family = arguments[2] if arguments[2].isascii() and arguments[2].isidentifier() else "unreadable"
    return f"{family}~{hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]}"


def _run_of(task: luigi.Task | None) -> tuple[datetime | None, str]:
    """Return the minute (naive UTC) and the slug that a run is of."""
    return (task.timestamp, task.slug) if isinstance(task, Recorded) else (None, "")


def _skip(plan: Plan, busy: BusyError) -> None:
    """Put a skipped minute on record, unless it is the very minute that is being run."""
    with _Log(plan.log) as log:
        log.info(f"skipped: {busy}")
    began = busy.memory.began
    if isinstance(plan.task, Recorded) and not plan.task.is_on_record:
        minute = plan.task.timestamp.replace(tzinfo=timezone.utc)
        if began is None or began.replace(second=0, microsecond=0) != minute:
            plan.task.record("skipped", str(busy))


def _attended(plan: Plan) -> int:
    clock, began = time.monotonic(), _now()
    with _Log(plan.log) as log, Signals() as signals:
        ended = _run(plan, log, signals)
        seconds = round(time.monotonic() - clock, 3)
        log.info(f"exit code {ended.code} after {seconds:.1f} s")
        memory = msgspec.structs.replace(plan.job.recall(), seconds=seconds)
        if ended.code == 0:
            memory = _counted(plan, memory)
        elif ended.code != retcode().already_running and not _is_failure_on_record(plan, ended, began):
            memory = _with_unrecorded(plan, memory, ended)
        memory = _record_earlier(plan, memory)
        memory = _conclude(plan, plan.job, memory, ended, log)
        _write_metrics(plan, memory, log)
        if ended.code == 0 and plan.job != plan.unreadable:
            earlier = plan.unreadable.recall()
            if earlier.failures:  # the same command line could not be read before
                _conclude(plan, plan.unreadable, earlier, ended, log)
    return ended.code


def _conclude(plan: Plan, job: Job, memory: Memory, ended: Ended, log: "_Log") -> Memory:
    """Report what the end of a run means, if that is news, and remember it."""
    shared = State(".outages", job.folder, Causes, ROOM)
    with shared.locked():
        causes = shared.read()
        told = _told(plan, job, memory, causes, ended)
        if told.note:
            log.info(told.note)
        _tell(told.message, plan.notify, log)
        job.remember(told.memory)  # after the telling: rather told twice than never
        if told.causes != causes or not causes.written:  # the file needs its room before a disk is full
            shared.write(told.causes)
    return told.memory


def _told(plan: Plan, job: Job, memory: Memory, causes: Causes, ended: Ended) -> Told:
    title = job.name.partition("~")[0] if job == plan.unreadable else job.name
    who = Who(job.name, title, str(plan.log.absolute()) if plan.log.is_file() else "")
    if ended.code == retcode().already_running:
        return Told(memory, causes)
    if ended.code == 0:
        return after_success(memory, causes, ended, who)
    return after_failure(memory, causes, ended, who)


def _is_failure_on_record(plan: Plan, ended: Ended, began: datetime) -> bool:
    """Put a failure on record that is not; what a run stored may be, and its merge have failed since.

    Return whether it is on record now.
    """
    task = plan.task
    if not isinstance(task, Recorded) or task.has_failed_since(began) or _is_complete(task):
        return True
    task.record("failed", ended.error)
    return task.has_failed_since(began)


def _with_unrecorded(plan: Plan, memory: Memory, ended: Ended) -> Memory:
    """Remember a failure that could not be put on record, as where the disk is full."""
    minute, _ = _run_of(plan.task)
    return memory.with_unrecorded([*memory.unrecorded_minutes, minute] if minute else [], ended.error)


def _record_earlier(plan: Plan, memory: Memory) -> Memory:
    """Put earlier failures on record for which there was no room, as far as there is room now."""
    minutes = memory.unrecorded_minutes
    if not isinstance(plan.task, Recorded) or not minutes:
        return memory
    with contextlib.suppress(EtlError):
        while minutes:
            plan.task.record_earlier(minutes[0], memory.unrecorded_error)
            del minutes[0]
    return memory.with_unrecorded(minutes, memory.unrecorded_error if minutes else "")


def _is_complete(task: luigi.Task) -> bool:
    try:
        return bool(task.complete())
    except Exception:  # a task of the user's own; the run has failed for the same reason
        return False


def _counted(plan: Plan, memory: Memory) -> Memory:
    """Remember what the snapshot holds and what changed in the database, if the run was of one."""
    if not isinstance(plan.task, Recorded):
        return memory
    with contextlib.suppress(DamagedFileError):
        counts = read_record(plan.task.files.run).counts
        memory = msgspec.structs.replace(memory, counts=None if counts is msgspec.UNSET else counts)
    with contextlib.suppress(DamagedFileError):
        summary = read_summary(plan.task.files.summary)
        return msgspec.structs.replace(memory, rows=summary.parsed, rejected=summary.rejected)
    return memory


def _write_metrics(plan: Plan, memory: Memory, log: "_Log") -> None:
    if plan.metrics is None or plan.job == plan.unreadable:
        return
    from luigi_etl.metrics import write_metrics

    try:
        write_metrics(plan.metrics, plan.job.name, memory)
    except EtlError as error:
        log.info(f"no metrics: {error}")


# --- the run itself ------------------------------------------------------------------------------


def _run(plan: Plan, log: "_Log", signals: Signals) -> Ended:
    """Run Luigi under luigid, or without it where it does not answer or goes away."""
    if "--local-scheduler" in plan.arguments:
        return _run_luigi(plan.arguments, log, signals)
    locally = (*plan.arguments, "--local-scheduler")
    if problem := problem_of(plan.luigid):
        log.info(f"{problem}: this run goes without it")
        return _run_luigi(locally, log, signals)
    ended = _run_luigi(plan.arguments, log, signals)
    lost = (retcode().not_run, retcode().unhandled_exception)  # the second at answers Luigi can't handle
    if ended.code in lost or ended.error.startswith("luigid: "):
        log.info(f"luigid at {plan.luigid} went away or lost the run: what is left of it goes without it")
        return _run_luigi(locally, log, signals)
    return ended


def _run_luigi(arguments: Sequence[str], log: "_Log", signals: Signals) -> Ended:
    """Run Luigi in a process of its own, so that whatever ends it, someone is left to tell."""
    began = _now()
    if signals.received:  # before there was a process to pass it on to
        return _killed(signals.received, began)
    reader, writer = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_luigi, args=(arguments, reader, writer))
    error = last = ""
    with signals.passed_on_to(process), os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
        os.close(writer)
        for line in filter(None, map(one_line, lines)):
            last = line
            log.info(line)
            if found := re.match(r"ERROR: |luigi: error: ", line):
                error = error or line[found.end() :]  # what follows from it, and a mail server's, come later
        process.join()
    code = process.exitcode or 0
    if code < 0:
        return _killed(-code, began)
    return Ended(began, _now(), code, bounded(error or last) or "it gave no reason")


def _killed(number: int, began: datetime) -> Ended:
    error = f"killed by signal {number} ({signal.strsignal(number)})"
    return Ended(began, _now(), SIGNALLED + number, error)


def _luigi(arguments: Sequence[str], reader: int, writer: int) -> None:
    """Run Luigi with both of its outputs going to `writer`."""
    Signals.accept()
    os.close(reader)  # whoever else reads: without them a write must fail, not wait
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        run_with_retcodes(arguments)
    except TaskClassNotFoundException as error:
        found = str(error).splitlines()[:2]  # that there is none of the name, and whose name is the nearest
        refuse(" ".join(found))


# --- telling -------------------------------------------------------------------------------------


class _Log:
    """The log of a job."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logger = logging.Logger("unattended")

    def __enter__(self) -> "_Log":
        add_bounded_file(self._logger, self._path)
        return self

    def __exit__(self, *_: object) -> None:
        for handler in self._logger.handlers:
            handler.close()

    def info(self, line: str) -> None:
        """Write a line."""
        self._logger.info("%s", line)


def _tell(message: str, notify: str, log: _Log) -> None:
    """Give a message, if there is one, to the command of the settings; without it to standard error."""
    if not message:
        return
    log.info(f"told: {message}")
    if problem := deliver(message, notify):
        log.info(problem)


def _now() -> datetime:
    return datetime.now(timezone.utc)
