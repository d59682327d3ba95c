"""Sync of a query: one cheap request detects a change, windows of days fetch it.

A sync is planned once. Its plan is in the database, so that an interrupted sync resumes.
"""

import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, NamedTuple

from luigi_etl.api.client import Client
from luigi_etl.api.query import Query, parse_stored_query
from luigi_etl.common.errors import TransientError
from luigi_etl.common.files import atomic_write, storage_errors
from luigi_etl.common.locks import ROOT_WITH_LOCKS, lock
from luigi_etl.database.change_log import Counts, Key, write_changes
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import confirm_coverage, is_confirmation_due
from luigi_etl.database.sync_table import IndexState, Sync, SyncTable, SyncWindow
from luigi_etl.database.windows import plan_windows
from luigi_etl.snapshot.guard import Guard, HitProfile, profile_hits
from luigi_etl.snapshot.parse import read_summary
from luigi_etl.snapshot.paths import SnapshotFiles, sync_folder, sync_lock

_UNKNOWN = -1  # equals no count: the windows are from several states of the index
_REPEAT_AFTER = timedelta(hours=1)
_locks: dict[Path, IO[bytes]] = {}  # kept until this process ends, because Luigi runs a sync in several steps


class SyncResult(NamedTuple):
    """The changes of a sync, and the profile of its hits."""

    counts: Counts
    form: HitProfile


class Syncer:
    """Keeps the complaints of a query up to date in the database.

    Every method can raise the errors of `Database` and `Client`; finished steps persist.
    """

    def __init__(self, database: Database, root: Path, query: Query) -> None:
        self.database = database
        self._root = root
        self._query = query
        self._table = SyncTable(database, query)
        self._slug = query.slug(0)
        self._ended: dict[int, list[Key]] = {}

    def lock_out_others(self) -> None:
        """Lock the sync of this query until this process ends.

        Raises:
            TransientError: another process holds the lock.
            StorageError: the lock can't be written.

        """
        path = sync_lock(self._root, self._slug)
        if path in _locks:
            return
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("wb")
        if not lock(stream, path, ROOT_WITH_LOCKS):
            stream.close()
            raise TransientError("another process is bringing the database up to date")
        _locks[path] = stream

    def resume(self, client: Client, now: datetime) -> Sync | None:
        """Return the interrupted sync, if any, with the minute `now` for windows that were not begun.

        If the index changed, remove half-read windows: they are read again.
        """
        sync = self._table.find_interrupted()
        if sync is None:
            return None
        all_files = [self._files(one) for one in sync.windows]
        half_read = [files for files in all_files if files.partial.exists()]
        if half_read and _read_state(client, self._query) != sync.state:
            for files in half_read:
                _remove(files)
        moved = [one if self._has_begun(one) else SyncWindow(now, one.query) for one in sync.windows]
        if moved != sync.windows:
            self._table.set_windows(sync, moved)
        return sync._replace(windows=moved)

    def last_sync(self) -> Sync | None:
        """Return the newest sync that ended, if any."""
        return self._table.find_ended()

    def begin(self, client: Client, now: datetime, since: date, guard: Guard) -> Sync | None:
        """Plan a sync, or return None if the database is up to date; one request decides.

        It is up to date if the last sync found the same state of the index and began at `since` or earlier.
        If its hits were flagged or their fields changed, repeat it after an hour.
        """
        self._remove_files()
        last, state = self.last_sync(), _read_state(client, self._query)
        if last and last.state == state and last.since <= since and not _needs_repetition(last, now, guard):
            self._confirm(last, now)
            return None
        planned = [
            SyncWindow(now, str(one)) for one in self._plan(client, since, now.date(), state.hits_total)
        ]
        return self._table.add(now, since, state, planned)

    def days_of(self, sync: Sync) -> Query:
        """Return the query of a sync, limited to the days it reads."""
        days = plan_windows(self._query, sync.since, sync.since, 1, 0, lambda _: 0)
        return next(iter(days), self._query)

    def write_lookup_changes(self, sync: Sync, first: int, target: Path) -> Counts:
        """Write the changes by a sync's lookups from index `first` on to `target`."""
        return write_changes(self.database, [one.key for one in sync.lookups[first:]], target)

    def add_lookup(self, sync: Sync, lookup: Key) -> None:
        """Record a merged lookup, so that its changes are reported even after a kill."""
        sync.lookups.append(SyncWindow(lookup.timestamp, lookup.query))
        self._table.set_lookups(sync)

    def finish(self, sync: Sync, files: SnapshotFiles) -> SyncResult:
        """End a sync: write its changes and rejected hits to `files`, and remove its windows' files.

        A sync with rejected hits stays unfinished until the index changes. The changes include those of
        syncs that this object ended before.
        """
        summaries = [read_summary(self._files(one).summary) for one in sync.windows]
        form = profile_hits(summaries)
        if form.rejected:
            self._write_rejected(sync, files.rejected)
        self._ended[sync.id] = [one.key for one in (*sync.windows, *sync.lookups)]
        keys = [key for keys in self._ended.values() for key in keys]
        counts = write_changes(self.database, keys, files.changes)
        is_one_state = all(map(sync.state.matches, summaries)) and not self._table.has_predecessor_in_minute(
            sync
        )
        hits_total = sync.state.hits_total if is_one_state else _UNKNOWN
        self._table.set_end(sync, form, hits_total)
        self._remove_files()
        return SyncResult(counts, form)

    def _write_rejected(self, sync: Sync, target: Path) -> None:
        with atomic_write(target) as stream:
            for one in sync.windows:
                with self._files(one).rejected.open("rb") as source:
                    shutil.copyfileobj(source, stream)

    def _confirm(self, sync: Sync, now: datetime) -> None:
        """Confirm the coverage of a sync once a day."""
        synced = min((one.timestamp for one in sync.windows), default=now)
        with self.database.reading() as connection:
            is_due = is_confirmation_due(connection, now, self._query, synced)
        if is_due:
            with self.database.writing() as connection:
                confirm_coverage(connection, now, self._query, synced)

    def _plan(self, client: Client, since: date, today: date, total: int) -> list[Query]:
        def count(query: Query) -> int:
            return _read_state(client, query).hits_total

        return plan_windows(self._query, since, today, client.settings.page_size, total, count)

    def _has_begun(self, window: SyncWindow) -> bool:
        files = self._files(window)
        return files.partial.exists() or files.extracted.exists()

    def _files(self, window: SyncWindow) -> SnapshotFiles:
        return _window_files(self._root, self._slug, window)

    def _remove_files(self) -> None:
        """Remove the working files of ended syncs."""
        folder = sync_folder(self._root, self._slug)
        with storage_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)


def _window_files(root: Path, sync_slug: str, window: SyncWindow) -> SnapshotFiles:
    """Return the paths of a window's files, outside the snapshots' folder."""
    folder = sync_folder(root, sync_slug)
    return SnapshotFiles(folder, parse_stored_query(window.query).slug(0), window.timestamp)


def _remove(files: SnapshotFiles) -> None:
    for path in reversed(files.all):
        with storage_errors(path):
            path.unlink(missing_ok=True)


def _needs_repetition(last: Sync, now: datetime, guard: Guard) -> bool:
    is_in_doubt = last.form is not None and (last.form.is_flagged or guard.find_drift(last.form) is not None)
    return is_in_doubt and not timedelta(0) <= now - last.timestamp < _REPEAT_AFTER


def _read_state(client: Client, query: Query) -> IndexState:
    _, answer = client.fetch_page(query.pairs, 0, None)
    return IndexState(answer.meta.last_indexed, answer.meta.total_record_count, answer.total)
