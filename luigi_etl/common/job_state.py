"""A job that cron starts again and again: one run of it at a time, and what is remembered between runs."""

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
MOST_RANGES = 40  # of minutes: more would not fit into the block
LONGEST_NOTE = 200  # characters


class JobState(Record, frozen=True, kw_only=True):
    """What is known of a job; times are aware UTC.

    `failures` are the runs that failed since the last success, the first of them at `failing_since` with
    `first_error`; `cause` is the key of the last one's. `rows`, `rejected` and `counts` are of the last
    success; `process`, `began`, `seconds`, `minute`, `slug`, `attempt` and `attempts` of the last run.
    `unrecorded` are ranges of minutes, each the first and how many, that failed with `unrecorded_error`
    while no record could be written.
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
        """The minutes that failed without a record."""
        return [first + number * MINUTE for first, count in self.unrecorded for number in range(count)]

    def with_unrecorded(self, minutes: Iterable[datetime], error: str = "") -> "JobState":
        """Return the memory with other minutes that failed without a record; the newest are kept."""
        ranges: list[tuple[datetime, int]] = []
        for minute in sorted(set(minutes)):
            if ranges and ranges[-1][0] + ranges[-1][1] * MINUTE == minute:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
            else:
                ranges.append((minute, 1))
        kept = tuple(ranges[-MOST_RANGES:])
        return msgspec.structs.replace(self, unrecorded=kept, unrecorded_error=error[:LONGEST_NOTE])


class BusyError(EtlError):
    """Another run of the job is under way; `memory` tells which."""

    def __init__(self, memory: JobState) -> None:
        began = f", begun at {with_seconds(memory.began)}" if memory.began else ""
        super().__init__(f"another run is under way (process {memory.process}{began})")
        self.memory = memory


@dataclass(frozen=True)
class Job:
    """A job by its name, which must be fit for a file name, and the folder it is remembered in."""

    name: str
    folder: Path

    @contextlib.contextmanager
    def exclusive(self, minute: datetime | None = None, slug: str = "") -> Iterator[None]:
        """Keep other runs of the job out, and remember that this one began, and of what.

        Processes that are forked meanwhile keep them out too, as long as they live.

        Raises:
            BusyError: another run is under way.
            StorageError: no folder can be used for the lock.

        """
        with contextlib.ExitStack() as opened:
            if not self._state.lock(opened, wait=False):
                raise BusyError(self.read_state())
            self._remember_beginning(minute, slug)
            _under_way.append(self)
            opened.callback(_under_way.remove, self)
            yield

    def is_under_way(self) -> bool:
        """Return whether a run of the job holds its lock; a run that begins just now is not kept out."""
        for folder in self._state.folders():
            with contextlib.suppress(OSError, LocksUnsupportedError):
                if is_locked(folder / f"{self.name}.lock"):
                    return True
        return False

    def read_state(self) -> JobState:
        """Return what was remembered last; nothing on record is a job that never ran."""
        return self._state.read()

    def write_state(self, memory: JobState) -> None:
        """Keep this over restarts and outages; where it can't be kept at all it is lost."""
        self._state.write(memory)

    def _remember_beginning(self, minute: datetime | None, slug: str) -> None:
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
    def _state(self) -> StateFile[JobState]:
        return StateFile(self.name, self.folder, JobState)


_under_way: list[Job] = []  # those of this process, and of the processes it forks


def record_attempt(attempt: int, attempts: int) -> None:
    """Remember which attempt is next, for each job of this process."""
    for job in _under_way:
        job.write_state(msgspec.structs.replace(job.read_state(), attempt=attempt, attempts=attempts))


def known_jobs(folder: Path) -> list[Job]:
    """Return the jobs that are remembered in a folder."""
    names = set()
    for place in StateFile("", folder, JobState).folders():
        with contextlib.suppress(OSError):
            names |= {path.stem for path in place.glob("*.state") if not path.name.startswith(".")}
    return [Job(name, folder) for name in sorted(names)]
