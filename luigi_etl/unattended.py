"""A run that nobody watches: one at a time, on record, and silent unless a person is needed."""

import contextlib
import io
import logging
import multiprocessing
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path

import luigi
import msgspec
from luigi.cmdline_parser import CmdlineParser
from luigi.retcodes import retcode, run_with_retcodes

from luigi_etl.config import service
from luigi_etl.errors import DamagedFileError, EtlError
from luigi_etl.jobs import BusyError, Job, Memory
from luigi_etl.lines import one_line
from luigi_etl.outage import Ended, Told, after_failure, after_success
from luigi_etl.scheduler import Address, address, answers
from luigi_etl.snapshot import Snapshot

LOG_BYTES = 1_000_000
OLD_LOGS = 2
NOTIFY_SECONDS = 60
SIGNALLED = 128  # and the number of the signal, as shells have it


@dataclass(frozen=True)
class Plan:
    """What is to be run, and what the settings say of runs nobody watches."""

    arguments: tuple[str, ...]
    task: luigi.Task | None
    job: Job
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
    plan = _planned(("--module", "luigi_etl", *arguments))
    try:
        with plan.job.alone():
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
    name = task.task_family if task else _asked_for(arguments)
    if isinstance(task, Snapshot):
        name = f"{name}.{task.files.slug}"
    settings = service()
    return Plan(
        arguments, task, Job(name, settings.path), address(), settings.notify, settings.metrics_folder
    )


def _asked_for(arguments: tuple[str, ...]) -> str:
    """Return the task family of a command line that can't be read, fit for a file name."""
    family = arguments[2]
    return family if family.isascii() and family.isidentifier() else "unreadable"


def _skip(plan: Plan, busy: BusyError) -> None:
    """Put a skipped minute on record, unless it is the very minute that is being run."""
    with _Log(plan.log) as log:
        log.info(f"skipped: {busy}")
    began = busy.memory.began
    if isinstance(plan.task, Snapshot) and not plan.task.is_on_record:
        minute = plan.task.timestamp.replace(tzinfo=timezone.utc)
        if began is None or began.replace(second=0, microsecond=0) != minute:
            with contextlib.suppress(EtlError):
                plan.task.record("skipped", str(busy))


def _attended(plan: Plan) -> int:
    clock, began = time.monotonic(), _now()
    with _Log(plan.log) as log:
        ended = _run(plan, log)
        seconds = round(time.monotonic() - clock, 3)
        log.info(f"exit code {ended.code} after {seconds:.1f} s")
        memory = msgspec.structs.replace(plan.job.recall(), seconds=seconds)
        told = _concluded(plan, memory, ended, began)
        plan.job.remember(told.memory)
        _write_metrics(plan, told.memory, log)
        if told.message:
            _tell(f"luigi_etl on {socket.gethostname()}: {told.message}", plan.notify, log)
    return ended.code


def _concluded(plan: Plan, memory: Memory, ended: Ended, began: datetime) -> Told:
    """Decide what the end of the run means; see to it that a failure is on record."""
    if ended.code == retcode().already_running:
        return Told(memory)
    if ended.code == 0:
        return after_success(_counted(plan, memory), ended, plan.job.name)
    if isinstance(plan.task, Snapshot) and not plan.task.is_on_record_since(began):
        with contextlib.suppress(EtlError):
            plan.task.record("failed", ended.error)
    return after_failure(memory, ended, plan.job.name, str(plan.log.absolute()))


def _counted(plan: Plan, memory: Memory) -> Memory:
    """Remember what the snapshot holds, if this was one."""
    from luigi_etl.parse import read_summary

    if not isinstance(plan.task, Snapshot):
        return memory
    with contextlib.suppress(DamagedFileError):
        summary = read_summary(plan.task.files.summary)
        return msgspec.structs.replace(memory, rows=summary.parsed, rejected=summary.rejected)
    return memory


def _write_metrics(plan: Plan, memory: Memory, log: "_Log") -> None:
    from luigi_etl.metrics import write_metrics

    if plan.metrics is None:
        return
    try:
        write_metrics(plan.metrics, plan.job.name, memory)
    except EtlError as error:
        log.info(f"no metrics: {error}")


# --- the run itself ------------------------------------------------------------------------------


def _run(plan: Plan, log: "_Log") -> Ended:
    """Run Luigi under luigid, or without it where it does not answer or goes away."""
    if "--local-scheduler" in plan.arguments:
        return _run_luigi(plan.arguments, log)
    locally = (*plan.arguments, "--local-scheduler")
    if not answers(plan.luigid):
        log.info(f"luigid does not answer at {plan.luigid}: this run goes without it")
        return _run_luigi(locally, log)
    ended = _run_luigi(plan.arguments, log)
    codes = retcode()
    if ended.code in (codes.not_run, codes.unhandled_exception):
        log.info(f"luigid at {plan.luigid} went away or lost the run: what is left of it goes without it")
        return _run_luigi(locally, log)
    return ended


def _run_luigi(arguments: Sequence[str], log: "_Log") -> Ended:
    """Run Luigi in a process of its own, so that whatever ends it, someone is left to tell."""
    reader, writer = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_luigi, args=(arguments, writer))
    process.start()
    os.close(writer)
    error = last = ""
    with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
        for line in filter(None, map(one_line, lines)):
            last = line
            log.info(line)
            if found := re.match(r"ERROR: |luigi: error: ", line):
                error = line[found.end() :]
    process.join()
    code = process.exitcode or 0
    if code < 0:
        return Ended(_now(), SIGNALLED - code, f"killed by {signal.Signals(-code).name}")
    return Ended(_now(), code, error or last)


def _luigi(arguments: Sequence[str], writer: int) -> None:
    """Run Luigi with both of its outputs going to `writer`."""
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    run_with_retcodes(arguments)


# --- telling -------------------------------------------------------------------------------------


class _Log:
    """The log of a job: lines with the time in UTC, in at most three files of 1 MB."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._logger = logging.Logger("unattended")

    def __enter__(self) -> "_Log":
        logging.raiseExceptions = False  # a log that can't be written is no reason to end
        with contextlib.suppress(OSError):
            handler = RotatingFileHandler(
                self._path, maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8"
            )
            formatter = logging.Formatter("%(asctime)s [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
            formatter.converter = time.gmtime
            handler.setFormatter(formatter)
            self._logger.addHandler(handler)
        return self

    def __exit__(self, *_: object) -> None:
        for handler in self._logger.handlers:
            handler.close()

    def info(self, line: str) -> None:
        """Write a line."""
        self._logger.info("%s", line)


def _tell(message: str, notify: str, log: _Log) -> None:
    """Give a message to the command of the settings; to standard error without one, or if it fails."""
    log.info(f"told: {message}")
    problem = _notified(notify, message) if notify else ""
    if notify and not problem:
        return
    sys.stderr.write(f"{message}\n")
    if problem:
        log.info(problem)
        sys.stderr.write(f"{problem}\n")


def _notified(command: str, message: str) -> str:
    """Run a command with the message on its standard input; return what went wrong, if anything."""
    failed = f"luigi_etl: [service] notify, {command!r}, failed"
    try:
        run = subprocess.run(  # noqa: S603  # the user's own
            shlex.split(command),
            input=f"{message}\n".encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=NOTIFY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{failed}: no end within {NOTIFY_SECONDS} s"
    except OSError as error:
        return f"{failed}: {error.strerror or error}"
    said = one_line(run.stdout.decode(errors="replace"))[-500:]
    return f"{failed} (exit code {run.returncode}): {said}" if run.returncode else ""


def _now() -> datetime:
    return datetime.now(timezone.utc)
