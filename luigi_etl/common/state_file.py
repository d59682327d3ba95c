"""State files, which outlive the outages they are about.

A state file is written in place, where it has its room on the disk already, so that a full disk does not
matter; where the folder can't be written at all, a folder of this user among the temporary files stands in.
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

BLOCK = 4096  # bytes, overwritten in one piece
LOCAL = "set [service] folder to one on a local disk"
SECOND_LOOK = 0.05  # seconds: longer than another process takes to see whether a lock is held


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept between runs; `written` counts how often it was."""

    written: int = 0


R = TypeVar("R", bound=Record)


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
