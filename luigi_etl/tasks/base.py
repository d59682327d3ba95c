"""Base classes of the tasks: parameters, files, run records and status in luigid."""

import contextlib
import html
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import luigi
from luigi.format import Nop, TextFormat
from luigi.notifications import email
from luigi.rpc import RPCError
from msgspec import UNSET

from luigi_etl.api.query import Query, parse_query
from luigi_etl.common.errors import DamagedFileError, EtlError
from luigi_etl.common.job_state import record_attempt
from luigi_etl.common.minutes import this_minute
from luigi_etl.common.reason import reason
from luigi_etl.common.retry import FailedAttempt, with_retries
from luigi_etl.common.terminal import print_line
from luigi_etl.snapshot.paths import SnapshotFiles, mark_in_use, storage_id
from luigi_etl.snapshot.run_record import Outcome, RunRecord, read_record, write_record
from luigi_etl.tasks.config import ccdb, guard, storage
from luigi_etl.tasks.parameters import QueryParameter, TimestampParameter, WholeNumberParameter

STATUS_PAUSE = 60.0  # seconds without updates after luigid failed to answer: each attempt takes ten
PROGRESS_INTERVAL = 1.0  # seconds: each update is a request
S = TypeVar("S", bound="Snapshot")
T = TypeVar("T")
logger = logging.getLogger("luigi_etl")

_TEXT = TextFormat(encoding="utf-8", newline="")

Targets = dict[str, luigi.LocalTarget]


def targets(**paths: Path) -> Targets:
    """Return named targets: UTF-8 text with unchanged line ends, or bytes if compressed."""
    return {
        name: luigi.LocalTarget(path, format=Nop if path.suffix == ".gz" else _TEXT)
        for name, path in paths.items()
    }


class _StatusSender:
    """A sender of best-effort status updates to luigid; a failed update never fails a run."""

    def __init__(self) -> None:
        self._paused_until = 0.0

    def send(self, update: Callable[[Any], None] | None, value: str | int) -> None:
        """Call Luigi's function `update`; outside a run it is None."""
        if update is None or time.monotonic() < self._paused_until:
            return
        try:
            update(value)
        except RPCError:
            self._paused_until = time.monotonic() + STATUS_PAUSE


_status_sender = _StatusSender()


class Tracked(luigi.Task):
    """The base of all tasks: status and progress in luigid."""

    _next_progress = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        # luigid runs each id once: the same task in another folder or on another machine needs another id.
        self.task_id = f"{self.task_id}_{storage_id(storage().path)}"

    def set_status(self, message: str) -> None:
        """Show a message beside the task in luigid, escaped because luigid renders HTML."""
        _status_sender.send(self.set_status_message, html.escape(message))

    def set_file_status(self, path: Path, counts: str) -> None:
        """Show a new file in luigid, name first: its box shows about 70 characters."""
        self.set_status(f"{path.name}: {counts} (in {path.parent})")

    def print_result(self, line: str) -> None:
        """Print the result line of the run, and show it in luigid."""
        print_line(line)
        self.set_status(line)

    def show_progress(self, done: int, expected: int, message: str = "") -> None:
        """Show progress and a message in luigid, at most once a second."""
        if time.monotonic() < self._next_progress:
            return
        self._next_progress = time.monotonic() + PROGRESS_INTERVAL
        _status_sender.send(self.set_progress_percentage, 100 * done // max(1, expected))
        if message:
            self.set_status(message)

    def on_failure(self, exception: BaseException) -> str:
        """Return the reason in one line, for luigid's page, which escapes it, and for e-mails."""
        line = reason(exception)
        return html.escape(line) if email().format == "html" else line


class Repeated(Tracked):
    """The base of tasks that run each time: no output file marks them as complete.

    With `[worker] check_complete_on_run`, Luigi also calls `complete` after the run.
    """

    _has_run = False

    def complete(self) -> bool:
        """Return whether this task object has run."""
        return self._has_run


class Recording(Tracked):
    """The base of tasks that retry after temporary failures, and record their outcome beside their files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._began = time.monotonic()
        guard()  # creating the sections rejects wrong settings before anything is scheduled
        ccdb()
        storage()

    @property
    def run_file(self) -> Path:
        """The path of the run record."""
        raise NotImplementedError

    def with_retries(self, action: Callable[[], T]) -> T:
        """Call `action`, and retry after temporary failures as `[ccdb]` configures."""
        return with_retries(action, ccdb().retries, ccdb().retry_delay, self._announce)

    def _announce(self, failed: FailedAttempt) -> None:
        logger.warning("%s: %s", self.task_family, failed)
        self.set_status(failed.status)
        record_attempt(failed.attempt + 1, failed.attempts)

    def record(self, outcome: Outcome, error: str = "", counts: Mapping[str, int] | None = None) -> None:
        """Record the outcome of the run; ignore a record that can't be written.

        `counts` are the changes in the database.
        """
        record = RunRecord(
            outcome=outcome,
            task=self.task_family,
            ended=datetime.now(timezone.utc),
            seconds=round(time.monotonic() - self._began, 3),
            error=error,
            counts=UNSET if counts is None else dict(counts),
        )
        with contextlib.suppress(EtlError):
            write_record(self.run_file, record)

    def on_failure(self, exception: BaseException) -> str:
        """Record the failure, and return its reason for luigid and e-mails."""
        self.record("failed", reason(exception))
        return super().on_failure(exception)


class Recorded(Recording):
    """The base of tasks with a timestamp and a query."""

    timestamp = TimestampParameter(default=this_minute(), description="minute of the run, UTC; default: now")
    query = QueryParameter(default="", description="which complaints: the API's query string; default: all")

    @cached_property
    def parsed_query(self) -> Query:
        """The parsed query."""
        return parse_query(self.query)

    @property
    def slug(self) -> str:
        """The name of the folder of the files."""
        raise NotImplementedError

    @cached_property
    def files(self) -> SnapshotFiles:
        """The paths of the files."""
        return SnapshotFiles(storage().path, self.slug, self.timestamp)

    @property
    def run_file(self) -> Path:
        """The path of the run record."""
        return self.files.run

    @property
    def job(self) -> str:
        """The name of the job: this task for this query (and limit)."""
        return f"{self.task_family}.{self.slug}"

    def record_earlier(self, minute: datetime, error: str) -> None:
        """Record that the run of another minute failed, unless a record has its outcome already.

        Raises:
            StorageError: the record can't be written.

        """
        earlier = self.clone(timestamp=minute)
        with contextlib.suppress(DamagedFileError):
            if earlier.complete() or read_record(earlier.files.run).outcome != "stored":
                return
        ended = minute.replace(tzinfo=timezone.utc)
        failed = RunRecord(outcome="failed", task=self.task_family, ended=ended, seconds=0.0, error=error)
        write_record(earlier.files.run, failed)

    @property
    def is_on_record(self) -> bool:
        """Whether the outcome of a run of this minute is on record."""
        return self.files.run.exists()

    def has_failed_since(self, moment: datetime) -> bool:
        """Return whether a recorded run of this minute failed at or after an aware moment."""
        with contextlib.suppress(EtlError):
            record = read_record(self.files.run)
            return record.outcome == "failed" and record.ended >= moment
        return False


class Snapshot(Recorded):
    """The base of the chain's tasks: only timestamp, query and limit decide their output."""

    limit = WholeNumberParameter(10, 0, description="number of newest complaints; 0 = all")

    @property
    def slug(self) -> str:
        """The query and the limit as a file name."""
        return self.parsed_query.slug(self.limit)

    def clone_as(self, family: type[S]) -> S:
        """Return the task of another class for the same snapshot."""
        task: S = self.clone(family)
        return task


def _protect_from_prune(task: Snapshot) -> None:
    """Keep PruneSnapshots from removing a snapshot that is in use."""
    mark_in_use(task.files)


Snapshot.event_handler(luigi.Event.START)(_protect_from_prune)
