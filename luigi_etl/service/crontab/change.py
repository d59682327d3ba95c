"""One safe change of the user's crontab at a time."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luigi_etl.common.errors import CrontabError, LocksUnsupportedError
from luigi_etl.common.locks import lock
from luigi_etl.common.private import find_user_folders, is_writable_by_others, make_private, open_private
from luigi_etl.service.crontab.program import install_crontab, read_crontab

LOCK_SECONDS = 30.0


def change_crontab(change: Callable[[bytes], bytes]) -> bool:
    """Apply `change` to the user's crontab; return whether the crontab has changed.

    A lock excludes the user's other processes. A kill leaves the old crontab or the new one, because the
    program `crontab` reads a complete file and replaces the crontab in one step.

    Raises:
        CrontabError: the crontab is unchanged, unless the message states otherwise.

    """
    with _locked() as (folder, lock_file):
        before = read_crontab()
        after = change(before)
        if after == before:
            return False
        install_crontab(after, folder, lock_file)
        if read_crontab() != after:
            raise CrontabError(
                "your crontab: `crontab -l` differs from the installed crontab; check it, and run this "
                "command again"
            )
        return True


@contextlib.contextmanager
def _locked() -> Iterator[tuple[Path, int]]:
    """Hold the lock on the user's crontab; yield a private folder and the lock's file.

    Raises:
        CrontabError: another process holds the lock for too long, or no folder can be used.

    """
    with contextlib.ExitStack() as opened:
        path, file = _open_lock(opened)
        deadline = time.monotonic() + LOCK_SECONDS
        while not lock(file, path, ""):
            if time.monotonic() >= deadline:
                raise CrontabError(
                    f"your crontab: locked by another `luigi-etl crontab` for {LOCK_SECONDS:.0f} s; try "
                    "again when it has ended"
                )
            time.sleep(0.05)
        yield path.parent, file


def _open_lock(opened: contextlib.ExitStack) -> tuple[Path, int]:
    """Open the lock file in the user's first private folder that supports locks (some NFS does not)."""
    problems = []
    for folder in find_user_folders():
        path = folder / "crontab.lock"
        try:
            make_private(folder)
            if is_writable_by_others(folder):
                raise PermissionError(errno.EPERM, "others can write it", str(folder))
            file = open_private(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            opened.callback(os.close, file)
            lock(file, path, "")
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
        except LocksUnsupportedError:
            problems.append(f"{folder}: files can't be locked there")
        else:
            return path, file
    raise CrontabError(
        f"cannot lock your crontab ({'; '.join(problems)}); give access to one of these folders"
    )
