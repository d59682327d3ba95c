"""Leftover files of killed runs, syncs and exports: PruneSnapshots removes them, doctor counts them."""

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
from luigi_etl.snapshot.listing import list_days, list_entries, list_slugs, list_snapshots
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

_ABANDONED_AFTER = 86_400.0  # seconds: a running process writes its files more often
_LUIGI_TEMPORARY = re.compile(r".*-luigi-tmp-[0-9]+", re.ASCII)
_LOCK = ".lock"

ErrorCallback = Callable[[Path, OSError], object]


def find_leftovers(root: Path, on_error: ErrorCallback) -> Iterator[Path]:
    """Yield the abandoned files below `root`, and the temporary files of killed exports.

    Symbolic links to folders are not followed. `on_error` is called for each folder that can't be read.
    """
    before = time.time() - _ABANDONED_AFTER
    for find in (_find_in_latest, _find_in_snapshots, _find_in_syncs, _find_in_exports):
        with _continue_on_error(root, on_error):
            yield from find(root, before, on_error)


def is_young(path: Path) -> bool:
    """Return whether a file exists and was written within the last day."""
    return _is_newer(path, time.time() - _ABANDONED_AFTER)


def find_killed_redos(root: Path, before: float) -> Iterator[SnapshotFiles]:
    """Yield the snapshots whose files a killed redo set aside before a moment (Unix time).

    Raises:
        OSError: a folder can't be read.

    """
    for slug in list_slugs(root):
        for day in list_days(root, slug):
            for found in list_snapshots(root, slug, day):
                aside = [path for path in found.paths if path.name.endswith(ASIDE_SUFFIX)]
                if aside and all(path.lstat().st_ctime < before for path in aside):
                    yield found.files


def is_free(path: Path) -> bool:
    """Return whether no process holds a file's lock; without support for locks, whether the file is old."""
    try:
        return not is_locked(path, os.O_RDWR)  # a file that this user can't write is not free
    except LocksUnsupportedError:
        return not is_young(path)
    except OSError:
        return False


def _find_in_latest(root: Path, before: float, on_error: ErrorCallback) -> Iterator[Path]:
    for entry in _files(latest_folder(root), on_error):
        latest = latest_of_lock(Path(entry.path))
        is_unused_lock = (
            latest is not None and not latest.exists() and not query_folder(root, latest.stem).exists()
        )
        if (_is_unfinished(entry.name) or is_unused_lock) and _is_abandoned(Path(entry.path), before):
            yield Path(entry.path)


def _find_in_snapshots(root: Path, before: float, on_error: ErrorCallback) -> Iterator[Path]:
    for query in _folders(snapshots_folder(root), on_error):
        with _continue_on_error(query, on_error):
            found = list_days(root, query.name)
            for day in found:
                for entry in _files(day_folder(root, query.name, day), on_error):
                    if _is_unfinished(entry.name) and _is_abandoned(Path(entry.path), before):
                        yield Path(entry.path)
            if not found and _is_abandoned(query / _LOCK, before):
                yield query / _LOCK


def _find_in_syncs(root: Path, before: float, on_error: ErrorCallback) -> Iterator[Path]:
    """Yield the working files of syncs that wrote nothing for a day."""
    for sync in _folders(syncs_folder(root), on_error):
        files = list(_below(sync, on_error))
        if all(_is_abandoned(path, before) for path in files):
            yield from files


def _find_in_exports(root: Path, before: float, on_error: ErrorCallback) -> Iterator[Path]:
    """Yield the temporary files of killed exports, each before the link to it."""
    for entry in _entries(exports_folder(root), on_error):
        link = Path(entry.path)
        if not entry.is_symlink() or _is_newer(link, before):
            continue
        temporary = link.readlink()
        if is_temporary(temporary.name) and _is_file(temporary):
            if not is_free(temporary):
                continue
            yield temporary
        yield link


def _below(folder: Path, on_error: ErrorCallback) -> Iterator[Path]:
    for entry in _entries(folder, on_error):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path), on_error)
        else:
            yield Path(entry.path)


def _files(folder: Path, on_error: ErrorCallback) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _entries(folder, on_error) if entry.is_file(follow_symlinks=False))


def _folders(folder: Path, on_error: ErrorCallback) -> list[Path]:
    found = [Path(entry.path) for entry in _entries(folder, on_error) if entry.is_dir(follow_symlinks=False)]
    return sorted(found)


def _entries(folder: Path, on_error: ErrorCallback) -> list[os.DirEntry[str]]:
    if folder.is_symlink() or not folder.exists():
        return []
    with _continue_on_error(folder, on_error):
        return list_entries(folder)
    return []


@contextlib.contextmanager
def _continue_on_error(folder: Path, on_error: ErrorCallback) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        on_error(folder, error)


def _is_unfinished(name: str) -> bool:
    return is_temporary(name) or bool(_LUIGI_TEMPORARY.fullmatch(name))


def _is_abandoned(path: Path, before: float) -> bool:
    """Return whether a file exists and is old; a lock file must also be free."""
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
