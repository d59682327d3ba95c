"""The replacement of a user's file in any folder: keep links, owner and mode; clean up after a kill."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from luigi_etl.common.errors import LocksUnsupportedError, StorageError
from luigi_etl.common.files import TEMPORARY_SUFFIX, storage_errors, sync, sync_folder, temporary_path
from luigi_etl.common.locks import lock
from luigi_etl.snapshot.leftovers import is_free, is_young
from luigi_etl.snapshot.listing import list_entries
from luigi_etl.snapshot.paths import exports_folder

_OTHERS_TO_GROUP = 3  # the shift from the permission bits of others to those of the group


@contextlib.contextmanager
def replace_file(path: Path, root: Path, remedy: str) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces the file at `path` if the block succeeds.

    A symbolic link is kept; its target is replaced. Owner and mode of an existing file are kept as far as
    this user may set them. A link to the temporary file is kept below `root`, the storage root. After a kill
    PruneSnapshots and the next call for the same folder find the file through this link.

    Raises:
        StorageError: the file can't be written; the existing file is unchanged.

    """
    with storage_errors(path, remedy):
        before = _stat_existing(path, remedy)
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise StorageError(
                f"cannot write {path}: there is no folder {target.parent}; make it, or {remedy}"
            )
        _remove_abandoned(target, root)
        temporary = temporary_path(target)
        with _recorded(temporary, root):
            try:
                with _create_locked(temporary, 0o600 if before else 0o666) as stream:
                    yield stream
                    if before:
                        _keep_owner_and_mode(stream.fileno(), before)
                    sync(stream)
                    temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(target.parent)


def _stat_existing(path: Path, remedy: str) -> os.stat_result | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"cannot write {path}: it is not a regular file; {remedy}")
    return status


def _create_locked(path: Path, mode: int) -> IO[bytes]:
    """Create a file and lock it while it is open, so that no other process removes it as abandoned."""
    stream = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb", buffering=1 << 20)
    with contextlib.suppress(LocksUnsupportedError):
        lock(stream, path, "")
    return stream


def _keep_owner_and_mode(file: int, before: os.stat_result) -> None:
    mode = stat.S_IMODE(before.st_mode)
    with contextlib.suppress(PermissionError):  # only root may change the owner
        os.fchown(file, before.st_uid, -1)
    try:
        os.fchown(file, -1, before.st_gid)
    except PermissionError:  # the file has another group now, which gets only the rights of others
        mode &= ~0o070 | (mode & 0o007) << _OTHERS_TO_GROUP
    os.fchmod(file, mode)


@contextlib.contextmanager
def _recorded(temporary: Path, root: Path) -> Iterator[None]:
    """Keep a symbolic link to a temporary file below `root` during the block, if it can be written."""
    link = exports_folder(root) / temporary.name
    with contextlib.suppress(OSError):
        if root.is_dir():
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(temporary.absolute())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)


def _remove_abandoned(target: Path, root: Path) -> None:
    """Remove temporary files of killed writers: recorded ones of this folder, old ones of this file."""
    stem = temporary_path(target).name[: -len(f"01234567{TEMPORARY_SUFFIX}")]
    own = re.compile(re.escape(stem) + r"[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX), re.ASCII)
    with contextlib.suppress(OSError):
        links = exports_folder(root)
        recorded = {entry.name for entry in list_entries(links) if entry.is_symlink()}
        for entry in list_entries(target.parent):
            path = Path(entry.path)
            is_candidate = entry.name in recorded or (own.fullmatch(entry.name) and not is_young(path))
            if is_candidate and entry.is_file(follow_symlinks=False) and is_free(path):
                path.unlink(missing_ok=True)
                (links / entry.name).unlink(missing_ok=True)
