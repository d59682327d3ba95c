"""A job that cron starts again and again: one run of it at a time, and what is remembered between runs.

What is remembered must outlive the outages it is about. It is written in place, in a file that has its
room on the disk already, so that a full disk does not matter; where the folder can't be written at all,
a folder of this user among the temporary files stands in.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from luigi_etl.errors import EtlError, StorageError

_ROOM = 4096  # bytes: one block, overwritten in one piece


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job; times are aware UTC.

    `runs` counts all runs; `failures` those that failed since the last success, the first of them at
    `failing_since` with `first_error`. `rows` and `rejected` are of the last success, `process`, `began` and
    `seconds` of the last run.
    """

    runs: int = 0
    process: int = 0
    began: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    first_error: str = ""
    last_success: datetime | None = None
    rows: int = 0
    rejected: int = 0
    seconds: float = 0.0


class BusyError(EtlError):
    """Another run of the job is under way; `memory` tells which."""

    def __init__(self, memory: Memory) -> None:
        began = f", begun at {memory.began:%Y-%m-%d %H:%M:%S} UTC" if memory.began else ""
        super().__init__(f"another run is under way (process {memory.process}{began})")
        self.memory = memory


@dataclass(frozen=True)
class Job:
    """A job by its name, which must be fit for a file name, and the folder it is remembered in."""

    name: str
    folder: Path

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs of the job out, and remember that this one began.

        Processes that are forked meanwhile keep them out too, as long as they live.

        Raises:
            BusyError: another run is under way.
            StorageError: no folder can be used for the lock.

        """
        descriptor = self._lock_file()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(self.recall()) from None
        else:
            self._remember_beginning()
            yield
        finally:
            os.close(descriptor)

    def recall(self) -> Memory:
        """Return what was remembered last; nothing on record is a job that never ran."""
        found = [memory for folder in self._folders() if (memory := _read(self._state(folder)))]
        return max(found, key=lambda memory: memory.runs, default=Memory())

    def remember(self, memory: Memory) -> None:
        """Keep this over restarts and outages; where it can't be kept at all it is lost."""
        content = msgspec.json.encode(memory).ljust(_ROOM)
        for folder in self._folders():
            with contextlib.suppress(OSError):
                _make(folder)
                _overwrite(self._state(folder), content)
                return

    def _remember_beginning(self) -> None:
        before = self.recall()
        began = datetime.now(timezone.utc)
        self.remember(msgspec.structs.replace(before, runs=before.runs + 1, process=os.getpid(), began=began))

    def _lock_file(self) -> int:
        problem: OSError | None = None
        for folder in self._folders():
            path = folder / f"{self.name}.lock"
            for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # a lock needs no right to write
                try:
                    _make(folder)
                    return os.open(path, flags, 0o600)
                except OSError as error:
                    problem = problem or error
        raise StorageError(
            f"cannot write {self.folder}: {problem}; give access there, or set [service] folder"
        ) from problem

    def _state(self, folder: Path) -> Path:
        return folder / f"{self.name}.state"

    def _folders(self) -> list[Path]:
        """Return the folder, and the one that stands in for it, if nobody else can write there."""
        stand_in = Path(tempfile.gettempdir()) / f"luigi_etl-{os.getuid()}" / _flat(self.folder)
        return [self.folder, stand_in] if _is_private(stand_in.parent) else [self.folder]


def _flat(folder: Path) -> str:
    return str(folder.absolute()).replace(os.sep, "%")[-200:]


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _is_private(folder: Path) -> bool:
    """Tell whether the folder is this user's alone; make it if it is not there."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return False


def _read(path: Path) -> Memory | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _overwrite(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)
