"""Replacing a file of the user's, anywhere: links, owner and mode stay; what a kill leaves is found again."""

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
from luigi_etl.snapshot.listing import entries
from luigi_etl.snapshot.paths import exports_folder

_OTHERS_TO_GROUP = 3  # bits between the rights of others and those of the group


@contextlib.contextmanager
def replacing(path: Path, root: Path, remedy: str) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the place of the one at `path` only when the block ends well.

    A symbolic link stays, and leads to the new file. Of an existing file owner and mode stay, as far as this
    user may set them. The temporary file is noted below `root`, the folder of all files: after a kill
    PruneSnapshots finds it there, and so does the next call for a file of the same folder.

    Raises:
        StorageError: the file can't be written; what was there is there.

    """
    with storage_errors(path, remedy):
        before = _existing(path, remedy)
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise StorageError(
                f"cannot write {path}: there is no folder {target.parent}; make it, or {remedy}"
            )
        _remove_abandoned(target, root)
        temporary = temporary_path(target)
        with _noted(temporary, root):
            try:
                with _created(temporary, 0o600 if before else 0o666) as stream:
                    yield stream
                    if before:
                        _keep_owner_and_mode(stream.fileno(), before)
                    sync(stream)
                    temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(target.parent)


def _existing(path: Path, remedy: str) -> os.stat_result | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"cannot write {path}: it is not a regular file; {remedy}")
    return status


def _created(path: Path, mode: int) -> IO[bytes]:
    """Create a file, and lock it as long as it is open, so that no other process takes it for abandoned."""
    stream = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb", buffering=1 << 20)
    with contextlib.suppress(LocksUnsupportedError):
        lock(stream, path, "")
    return stream


def _keep_owner_and_mode(file: int, before: os.stat_result) -> None:
    mode = stat.S_IMODE(before.st_mode)
    with contextlib.suppress(PermissionError):  # only root may give files away
        os.fchown(file, before.st_uid, -1)
    try:
        os.fchown(file, -1, before.st_gid)
    except PermissionError:  # another group gets no more than everybody
        mode &= ~0o070 | (mode & 0o007) << _OTHERS_TO_GROUP
    os.fchmod(file, mode)


@contextlib.contextmanager
def _noted(temporary: Path, root: Path) -> Iterator[None]:
    """Keep a symbolic link to a temporary file below `root` for the block, where that can be written."""
    note = exports_folder(root) / temporary.name
    with contextlib.suppress(OSError):
        if root.is_dir():
            note.parent.mkdir(exist_ok=True)
            note.symlink_to(temporary.absolute())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)


def _remove_abandoned(target: Path, root: Path) -> None:
    """Remove what killed writers left: those that were noted, in this folder, and older ones of this file."""
    stem = temporary_path(target).name[: -len(f"01234567{TEMPORARY_SUFFIX}")]
    own = re.compile(re.escape(stem) + r"[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX), re.ASCII)
    with contextlib.suppress(OSError):
        notes = exports_folder(root)
        noted = {entry.name for entry in entries(notes) if entry.is_symlink()}
        for entry in entries(target.parent):
            path = Path(entry.path)
            is_left = entry.name in noted or (own.fullmatch(entry.name) and not is_young(path))
            if is_left and entry.is_file(follow_symlinks=False) and is_free(path):
                path.unlink(missing_ok=True)
                (notes / entry.name).unlink(missing_ok=True)
