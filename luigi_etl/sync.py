"""Bringing the database up to date: one cheap request tells whether anything changed, windows bring what did.

A sync is planned once and kept in the database, so that one which was interrupted goes on where it was.
"""

import fcntl
from datetime import date, datetime
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from sqlalchemy import select, update

from luigi_etl.ccdb import Client
from luigi_etl.changes import Counts, Key, are, write_changes
from luigi_etl.database import Database
from luigi_etl.errors import NoDatabaseError, PassingError
from luigi_etl.files import storage_errors
from luigi_etl.lookups import asked_for, by_ids, missing
from luigi_etl.merge import merge_sightings
from luigi_etl.paths import SnapshotFiles, query_folder, sync_slug
from luigi_etl.prune import discard
from luigi_etl.query import Query, parse_query
from luigi_etl.schema import snapshots, syncs
from luigi_etl.windows import windows

_locks: dict[Path, IO[bytes]] = {}  # those this process keeps to its end: Luigi runs a sync in several steps


class State(NamedTuple):
    """What the API tells of its index: when it was made, how many it holds, and how many match a query."""

    last_indexed: str | None
    total_record_count: int | None
    hits_total: int


class Window(msgspec.Struct, frozen=True):
    """A part of a sync: a query, every complaint of which is read, and the minute (naive UTC) of that."""

    timestamp: datetime
    query: str

    @property
    def key(self) -> Key:
        """The snapshot's place in the database."""
        return Key(self.timestamp, self.query, 0)


class Sync(NamedTuple):
    """A sync, from the day `since`; `lookups` follow its `windows`, and are None until they are known."""

    id: int
    since: date
    state: State
    windows: list[Window]
    lookups: list[Window] | None = None


class Upkeep:
    """The database of what matches a query, kept up to date.

    Every method raises what `Database` and `Client` raise; what was done by then stays done.
    """

    def __init__(self, database: Database, root: Path, query: Query) -> None:
        self._database = database
        self._root = root
        self._query = query
        self._ended: dict[int, list[Key]] = {}

    def keep_alone(self) -> None:
        """Keep other processes from bringing the same up to date as long as this one lives.

        Raises:
            PassingError: another one does.
            StorageError: there is no place for the lock.

        """
        path = query_folder(self._root, sync_slug(self._query.slug(0))) / ".lock"
        if path in _locks:
            return
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise PassingError("another process is bringing the database up to date") from None
        _locks[path] = lock

    def interrupted(self, client: Client, now: datetime) -> Sync | None:
        """Return the sync that did not come to its end, if any; what it has not begun becomes of `now`.

        So does a window that is half read, if the API changed since: its pages are of no use any more.
        """
        sync = self._last(finished=False)
        if sync is None:
            return None
        all_files = [_files(self._root, one) for one in sync.windows]
        half_read = [files for files in all_files if files.partial.exists()]
        if half_read and _state(client, self._query) != sync.state:
            for files in half_read:
                discard(files)
        moved = [one if self._is_begun(one) else Window(now, one.query) for one in sync.windows]
        if moved != sync.windows:
            self._note(sync, windows=_text(moved))
        return sync._replace(windows=moved)

    def begin(self, client: Client, now: datetime, since: date) -> Sync | None:
        """Ask the API once; return None if the database is up to date, else the sync that is to make it so.

        It is up to date if the last sync of the query found the same state, and read from `since` or before.
        """
        last = self._last(finished=True)
        if last:
            self._tidy(last)
        state = _state(client, self._query)
        if last and last.state == state and last.since <= since:
            return None
        planned = [
            Window(now, str(one)) for one in self._planned(client, since, now.date(), state.hits_total)
        ]
        with self._database.writing() as connection:
            row = syncs.insert().values(
                timestamp=now,
                query=str(self._query),
                since=since,
                **state._asdict(),
                windows=_text(planned),
                is_finished=False,
            )
            number = connection.scalar(row.returning(syncs.c.id))
        return Sync(number, since, state, planned)

    def with_lookups(self, sync: Sync, now: datetime) -> Sync:
        """Return the sync with its lookups: by their ids, of complaints that its windows did not find."""
        known = sync.lookups
        if known is None:
            with self._database.reading() as connection:
                gone = missing(connection, [one.key for one in sync.windows])
            known = [Window(now, str(one)) for one in by_ids(gone)]
        lookups = [one if self._is_merged(one) else Window(now, one.query) for one in known]
        if lookups != sync.lookups:
            self._note(sync, lookups=_text(lookups))
        return sync._replace(lookups=lookups)

    def look_up(self, client: Client, sync: Sync) -> None:
        """Ask for complaints by their ids: what only moved out of the windows is still there."""
        for one in sync.lookups or ():
            if not self._is_merged(one):
                merge_sightings(self._database, *asked_for(client, one.query, one.timestamp))

    def finish(self, sync: Sync, target: Path) -> Counts:
        """Write what the sync changed to `target`, and end it; the files of its windows go.

        What other syncs changed that were ended by this object before is in the file, too.
        """
        self._ended[sync.id] = [one.key for one in (*sync.windows, *(sync.lookups or ()))]
        counts = write_changes(self._database, [key for keys in self._ended.values() for key in keys], target)
        self._note(sync, is_finished=True)
        self._tidy(sync)
        return counts

    def _planned(self, client: Client, since: date, today: date, total: int) -> list[Query]:
        def count(query: Query) -> int:
            return _state(client, query).hits_total

        return windows(self._query, since, today, client.settings.page_size, total, count)

    def _last(self, *, finished: bool) -> Sync | None:
        try:
            with self._database.reading() as connection:
                row = connection.execute(
                    select(syncs)
                    .where(syncs.c.query == str(self._query), syncs.c.is_finished == finished)
                    .order_by(syncs.c.id.desc())
                    .limit(1)
                ).one_or_none()
        except NoDatabaseError:
            return None
        if row is None:
            return None
        state = State(row.last_indexed, row.total_record_count, row.hits_total)
        lookups = None if row.lookups is None else _windows(row.lookups)
        return Sync(row.id, row.since, state, _windows(row.windows), lookups)

    def _note(self, sync: Sync, **told: object) -> None:
        with self._database.writing() as connection:
            connection.execute(update(syncs).where(syncs.c.id == sync.id).values(told))

    def _is_begun(self, window: Window) -> bool:
        files = _files(self._root, window)
        return files.partial.exists() or files.extracted.exists()

    def _tidy(self, sync: Sync) -> None:
        for window in sync.windows:
            discard(_files(self._root, window))

    def _is_merged(self, window: Window) -> bool:
        with self._database.reading() as connection:
            return connection.scalar(select(1).select_from(snapshots).where(are([window.key]))) is not None


def under_way(database: Database, root: Path) -> list[SnapshotFiles]:
    """Return where the windows are of each sync that did not come to its end.

    Raises:
        DatabaseError, DatabaseAwayError: as `Database` raises them.

    """
    try:
        with database.reading() as connection:
            found = connection.scalars(select(syncs.c.windows).where(~syncs.c.is_finished)).all()
    except NoDatabaseError:
        return []
    return [_files(root, window) for text in found for window in _windows(text)]


def _files(root: Path, window: Window) -> SnapshotFiles:
    return SnapshotFiles(root, parse_query(window.query).slug(0), window.timestamp)


def _state(client: Client, query: Query) -> State:
    _, answer = client.page(query.pairs, 0, None)
    return State(answer.meta.last_indexed, answer.meta.total_record_count, answer.total)


def _text(several: list[Window]) -> str:
    return msgspec.json.encode(several).decode()


def _windows(text: str) -> list[Window]:
    return msgspec.json.decode(text, type=list[Window])
