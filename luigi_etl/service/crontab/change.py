"""One safe change of the user's crontab at a time."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luigi_etl.common.errors import CrontabError, LocksUnsupportedError
from luigi_etl.common.locks import lock
from luigi_etl.common.private import make_private, open_private, others_can_write, own_folders
from luigi_etl.service.crontab.program import install, read_crontab

LOCK_SECONDS = 30.0


def change_crontab(change: Callable[[bytes], bytes]) -> bool:
    """Replace the user's crontab by what `change` makes of it; return whether that differs.

    One process of the user does so at a time. Killed at any moment, it leaves the old crontab or the new
    one: the program `crontab` reads a file that is whole, and replaces the crontab in one step.

    Raises:
        CrontabError: the crontab is what it was, unless the message says otherwise.

    """
    with _alone() as (folder, file):
        before = read_crontab()
        after = change(before)
        if after == before:
            return False
        install(after, folder, file)
        if read_crontab() != after:
            raise CrontabError(
                "your crontab: `crontab -l` lists something else than was installed; look at it, and run "
                "this again"
            )
        return True


@contextlib.contextmanager
def _alone() -> Iterator[tuple[Path, int]]:
    """Hold the lock on the user's crontab; give a private folder and the lock's file.

    Raises:
        CrontabError: another process holds it for too long, or no folder can be used for it.

    """
    with contextlib.ExitStack() as opened:
        path, file = _open_lock(opened)
        deadline = time.monotonic() + LOCK_SECONDS
        while not lock(file, path, ""):
            if time.monotonic() >= deadline:
                raise CrontabError(
                    f"your crontab: another `luigi-etl crontab` has been changing it for "
                    f"{LOCK_SECONDS:.0f} s; try again when it has ended"
                )
            time.sleep(0.05)
        yield path.parent, file


def _open_lock(opened: contextlib.ExitStack) -> tuple[Path, int]:
    """Open the lock in the first folder that is this user's own and has locks (some NFS has none)."""
    problems = []
    for folder in own_folders():
        path = folder / "crontab.lock"
        try:
            make_private(folder)
            if others_can_write(folder):
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
