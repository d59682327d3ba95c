"""The bases of the tasks: what a query returned at one minute, and what is told of a run."""

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

SILENCE = 60.0  # seconds in which a luigid that was away is told nothing: each try takes ten
BETWEEN_PROGRESS = 1.0  # seconds: each telling is a request, and nobody looks more often
S = TypeVar("S", bound="Snapshot")
T = TypeVar("T")
logger = logging.getLogger("luigi_etl")


_TEXT = TextFormat(encoding="utf-8", newline="")

Targets = dict[str, luigi.LocalTarget]


def targets(**paths: Path) -> Targets:
    """Return the targets of a task by name: text in UTF-8 with its own line ends, or bytes if compressed."""
    return {
        name: luigi.LocalTarget(path, format=Nop if path.suffix == ".gz" else _TEXT)
        for name, path in paths.items()
    }


class _Teller:
    """Tells luigid what it shows, which is not worth a run, nor more than a moment of it."""

    def __init__(self) -> None:
        self._silent_until = 0.0

    def tell(self, show: Callable[[Any], None] | None, what: str | int) -> None:
        """Call Luigi's own function to show something, which there is none of outside of a run."""
        if show is None or time.monotonic() < self._silent_until:
            return
        try:
            show(what)
        except RPCError:
            self._silent_until = time.monotonic() + SILENCE


_teller = _Teller()


class Tracked(luigi.Task):
    """The base of every task: what luigid is told of its run."""

    _next_progress = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        # luigid runs a task of one id once: another folder's or machine's must not stand in for ours.
        self.task_id = f"{self.task_id}_{storage_id(storage().path)}"

    def set_status(self, message: str) -> None:
        """Show a message beside the task in luigid, which would render it as HTML."""
        _teller.tell(self.set_status_message, html.escape(message))

    def set_file_status(self, path: Path, counts: str) -> None:
        """Show the file that was made, its name first: the box shows some 70 characters."""
        self.set_status(f"{path.name}: {counts} (in {path.parent})")

    def print_result(self, line: str) -> None:
        """Print the run's one line, and show it in luigid, too."""
        print_line(line)
        self.set_status(line)

    def show_progress(self, done: int, expected: int, message: str = "") -> None:
        """Show in luigid how far the task is, and a message beside it, unless it was told just now."""
        if time.monotonic() < self._next_progress:
            return
        self._next_progress = time.monotonic() + BETWEEN_PROGRESS
        _teller.tell(self.set_progress_percentage, 100 * done // max(1, expected))
        if message:
            self.set_status(message)

    def on_failure(self, exception: BaseException) -> str:
        """Return the reason, in one line, for luigid's page, which escapes it, and for e-mails."""
        line = reason(exception)
        return html.escape(line) if email().format == "html" else line


class Repeated(Tracked):
    """The base of tasks for which there is something to do again a minute later: no file tells that they ran.

    [worker] check_complete_on_run asks after the run, too.
    """

    _has_run = False

    def complete(self) -> bool:
        """Tell whether this very task has run."""
        return self._has_run


class Recorded(Tracked):
    """The base of tasks that are of a minute and a query, and whose end is on record beside their files."""

    timestamp = TimestampParameter(default=this_minute(), description="minute of the run, UTC; default: now")
    query = QueryParameter(default="", description="which complaints: the API's query string; default: all")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._began = time.monotonic()
        guard()
        ccdb()  # a setting that can't be used is told before anything is scheduled
        storage()

    @cached_property
    def parsed_query(self) -> Query:
        """The query, as a record."""
        return parse_query(self.query)

    @property
    def slug(self) -> str:
        """What the folder of the files is called."""
        raise NotImplementedError

    @cached_property
    def files(self) -> SnapshotFiles:
        """The paths of what is made."""
        return SnapshotFiles(storage().path, self.slug, self.timestamp)

    @property
    def job(self) -> str:
        """The name of the runs of this task for this query (and limit), of which there is one at a time."""
        return f"{self.task_family}.{self.slug}"

    def with_retries(self, action: Callable[[], T]) -> T:
        """Do something that may fail and pass, with the further attempts of the settings."""
        return with_retries(action, ccdb().retries, ccdb().retry_delay, self._announce)

    def _announce(self, failed: FailedAttempt) -> None:
        logger.warning("%s: %s", self.task_family, failed)
        self.set_status(failed.status)
        record_attempt(failed.attempt + 1, failed.attempts)

    def record(self, outcome: Outcome, error: str = "", counts: Mapping[str, int] | None = None) -> None:
        """Put on record how the run ended; it did, whether that can be written or not.

        `counts` is what it changed in the database.
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
            write_record(self.files.run, record)

    def record_earlier(self, minute: datetime, error: str) -> None:
        """Put on record that the run of another minute failed, unless it has ended otherwise since.

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
        """Tell whether a run of this minute came to an end that is on record."""
        return self.files.run.exists()

    def has_failed_since(self, moment: datetime) -> bool:
        """Tell whether a run of this minute failed after a moment (aware), and that is on record."""
        with contextlib.suppress(EtlError):
            record = read_record(self.files.run)
            return record.outcome == "failed" and record.ended >= moment
        return False

    def on_failure(self, exception: BaseException) -> str:
        """Record the failure, and tell luigid of it."""
        self.record("failed", reason(exception))
        return super().on_failure(exception)


class Snapshot(Recorded):
    """The base of the chain's tasks: three parameters, and nothing else that changes what they put out."""

    limit = WholeNumberParameter(10, 0, description="the newest so many; 0 = every one")

    @property
    def slug(self) -> str:
        """The query and the limit, as a file name."""
        return self.parsed_query.slug(self.limit)

    def same(self, family: type[S]) -> S:
        """Return the task of another family for this snapshot."""
        task: S = self.clone(family)
        return task


def _keep_from_prune(task: Snapshot) -> None:
    """Keep PruneSnapshots from removing a snapshot of an old minute that is being worked on."""
    mark_in_use(task.files)


Snapshot.event_handler(luigi.Event.START)(_keep_from_prune)
