"""Bringing the database up to date: one cheap request tells whether anything changed, windows bring what did.

A sync is planned once and kept in the database, so that one which was interrupted goes on where it was.
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
from luigi_etl.database.coverage import confirm, is_to_confirm
from luigi_etl.database.sync_table import IndexState, Sync, SyncTable, SyncWindow
from luigi_etl.database.windows import windows
from luigi_etl.snapshot.guard import Guard, HitProfile, profile_hits
from luigi_etl.snapshot.parse import read_summary
from luigi_etl.snapshot.paths import SnapshotFiles, sync_folder, sync_lock

_UNKNOWN = -1  # of a sync whose windows are of several states of the index: no count equals it
_REPEATED_AFTER = timedelta(hours=1)
_locks: dict[Path, IO[bytes]] = {}  # those this process keeps to its end: Luigi runs a sync in several steps


class SyncResult(NamedTuple):
    """How a sync ended: the changes, and what its hits were."""

    counts: Counts
    form: HitProfile


class Syncer:
    """The database of what matches a query, kept up to date.

    Every method raises what `Database` and `Client` raise; what was done by then stays done.
    """

    def __init__(self, database: Database, root: Path, query: Query) -> None:
        self.database = database
        self._root = root
        self._query = query
        self._table = SyncTable(database, query)
        self._slug = query.slug(0)
        self._ended: dict[int, list[Key]] = {}

    def lock_out_others(self) -> None:
        """Keep other processes from bringing the same up to date as long as this one lives.

        Raises:
            TransientError: another one does.
            StorageError: there is no place for the lock.

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

    def interrupted(self, client: Client, now: datetime) -> Sync | None:
        """Return the sync that did not come to its end, if any; what it has not begun becomes of `now`.

        So does a window that is half read, if the API changed since: its pages are of no use any more.
        """
        self.database.migrate()
        sync = self._table.find_interrupted()
        if sync is None:
            return None
        all_files = [self._files(one) for one in sync.windows]
        half_read = [files for files in all_files if files.partial.exists()]
        if half_read and _state(client, self._query) != sync.state:
            for files in half_read:
                _remove(files)
        moved = [one if self._is_begun(one) else SyncWindow(now, one.query) for one in sync.windows]
        if moved != sync.windows:
            self._table.set_windows(sync, moved)
        return sync._replace(windows=moved)

    def last(self) -> Sync | None:
        """Return the newest sync that came to its end, if any."""
        return self._table.find_ended()

    def begin(self, client: Client, now: datetime, since: date, guard: Guard) -> Sync | None:
        """Ask the API once; return None if the database is up to date, else the sync that is to make it so.

        It is up to date if the last sync of the query found the same state, and read from `since` or before.
        Where the hits had another form than today's, or were flagged, they are read again an hour later.
        """
        self._tidy()
        last, state = self.last(), _state(client, self._query)
        if last and last.state == state and last.since <= since and not _is_to_be_repeated(last, now, guard):
            self._confirm(last, now)
            return None
        planned = [
            SyncWindow(now, str(one)) for one in self._planned(client, since, now.date(), state.hits_total)
        ]
        return self._table.add(now, since, state, planned)

    def days_of(self, sync: Sync) -> Query:
        """Return the query for all that a sync reads: its own, from its first day on."""
        days = windows(self._query, sync.since, sync.since, 1, 0, lambda _: 0)
        return next(iter(days), self._query)

    def report(self, sync: Sync, first: int, target: Path) -> Counts:
        """Write what a sync's lookups from number `first` on changed to `target`."""
        return write_changes(self.database, [one.key for one in sync.lookups[first:]], target)

    def add_lookup(self, sync: Sync, lookup: Key) -> None:
        """Remember a lookup that was merged, so that its changes are reported even after a kill."""
        sync.lookups.append(SyncWindow(lookup.timestamp, lookup.query))
        self._table.set_lookups(sync)

    def finish(self, sync: Sync, files: SnapshotFiles) -> SyncResult:
        """End a sync: write its changes and its rejected hits to `files`, and remove its windows' files.

        A sync with rejected hits stays unfinished, until another one finds another state.
        Changes of other syncs that this object ended before are in the file, too.
        """
        summaries = [read_summary(self._files(one).summary) for one in sync.windows]
        form = profile_hits(summaries)
        if form.rejected:
            self._keep_rejected(sync, files.rejected)
        self._ended[sync.id] = [one.key for one in (*sync.windows, *sync.lookups)]
        keys = [key for keys in self._ended.values() for key in keys]
        counts = write_changes(self.database, keys, files.changes)
        is_one_state = all(map(sync.state.is_of, summaries)) and not self._table.is_second_of_its_minute(sync)
        known = sync.state.hits_total if is_one_state else _UNKNOWN
        self._table.set_end(sync, form, known)
        self._tidy()
        return SyncResult(counts, form)

    def _keep_rejected(self, sync: Sync, target: Path) -> None:
        with atomic_write(target) as stream:
            for one in sync.windows:
                with self._files(one).rejected.open("rb") as of_window:
                    shutil.copyfileobj(of_window, stream)

    def _confirm(self, sync: Sync, now: datetime) -> None:
        """Record, once a day, that what a sync read is still what the API has."""
        synced = min((one.timestamp for one in sync.windows), default=now)
        with self.database.reading() as connection:
            is_due = is_to_confirm(connection, now, self._query, synced)
        if is_due:
            with self.database.writing() as connection:
                confirm(connection, now, self._query, synced)

    def _planned(self, client: Client, since: date, today: date, total: int) -> list[Query]:
        def count(query: Query) -> int:
            return _state(client, query).hits_total

        return windows(self._query, since, today, client.settings.page_size, total, count)

    def _is_begun(self, window: SyncWindow) -> bool:
        files = self._files(window)
        return files.partial.exists() or files.extracted.exists()

    def _files(self, window: SyncWindow) -> SnapshotFiles:
        return window_files(self._root, self._slug, window)

    def _tidy(self) -> None:
        """Remove the working files of syncs that came to their end."""
        folder = sync_folder(self._root, self._slug)
        with storage_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)


def window_files(root: Path, sync_slug: str, window: SyncWindow) -> SnapshotFiles:
    """Return the paths of a window's files, apart from all snapshots."""
    folder = sync_folder(root, sync_slug)
    return SnapshotFiles(folder, parse_stored_query(window.query).slug(0), window.timestamp)


def _remove(files: SnapshotFiles) -> None:
    for path in reversed(files.all):
        with storage_errors(path):
            path.unlink(missing_ok=True)


def _is_to_be_repeated(last: Sync, now: datetime, guard: Guard) -> bool:
    is_in_doubt = last.form is not None and (last.form.is_flagged or guard.find_drift(last.form) is not None)
    return is_in_doubt and not timedelta(0) <= now - last.timestamp < _REPEATED_AFTER


def _state(client: Client, query: Query) -> IndexState:
    _, answer = client.page(query.pairs, 0, None)
    return IndexState(answer.meta.last_indexed, answer.meta.total_record_count, answer.total)
