"""Files that killed runs, syncs and exports left: PruneSnapshots removes them, doctor counts them."""

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from luigi_etl.common.errors import LocksUnsupportedError
from luigi_etl.common.files import is_temporary
from luigi_etl.common.locks import is_locked
from luigi_etl.snapshot.listing import days, entries, slugs, snapshots
from luigi_etl.snapshot.paths import (
    ASIDE_SUFFIX,
    SnapshotFiles,
    day_folder,
    exports_folder,
    latest_folder,
    latest_of_lock,
    query_folder,
    snapshots_folder,
    syncs_folder,
)

ABANDONED_AFTER = 86_400.0  # seconds: no run leaves a file alone for a day
_OF_LUIGI = re.compile(r".*-luigi-tmp-[0-9]+", re.ASCII)
_LOCK = ".lock"

Failed = Callable[[Path, OSError], object]


def leftovers(root: Path, failed: Failed) -> Iterator[Path]:
    """Give the files below `root` that nothing uses or makes whole any more, and those of killed exports.

    Nothing behind a symbolic link is among them. `failed` gets each folder that can't be read, and why.
    """
    before = time.time() - ABANDONED_AFTER
    for find in (_in_latest, _in_snapshots, _in_syncs, _of_exports):
        with _failures(root, failed):
            yield from find(root, before, failed)


def is_young(path: Path) -> bool:
    """Return whether a file is there and was written within the last day."""
    return _is_newer(path, time.time() - ABANDONED_AFTER)


def killed_redos(root: Path, before: float) -> Iterator[SnapshotFiles]:
    """Give the snapshots of which a redo put files aside before a moment (Unix time), and was killed.

    Raises:
        OSError: a folder can't be read.

    """
    for slug in slugs(root):
        for day in days(root, slug):
            for found in snapshots(root, slug, day):
                aside = [path for path in found.paths if path.name.endswith(ASIDE_SUFFIX)]
                if aside and all(path.lstat().st_ctime < before for path in aside):
                    yield found.files


def is_free(path: Path) -> bool:
    """Return whether no process holds a file's lock; where there are no locks, whether it is old."""
    try:
        return not is_locked(path, os.O_RDWR)  # others' files, which this user can't write, are not free
    except LocksUnsupportedError:
        return not is_young(path)
    except OSError:
        return False


def _in_latest(root: Path, before: float, failed: Failed) -> Iterator[Path]:
    for entry in _files(latest_folder(root), failed):
        latest = latest_of_lock(Path(entry.path))
        is_lock_of_none = (
            latest is not None and not latest.exists() and not query_folder(root, latest.stem).exists()
        )
        if (_is_unfinished(entry.name) or is_lock_of_none) and _is_abandoned(Path(entry.path), before):
            yield Path(entry.path)


def _in_snapshots(root: Path, before: float, failed: Failed) -> Iterator[Path]:
    for query in _folders(snapshots_folder(root), failed):
        with _failures(query, failed):
            found = days(root, query.name)
            for day in found:
                for entry in _files(day_folder(root, query.name, day), failed):
                    if _is_unfinished(entry.name) and _is_abandoned(Path(entry.path), before):
                        yield Path(entry.path)
            if not found and _is_abandoned(query / _LOCK, before):
                yield query / _LOCK


def _in_syncs(root: Path, before: float, failed: Failed) -> Iterator[Path]:
    """Give the working files of syncs that have written nothing for a day."""
    for sync in _folders(syncs_folder(root), failed):
        files = list(_below(sync, failed))
        if all(_is_abandoned(path, before) for path in files):
            yield from files


def _of_exports(root: Path, before: float, failed: Failed) -> Iterator[Path]:
    """Give the temporary files of exports that were killed, and then the links that lead to them."""
    for entry in _entries(exports_folder(root), failed):
        link = Path(entry.path)
        if not entry.is_symlink() or _is_newer(link, before):
            continue
        temporary = link.readlink()
        if is_temporary(temporary.name) and _is_file(temporary):
            if not is_free(temporary):
                continue
            yield temporary
        yield link


def _below(folder: Path, failed: Failed) -> Iterator[Path]:
    for entry in _entries(folder, failed):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), failed)
        else:
            yield Path(entry.path)


def _files(folder: Path, failed: Failed) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _entries(folder, failed) if entry.is_file(follow_symlinks=False))


def _folders(folder: Path, failed: Failed) -> list[Path]:
    found = [Path(entry.path) for entry in _entries(folder, failed) if entry.is_dir(follow_symlinks=False)]
    return sorted(found)


def _entries(folder: Path, failed: Failed) -> list[os.DirEntry[str]]:
    if folder.is_symlink() or not folder.exists():
        return []
    with _failures(folder, failed):
        return entries(folder)
    return []


@contextlib.contextmanager
def _failures(folder: Path, failed: Failed) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        failed(folder, error)


def _is_unfinished(name: str) -> bool:
    return is_temporary(name) or bool(_OF_LUIGI.fullmatch(name))


def _is_abandoned(path: Path, before: float) -> bool:
    """Return whether a file is there, old, and nobody holds its lock."""
    with contextlib.suppress(OSError):
        is_old = path.lstat().st_mtime < before
        return is_old and (not path.name.endswith(_LOCK) or is_free(path))
    return False


def _is_newer(path: Path, before: float) -> bool:
    with contextlib.suppress(OSError):
        return path.lstat().st_mtime >= before
    return False


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False
