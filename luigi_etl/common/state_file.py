"""State files, which can be written even during an outage such as a full disk.

A state file is overwritten in place, within disk space that it already occupies.
If the folder can't be written, a private folder among the temporary files replaces it.
"""

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from luigi_etl.common.errors import DamagedFileError, LocksUnsupportedError, StorageError
from luigi_etl.common.files import overwrite, read_json
from luigi_etl.common.locks import lock
from luigi_etl.common.private import make_private

BLOCK = 4096  # bytes, overwritten in one write
LOCAL_DISK_REMEDY = "set [service] folder to one on a local disk"
LOCK_TEST = 0.05  # seconds: longer than another process takes to test a lock


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is kept between runs; `written` counts its writes."""

    written: int = 0


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class StateFile(Generic[R]):
    """A file that keeps a record through restarts and outages; it occupies `room` bytes."""

    name: str
    folder: Path
    kind: type[R]
    room: int = BLOCK

    def read(self) -> R:
        """Return the newest record, or an empty one."""
        found = [record for folder in self.folders() if (record := _read(self.path(folder), self.kind))]
        return max(found, key=lambda record: record.written, default=self.kind())

    def write(self, record: R) -> None:
        """Write a record; if no folder can be written, the record is lost."""
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
        """Keep other processes from changing the record; continue without a lock if none is possible."""
        with contextlib.ExitStack() as opened:
            with contextlib.suppress(OSError, StorageError):
                self.lock(opened, wait=True)
            yield

    def lock(self, opened: contextlib.ExitStack, *, wait: bool) -> bool:
        """Lock a file in the first usable folder until `opened` closes.

        Return False if another process holds the lock and `wait` is false.

        Raises:
            StorageError: no folder can be used for the lock.

        """
        problem: OSError | LocksUnsupportedError | None = None
        for folder in self.folders():
            path = self.lock_path(folder)
            for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):  # a lock needs no write permission
                try:
                    make_private(folder)
                    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
                    opened.callback(os.close, descriptor)
                    return lock(descriptor, path, LOCAL_DISK_REMEDY, wait=wait) or _lock_again(
                        descriptor, path
                    )
                except (OSError, LocksUnsupportedError) as error:
                    problem = problem or error
        if isinstance(problem, LocksUnsupportedError):
            raise problem
        raise StorageError(
            f"cannot write {self.folder}: {problem}; give access there, or set [service] folder"
        ) from problem

    def path(self, folder: Path) -> Path:
        """Return the path of the file in a folder."""
        return folder / f"{self.name}.state"

    def lock_path(self, folder: Path) -> Path:
        """Return the path of the lock file in a folder."""
        return folder / f"{self.name}.lock"

    def folders(self) -> list[Path]:
        """Return the folder and its replacement, unless other users have access to the replacement."""
        private = Path(tempfile.gettempdir()) / f"luigi_etl-{os.getuid()}"
        return [self.folder, private / _flatten(self.folder)] if _is_private(private) else [self.folder]


def _lock_again(descriptor: int, path: Path) -> bool:
    """Lock a file after a short wait: `is_locked` in another process holds the lock for a moment."""
    time.sleep(LOCK_TEST)
    return lock(descriptor, path, LOCAL_DISK_REMEDY)


def _flatten(folder: Path) -> str:
    return str(folder.absolute()).replace(os.sep, "%")[-200:]


def _is_private(folder: Path) -> bool:
    """Return whether a folder is missing or accessible only to this user."""
    try:
        status = folder.lstat()
    except OSError:
        return True
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _read(path: Path, kind: type[R]) -> R | None:
    with contextlib.suppress(DamagedFileError):
        return read_json(path, kind)
    return None
