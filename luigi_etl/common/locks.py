"""File locks (flock), which the kernel releases however a process ends.

A forked process shares the locks of its parent: they last until both have closed the file.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from luigi_etl.common.errors import LocksUnsupportedError

ROOT_WITH_LOCKS = "set [storage] root to a folder on a local disk"


def lock(file: int | IO[bytes], path: Path, remedy: str, *, wait: bool = False) -> bool:
    """Lock the open file `path` until it is closed; return whether that succeeded.

    It fails if another process holds the lock and `wait` is false. It also fails if the file was removed,
    because other processes would not see that lock. `remedy` is the advice for file systems without locks.

    Raises:
        LocksUnsupportedError: the file system can't lock the file.

    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        raise LocksUnsupportedError(f"cannot lock {path}: {error.strerror}; {remedy}") from error
    return _has_name(file, path)


@contextlib.contextmanager
def locked(path: Path, remedy: str) -> Iterator[None]:
    """Wait for a lock file, and hold it for the block; create it if it is missing.

    Raises:
        LocksUnsupportedError: the file system can't lock it.
        OSError: it can't be opened.

    """
    while True:
        with path.open("wb") as stream:
            if lock(stream, path, remedy, wait=True):
                yield
                return


def is_locked(path: Path, flags: int = os.O_RDONLY) -> bool:
    """Return whether a process holds a file's lock; `flags` open the file.

    Raises:
        LocksUnsupportedError: the file system can't lock the file.
        OSError: it can't be opened.

    """
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise LocksUnsupportedError(f"cannot lock {path}: {error.strerror}") from error
    finally:
        os.close(file)
    return False


def _has_name(file: int | IO[bytes], path: Path) -> bool:
    status = os.fstat(file if isinstance(file, int) else file.fileno())
    try:
        return os.path.samestat(status, path.stat())
    except FileNotFoundError:
        return False
