"""Atomic writes, and writes in place for files that must survive a full disk."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from luigi_etl.common.errors import DamagedFileError, StorageError

T = TypeVar("T")
TEMPORARY_SUFFIX = ".tmp"
SET_ROOT = "set [storage] root"
_LONGEST_STEM = 200  # bytes of a name in that of its temporary file; file systems take 255
_NO_SYNC_OF_FOLDERS = {errno.EINVAL, errno.ENOTSUP}  # some FUSE, CIFS


@contextlib.contextmanager
def storage_errors(path: Path, otherwise: str = SET_ROOT) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` that names `path` and what else there is to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot write {path}: {reason}; make room or give access there, or {otherwise}"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path, otherwise: str = SET_ROOT) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the name `path` only when the block ends well.

    The bytes go to a temporary file in the same folder, reach the disk (fsync) before the rename,
    and are removed when the block fails. Missing folders are made. `otherwise` is what a person can do where
    there is no room and no access.

    Raises:
        StorageError: nothing was left behind under any name.

    """
    with atomic_writes(path, otherwise=otherwise) as (stream,):
        yield stream


@contextlib.contextmanager
def atomic_writes(*paths: Path, otherwise: str = SET_ROOT) -> Iterator[list[IO[bytes]]]:
    """Open files of one folder as `atomic_write` does; when all are on the disk they take their names.

    They do so one after the other, in the order given: whoever finds the last finds them all.
    """
    folder = paths[0].parent
    temporaries = [temporary_path(path) for path in paths]
    with storage_errors(paths[0], otherwise):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.ExitStack() as opened:
                streams = [opened.enter_context(path.open("xb", buffering=1 << 20)) for path in temporaries]
                yield list(streams)
                for stream in streams:
                    sync(stream)
            for temporary, path in zip(temporaries, paths, strict=True):
                temporary.replace(path)
        except BaseException:
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(folder)


def overwrite(file: int, content: bytes, block: int) -> None:
    """Replace the content of an open file in place, padded with spaces to whole blocks.

    New blocks are reserved first, so a full disk leaves the old content. It does not matter if no new block
    is needed.

    Raises:
        OSError: there is no room.

    """
    size = os.fstat(file).st_size
    room = max(size, -(-len(content) // block) * block)
    if os.pwrite(file, b" " * (room - size), size) < room - size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.pwrite(file, content.ljust(room), 0)


def read_json(path: Path, kind: type[T], again: str = "") -> T:
    """Return the content of a JSON file; `again` is what a run does once the file is deleted.

    Raises:
        DamagedFileError: the file is missing or not of this kind.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, again) from error


def temporary_path(path: Path) -> Path:
    """Return a path in the same folder for the bytes of a file that is not whole yet."""
    stem = os.fsencode(path.name)[:_LONGEST_STEM].decode(errors="ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def is_temporary(name: str) -> bool:
    """Tell whether a file is one of those that take their name when they are whole, from its present name."""
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def sync(stream: IO[bytes]) -> None:
    """Bring what was written to `stream` to the disk itself."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, so that a rename survives a power cut.

    Where the file system can't do that for a folder, it is left to the file system.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)
