"""Files and folders that only this user can write."""

import os
import pwd
import stat
from pathlib import Path


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents, private to this user whatever the umask.

    Raises:
        OSError: the folder can't be created, or a file has its name.

    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")


def is_writable_by_others(path: Path) -> bool:
    """Return whether other users than this one and root can write a file or folder."""
    status = path.stat()
    return status.st_uid not in (os.geteuid(), 0) or bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def open_private(path: str | Path, flags: int) -> int:
    """Open a file as `os.open` does; a new file is private to this user whatever the umask."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def find_user_folders() -> list[Path]:
    """Return the folders that all processes of this user share, the best first.

    They do not depend on the environment, which differs between a login, cron and sudo.
    """
    uid = os.getuid()
    temporary = Path("/tmp", f"luigi_etl-{uid}")  # noqa: S108  # used only if nobody else can write it
    try:
        return [Path(pwd.getpwuid(uid).pw_dir, ".cache", "luigi_etl"), temporary]
    except KeyError:  # a user without an account
        return [temporary]
