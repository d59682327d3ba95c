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

    `written` counts how often it was; `failures` the runs that failed since the last success, the first of
    them at `failing_since` with `first_error`. `rows` and `rejected` are of the last success; `process`,
    `began` and `seconds` of the last run.
    """

    written: int = 0
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
        return max(found, key=lambda memory: memory.written, default=Memory())

    def remember(self, memory: Memory) -> None:
        """Keep this over restarts and outages; where it can't be kept at all it is lost."""
        newest = msgspec.structs.replace(memory, written=self.recall().written + 1)
        content = msgspec.json.encode(newest).ljust(_ROOM)
        folders = self._folders()
        for at, folder in enumerate(folders):
            with contextlib.suppress(OSError):
                _make(folder)
                _overwrite(self._state(folder), content)
                for other in folders[at + 1 :]:
                    self._state(other).unlink(missing_ok=True)
                return

    def _remember_beginning(self) -> None:
        began = datetime.now(timezone.utc)
        self.remember(msgspec.structs.replace(self.recall(), process=os.getpid(), began=began))

    def _lock_file(self) -> int:
        problem: OSError | None = None
        for folder in self._folders():
            path = folder / f"{self.name}.lock"
            for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # a lock needs no right to write
                try:
                    _make(folder)
                    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
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
        return [self.folder, stand_in] if _can_be_ours(stand_in.parent) else [self.folder]


def _flat(folder: Path) -> str:
    return str(folder.absolute()).replace(os.sep, "%")[-200:]


def _make(folder: Path) -> None:
    """Make a folder and those above it, for this user alone."""
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")


def _can_be_ours(folder: Path) -> bool:
    """Tell whether the folder is this user's alone, or not there yet."""
    try:
        status = folder.lstat()
    except OSError:
        return True
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _read(path: Path) -> Memory | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Memory)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _overwrite(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(descriptor, content, 0)
    finally:
        os.close(descriptor)
