"""Removing old snapshots, whole, and what interrupted runs left; never the newest of a query.

Nothing else is touched: no file that no run makes, nothing behind a symbolic link.
"""

import contextlib
import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from luigi_etl.common.errors import StorageError
from luigi_etl.common.terminal import counted
from luigi_etl.snapshot.leftovers import is_young, leftovers
from luigi_etl.snapshot.listing import FoundSnapshot, days, slugs, snapshots
from luigi_etl.snapshot.paths import day_folder, latest_folder, query_folder, snapshots_folder, syncs_folder

_STILL_IN_USE = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}  # a file that is not ours; or gone already
_THOUSAND = 1000


@dataclass
class Pruned:
    """What was removed, or would be: whole snapshots, leftover files, the bytes that freed.

    `links` counts folders left alone because they are symbolic links, `failures` the paths that could not be
    removed, and `failure` tells of the first.
    """

    snapshots: int = 0
    temporaries: int = 0
    freed: int = 0
    links: int = 0
    failures: int = 0
    failure: str = ""

    def told(self, dry_run: bool) -> str:
        """Return `removed 1,440 snapshots and 2 temporary files, which freed 12.3 MB`."""
        done, freed = ("would remove", "frees") if dry_run else ("removed", "freed")
        what = f"{counted(self.snapshots, 'snapshot')} and {counted(self.temporaries, 'temporary file')}"
        links = f"; left alone: {counted(self.links, 'symbolic link')}" if self.links else ""
        return f"{done} {what}, which {freed} {_size(self.freed)}{links}"

    def check(self) -> None:
        """Tell what could not be removed.

        Raises:
            StorageError: there is something.

        """
        if self.failures:
            more = f" (and {self.failures - 1:,} more)" if self.failures > 1 else ""
            raise StorageError(f"{self.failure}{more}; give access there")


def prune(root: Path, before: datetime, *, dry_run: bool = False) -> Pruned:
    """Remove the snapshots of minutes before `before` (naive UTC), and leftovers older than a day.

    Of each query its newest snapshot stays, and the newest that is stored; so does one that was written
    within the last day, by a run of an old minute, say. A snapshot goes from its end to
    its start, so one that is half gone looks like a run that did not get far, and goes the next time. What
    can't be removed is in the result; the rest is removed all the same.
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
        with self._failures(self._root):
            self._run()

    def _run(self) -> None:
        snapshots_of_all = snapshots_folder(self._root)
        self._is_ours(latest_folder(self._root))
        self._remove_leftovers()
        if self._is_ours(snapshots_of_all):
            with self._failures(snapshots_of_all):
                for slug in slugs(self._root):
                    self._prune_query(slug)

    def _prune_query(self, slug: str) -> None:
        folder = query_folder(self._root, slug)
        if not self._is_ours(folder):
            return
        spared = _Spared()
        with self._failures(folder):
            for day in days(self._root, slug):
                of_day = day_folder(self._root, slug, day)
                if self._is_ours(of_day):
                    with self._failures(of_day):
                        self._prune_day(of_day, snapshots(self._root, slug, day), spared)

    def _prune_day(self, folder: Path, found: Iterable[FoundSnapshot], spared: "_Spared") -> None:
        for snapshot in found:
            is_spared = spared.takes(snapshot) or snapshot.files.timestamp >= self._before
            if not is_spared and not _is_in_use(snapshot):
                self._remove_snapshot(snapshot)
        if folder.name <= f"{self._before:%Y-%m-%d}" and not self._dry_run:
            self._remove_empty(folder)

    def _remove_snapshot(self, snapshot: FoundSnapshot) -> None:
        for path in reversed(snapshot.paths):
            if not self._remove(path):
                return  # what is before it stays: a Data Package must not outlive its CSV
        self.pruned.snapshots += 1

    def _remove_empty(self, folder: Path) -> None:
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno not in _STILL_IN_USE:
                self._fail("remove", folder, error)

    def _remove_leftovers(self) -> None:
        top = {syncs_folder(self._root), snapshots_folder(self._root)}
        for path in leftovers(self._root, self._cannot_read):
            if self._remove(path):
                self.pruned.temporaries += 1
                if not self._dry_run:
                    _remove_empty_folders(path.parent, top)

    def _remove(self, path: Path) -> bool:
        """Remove a file; tell whether it is gone."""
        try:
            status = path.lstat()
            if not self._dry_run:
                path.unlink()
        except FileNotFoundError:
            return True
        except OSError as error:
            self._fail("remove", path, error)
            return False
        if status.st_nlink == 1:
            self.pruned.freed += status.st_size
        return True

    def _is_ours(self, folder: Path) -> bool:
        if folder.is_symlink():
            self.pruned.links += 1
            return False
        return True

    def _fail(self, what: str, path: Path, error: OSError) -> None:
        self.pruned.failures += 1
        self.pruned.failure = self.pruned.failure or f"cannot {what} {path}: {error.strerror or error}"

    def _cannot_read(self, folder: Path, error: OSError) -> None:
        if folder not in self._unreadable:
            self._unreadable.add(folder)
            self._fail("read", folder, error)

    @contextlib.contextmanager
    def _failures(self, folder: Path) -> Iterator[None]:
        """Go on after a folder that can't be read."""
        try:
            yield
        except OSError as error:
            self._cannot_read(folder, error)


def _is_in_use(snapshot: FoundSnapshot) -> bool:
    """Return whether a snapshot has a young file; the CSV's time is the snapshot's minute."""
    return any(is_young(path) for path in snapshot.paths if path.name != snapshot.files.complaints.name)


def _remove_empty_folders(folder: Path, tops: set[Path]) -> None:
    """Remove a folder and those above it that are empty, if they are below one of `tops`."""
    if not tops & set(folder.parents):
        return
    with contextlib.suppress(OSError):  # not empty
        while folder not in tops:
            folder.rmdir()
            folder = folder.parent


class _Spared:
    """Picks a query's newest snapshot and its newest stored one, when it is shown all, the newest first."""

    def __init__(self) -> None:
        self._has_newest = self._has_stored = False

    def takes(self, snapshot: FoundSnapshot) -> bool:
        takes = not self._has_newest or (snapshot.is_stored and not self._has_stored)
        self._has_newest = True
        self._has_stored = self._has_stored or snapshot.is_stored
        return takes


def _size(number: int) -> str:
    if number < _THOUSAND:
        return counted(number, "byte")
    size, units = float(number), iter(("kB", "MB", "GB", "TB"))
    unit = ""
    while size >= _THOUSAND - 0.05 and unit != "TB":  # 999.95 would be shown as 1000.0
        size, unit = size / _THOUSAND, next(units)
    return f"{size:,.1f} {unit}"
