"""The removal of old snapshots and of leftover files; the newest snapshots of a query are kept.

Unknown files are never removed, and symbolic links to folders are not followed.
"""

import contextlib
import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from luigi_etl.common.errors import StorageError
from luigi_etl.common.terminal import counted
from luigi_etl.snapshot.leftovers import find_leftovers, is_young
from luigi_etl.snapshot.listing import FoundSnapshot, list_days, list_slugs, list_snapshots
from luigi_etl.snapshot.paths import day_folder, latest_folder, query_folder, snapshots_folder, syncs_folder

_IGNORED_ERRORS = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}  # the folder has unknown files, or is removed
_THOUSAND = 1000


@dataclass
class Pruned:
    """The numbers of removed snapshots, leftover files and bytes; in a dry run, of those it would remove.

    - `links`: folders that are symbolic links, which were skipped
    - `failures`: paths that could not be read or removed; `failure`: the message about the first
    """

    snapshots: int = 0
    temporaries: int = 0
    freed: int = 0
    links: int = 0
    failures: int = 0
    failure: str = ""

    def summarize(self, dry_run: bool) -> str:
        """Return a line like `removed 1,440 snapshots and 2 temporary files, which freed 12.3 MB`."""
        removed, freed = ("would remove", "frees") if dry_run else ("removed", "freed")
        files = f"{counted(self.snapshots, 'snapshot')} and {counted(self.temporaries, 'temporary file')}"
        links = f"; left alone: {counted(self.links, 'symbolic link')}" if self.links else ""
        return f"{removed} {files}, which {freed} {_format_size(self.freed)}{links}"

    def check(self) -> None:
        """Check that nothing failed.

        Raises:
            StorageError: a path could not be read or removed.

        """
        if self.failures:
            more = f" (and {self.failures - 1:,} more)" if self.failures > 1 else ""
            raise StorageError(f"{self.failure}{more}; give access there")


def prune(root: Path, before: datetime, *, dry_run: bool = False) -> Pruned:
    """Remove the snapshots of minutes before `before` (naive UTC), and leftovers older than a day.

    Each query keeps its newest snapshot and its newest complete one. A snapshot that was written within the
    last day is also kept. The files of a snapshot are removed last first, so an interrupted removal looks
    like an interrupted run; the next prune removes the rest. A failure does not stop the removal of others.
    """
    pruning = _Pruning(root, before, dry_run)
    pruning.run()
    return pruning.pruned


class _Pruning:
    def __init__(self, root: Path, before: datetime, dry_run: bool) -> None:
        self.pruned = Pruned()
        self._root = root
        self._before = before
        self._dry_run = dry_run
        self._unreadable: set[Path] = set()

    def run(self) -> None:
        with self._continue_on_error(self._root):
            self._run()

    def _run(self) -> None:
        all_snapshots = snapshots_folder(self._root)
        self._count_link(latest_folder(self._root))
        self._remove_leftovers()
        if not self._count_link(all_snapshots):
            with self._continue_on_error(all_snapshots):
                for slug in list_slugs(self._root):
                    self._prune_query(slug)

    def _prune_query(self, slug: str) -> None:
        folder = query_folder(self._root, slug)
        if self._count_link(folder):
            return
        newest = _NewestSnapshots()
        with self._continue_on_error(folder):
            for day in list_days(self._root, slug):
                path = day_folder(self._root, slug, day)
                if not self._count_link(path):
                    with self._continue_on_error(path):
                        self._prune_day(path, list_snapshots(self._root, slug, day), newest)

    def _prune_day(self, folder: Path, found: Iterable[FoundSnapshot], newest: "_NewestSnapshots") -> None:
        for snapshot in found:
            is_kept = newest.add(snapshot) or snapshot.files.timestamp >= self._before
            if not is_kept and not _is_in_use(snapshot):
                self._remove_snapshot(snapshot)
        if folder.name <= f"{self._before:%Y-%m-%d}" and not self._dry_run:
            self._remove_empty(folder)

    def _remove_snapshot(self, snapshot: FoundSnapshot) -> None:
        for path in reversed(snapshot.paths):
            if not self._remove(path):
                return  # earlier files stay, because a Data Package must not remain without its CSV
        self.pruned.snapshots += 1

    def _remove_empty(self, folder: Path) -> None:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in _IGNORED_ERRORS:
                self._add_failure("remove", folder, error)

    def _remove_leftovers(self) -> None:
        tops = {syncs_folder(self._root), snapshots_folder(self._root)}
        for path in find_leftovers(self._root, self._add_unreadable):
            if self._remove(path):
                self.pruned.temporaries += 1
                if not self._dry_run:
                    _remove_empty_folders(path.parent, tops)

    def _remove(self, path: Path) -> bool:
        """Remove a file; return whether it no longer exists."""
        try:
            status = path.lstat()
            if not self._dry_run:
                path.unlink()
        except FileNotFoundError:
            return True
        except OSError as error:
            self._add_failure("remove", path, error)
            return False
        if status.st_nlink == 1:
            self.pruned.freed += status.st_size
        return True

    def _count_link(self, folder: Path) -> bool:
        """Count a folder that is a symbolic link; return whether it is one."""
        is_link = folder.is_symlink()
        self.pruned.links += is_link
        return is_link

    def _add_failure(self, action: str, path: Path, error: OSError) -> None:
        self.pruned.failures += 1
        self.pruned.failure = self.pruned.failure or f"cannot {action} {path}: {error.strerror or error}"

    def _add_unreadable(self, folder: Path, error: OSError) -> None:
        if folder not in self._unreadable:
            self._unreadable.add(folder)
            self._add_failure("read", folder, error)

    @contextlib.contextmanager
    def _continue_on_error(self, folder: Path) -> Iterator[None]:
        """Record that a folder can't be read, and continue."""
        try:
            yield
        except OSError as error:
            self._add_unreadable(folder, error)


def _is_in_use(snapshot: FoundSnapshot) -> bool:
    """Return whether a snapshot has a recent file other than the CSV, whose time is the snapshot's minute."""
    return any(is_young(path) for path in snapshot.paths if path.name != snapshot.files.complaints.name)


def _remove_empty_folders(folder: Path, tops: set[Path]) -> None:
    """Remove a folder and its parents while they are empty, if they are below one of `tops`."""
    if not tops & set(folder.parents):
        return
    with contextlib.suppress(OSError):  # not empty
        while folder not in tops:
            folder.rmdir()
            folder = folder.parent


class _NewestSnapshots:
    """The newest snapshot of a query and its newest complete one."""

    def __init__(self) -> None:
        self._has_newest = self._has_stored = False

    def add(self, snapshot: FoundSnapshot) -> bool:
        """Return whether a snapshot is one of the two; call this for all snapshots, newest first."""
        is_newest = not self._has_newest or (snapshot.is_stored and not self._has_stored)
        self._has_newest = True
        self._has_stored = self._has_stored or snapshot.is_stored
        return is_newest


def _format_size(number: int) -> str:
    if number < _THOUSAND:
        return counted(number, "byte")
    size, units = float(number), iter(("kB", "MB", "GB", "TB"))
    unit = ""
    while size >= _THOUSAND - 0.05 and unit != "TB":  # 999.95 would be shown as 1000.0
        size, unit = size / _THOUSAND, next(units)
    return f"{size:,.1f} {unit}"
