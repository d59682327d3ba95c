"""Folders and files that only this user can write."""

import os
import pwd
import stat
from pathlib import Path


def make_private(folder: Path) -> None:
    """Make a folder and the missing ones above it, for this user alone whatever the umask.

    Raises:
        OSError: it can't be made, or something else has its name.

    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")


def others_can_write(path: Path) -> bool:
    """Tell whether a user besides this one and root can write a file or folder."""
    status = path.stat()
    return status.st_uid not in (os.geteuid(), 0) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def open_private(path: str | Path, flags: int) -> int:
    """Open a file as `os.open` does; one that is created is for this user alone whatever the umask."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def own_folders() -> list[Path]:
    """Return the folders, the best first, where every process of this user finds the same files.

    They do not depend on the environment, which differs between a login, cron and sudo.
    """
    uid = os.getuid()
    temporary = Path("/tmp", f"luigi_etl-{uid}")  # noqa: S108  # used only if nobody else can write it
    try:
        return [Path(pwd.getpwuid(uid).pw_dir, ".cache", "luigi_etl"), temporary]
    except KeyError:  # a user without an account
        return [temporary]
