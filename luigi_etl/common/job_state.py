"""A job that cron starts again and again: one run of it at a time, and what is remembered between runs.

What is remembered must outlive the outages it is about. It is written in place, in a file that has its
room on the disk already, so that a full disk does not matter; where the folder can't be written at all,
a folder of this user among the temporary files stands in.
"""

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from luigi_etl.common.errors import DamagedFileError, EtlError, LocksUnsupportedError, StorageError
from luigi_etl.common.files import overwrite, read_json
from luigi_etl.common.locks import is_locked, lock
from luigi_etl.common.minutes import with_seconds
from luigi_etl.common.private import make_private

BLOCK = 4096  # bytes, overwritten in one piece
LOCAL = "set [service] folder to one on a local disk"
SECOND_LOOK = 0.05  # seconds: longer than another process takes to see whether a lock is held
MINUTE = timedelta(minutes=1)
MOST_RANGES = 40  # of minutes: more would not fit into the block
LONGEST_NOTE = 200  # characters


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept between runs; `written` counts how often it was."""

    written: int = 0


R = TypeVar("R", bound=Record)


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
class StateFile(Generic[R]):
    """A file that keeps a record over restarts and outages, by its name, folder, and size."""

    name: str
    folder: Path
    kind: type[R]
    room: int = BLOCK

    def read(self) -> R:
        """Return the record that was written last, or an empty one."""
        found = [record for folder in self.folders() if (record := _read(self.path(folder), self.kind))]
        return max(found, key=lambda record: record.written, default=self.kind())

    def write(self, record: R) -> None:
        """Keep a record; where it can't be kept at all it is lost."""
        newest = msgspec.structs.replace(record, written=self.read().written + 1)
        content = msgspec.json.encode(newest)
        folders = self.folders()
        for at, folder in enumerate(folders):
            with contextlib.suppress(OSError):
                make_private(folder)
                self._overwrite(self.path(folder), content)
                for other in folders[at + 1 :]:
                    self.path(other).unlink(missing_ok=True)
                return

    def _overwrite(self, path: Path, content: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            overwrite(file, content, self.room)
        finally:
            os.close(file)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the record; go on without a lock where there can be none."""
        with contextlib.ExitStack() as opened:
            with contextlib.suppress(OSError, StorageError):
                self.lock(opened, wait=True)
            yield

    def lock(self, opened: contextlib.ExitStack, *, wait: bool) -> bool:
        """Lock a file, in the first folder where that works, until `opened` ends.

        Return False if another process holds the lock, and this one is not to `wait`.

        Raises:
            StorageError: no folder can be used for the lock.

        """
        problem: OSError | LocksUnsupportedError | None = None
        for folder in self.folders():
            path = folder / f"{self.name}.lock"
            for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # a lock needs no right to write
                try:
                    make_private(folder)
                    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
                    opened.callback(os.close, descriptor)
                    return lock(descriptor, path, LOCAL, wait=wait) or _is_locked_now(descriptor, path)
                except (OSError, LocksUnsupportedError) as error:
                    problem = problem or error
        if isinstance(problem, LocksUnsupportedError):
            raise problem
        raise StorageError(
            f"cannot write {self.folder}: {problem}; give access there, or set [service] folder"
        ) from problem

    def path(self, folder: Path) -> Path:
        """Return the file in a folder."""
        return folder / f"{self.name}.state"

    def folders(self) -> list[Path]:
        """Return the folder, and the one that stands in for it, if nobody else can write there."""
        stand_in = Path(tempfile.gettempdir()) / f"luigi_etl-{os.getuid()}" / _flat(self.folder)
        return [self.folder, stand_in] if _can_be_ours(stand_in.parent) else [self.folder]


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


def _is_locked_now(descriptor: int, path: Path) -> bool:
    """Lock a file that another process may only have looked at."""
    time.sleep(SECOND_LOOK)
    return lock(descriptor, path, LOCAL)


def _flat(folder: Path) -> str:
    return str(folder.absolute()).replace(os.sep, "%")[-200:]


def _can_be_ours(folder: Path) -> bool:
    """Tell whether the folder is this user's alone, or not there yet."""
    try:
        status = folder.lstat()
    except OSError:
        return True
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _read(path: Path, kind: type[R]) -> R | None:
    with contextlib.suppress(DamagedFileError):
        return read_json(path, kind)
    return None
