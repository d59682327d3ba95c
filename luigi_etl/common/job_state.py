"""A job that cron starts repeatedly: one run at a time, and its state between runs."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec

from luigi_etl.common.errors import EtlError, LocksUnsupportedError
from luigi_etl.common.locks import is_locked
from luigi_etl.common.minutes import with_seconds
from luigi_etl.common.state_file import Record, StateFile

MINUTE = timedelta(minutes=1)
MOST_RANGES = 40  # of minutes: more do not fit into a block of the state file
LONGEST_NOTE = 200  # characters


class JobState(Record, frozen=True, kw_only=True):
    """The state of a job; times are aware UTC.

    `failures` counts the failed runs since the last success. The first of them failed at `failing_since` with
    `first_error`; `cause` is the key of the last one's cause. `rows`, `rejected` and `counts` belong to the
    last success. `process`, `began`, `seconds`, `minute`, `slug`, `attempt` and `attempts` belong to the last
    run. `unrecorded` are ranges of minutes (first minute, count) that failed with `unrecorded_error` and
    whose run record could not be written.
    """

    process: int = 0
    began: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    first_error: str = ""
    cause: str = ""
    last_success: datetime | None = None
    rows: int = 0
    rejected: int = 0
    counts: dict[str, int] | None = None
    seconds: float = 0.0
    minute: datetime | None = None
    slug: str = ""
    attempt: int = 0
    attempts: int = 0
    unrecorded: tuple[tuple[datetime, int], ...] = ()
    unrecorded_error: str = ""

    @property
    def unrecorded_minutes(self) -> list[datetime]:
        """The minutes that failed without a run record."""
        return [first + number * MINUTE for first, count in self.unrecorded for number in range(count)]

    def with_unrecorded(self, minutes: Iterable[datetime], error: str = "") -> "JobState":
        """Return a copy in which these minutes failed without a run record; keep the newest ones."""
        ranges: list[tuple[datetime, int]] = []
        for minute in sorted(set(minutes)):
            if ranges and ranges[-1][0] + ranges[-1][1] * MINUTE == minute:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
            else:
                ranges.append((minute, 1))
        kept = tuple(ranges[-MOST_RANGES:])
        return msgspec.structs.replace(self, unrecorded=kept, unrecorded_error=error[:LONGEST_NOTE])


class BusyError(EtlError):
    """A job with another run under way; `memory` is the state of that run."""

    def __init__(self, state: JobState) -> None:
        began = f", begun at {with_seconds(state.began)}" if state.began else ""
        super().__init__(f"another run is under way (process {state.process}{began})")
        self.state = state


@dataclass(frozen=True)
class Job:
    """A job: a name that is a valid file name, and the folder of its state file."""

    name: str
    folder: Path

    @contextlib.contextmanager
    def exclusive(self, minute: datetime | None = None, slug: str = "") -> Iterator[None]:
        """Lock out other runs of the job, and record the start of this one.

        The lock lasts until forked processes have ended, too.

        Raises:
            BusyError: another run is under way.
            StorageError: no folder can be used for the lock.

        """
        with contextlib.ExitStack() as opened:
            if not self._file.lock(opened, wait=False):
                raise BusyError(self.read_state())
            self._record_start(minute, slug)
            _under_way.append(self)
            opened.callback(_under_way.remove, self)
            yield

    def is_under_way(self) -> bool:
        """Return whether a run holds the job's lock; the test does not block a run that begins."""
        for folder in self._file.folders():
            with contextlib.suppress(OSError, LocksUnsupportedError):
                if is_locked(self._file.lock_path(folder)):
                    return True
        return False

    def read_state(self) -> JobState:
        """Return the state of the job, empty if it never ran."""
        return self._file.read()

    def write_state(self, state: JobState) -> None:
        """Write the state of the job; if no folder can be written, it is lost."""
        self._file.write(state)

    def _record_start(self, minute: datetime | None, slug: str) -> None:
        begun = msgspec.structs.replace(
            self.read_state(),
            process=os.getpid(),
            began=datetime.now(timezone.utc),
            minute=minute,
            slug=slug,
            attempt=0,
            attempts=0,
        )
        self.write_state(begun)

    @property
    def _file(self) -> StateFile[JobState]:
        return StateFile(self.name, self.folder, JobState)


_under_way: list[Job] = []  # the jobs of this process; forked processes inherit them


def record_attempt(attempt: int, attempts: int) -> None:
    """Record the next attempt in the state of each job of this process."""
    for job in _under_way:
        job.write_state(msgspec.structs.replace(job.read_state(), attempt=attempt, attempts=attempts))


def find_jobs(folder: Path) -> list[Job]:
    """Return the jobs with a state file in a folder."""
    names = set()
    for place in StateFile("", folder, JobState).folders():
        with contextlib.suppress(OSError):
            names |= {path.stem for path in place.glob("*.state") if not path.name.startswith(".")}
    return [Job(name, folder) for name in sorted(names)]
