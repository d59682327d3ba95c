"""Atomic writes, and overwriting in place for files that must survive a full disk."""

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
_LONGEST_STEM = 200  # bytes of the file's name in the temporary name; file systems allow 255
_NO_SYNC_OF_FOLDERS = {errno.EINVAL, errno.ENOTSUP}  # errors of some FUSE and CIFS file systems


@contextlib.contextmanager
def storage_errors(path: Path, otherwise: str = SET_ROOT) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StorageError` for `path`; `otherwise` ends its advice."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot write {path}: {reason}; make room or give access there, or {otherwise}"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path, otherwise: str = SET_ROOT) -> Iterator[IO[bytes]]:
    """Open a binary file that gets the name `path` only if the block succeeds.

    The bytes go to a temporary file in the same folder and reach the disk (fsync) before the rename. If the
    block fails, the temporary file is removed. Missing folders are created. `otherwise` ends the advice of
    the error.

    Raises:
        StorageError: the file can't be written; no temporary file is left.

    """
    with atomic_writes(path, otherwise=otherwise) as (stream,):
        yield stream


@contextlib.contextmanager
def atomic_writes(*paths: Path, otherwise: str = SET_ROOT) -> Iterator[list[IO[bytes]]]:
    """Open files of one folder as `atomic_write` does, and rename them when all are on disk.

    The renames follow the given order: if the last file exists, all files exist.
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

    New blocks are reserved first, so a full disk leaves the old content. Without new blocks, a full disk does
    not matter.

    Raises:
        OSError: the disk is full.

    """
    size = os.fstat(file).st_size
    room = max(size, -(-len(content) // block) * block)
    if os.pwrite(file, b" " * (room - size), size) < room - size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.pwrite(file, content.ljust(room), 0)


def read_json(path: Path, kind: type[T], again: str = "") -> T:
    """Return the content of a JSON file; `again` ends the advice 'delete it to ...'.

    Raises:
        DamagedFileError: the file is missing or has another structure.

    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, again) from error


def temporary_path(path: Path) -> Path:
    """Return a path in the same folder for an incomplete file."""
    stem = os.fsencode(path.name)[:_LONGEST_STEM].decode(errors="ignore")
    return path.with_name(f".{stem}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def is_temporary(name: str) -> bool:
    """Return whether a name is that of an incomplete file."""
    return name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)


def sync(stream: IO[bytes]) -> None:
    """Write the data of `stream` to disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Write the names in `folder` to disk, so that a rename survives a power cut.

    Do nothing if the file system can't sync folders.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)
