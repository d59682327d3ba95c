"""Syncs on record: the table `syncs`, from which an interrupted sync resumes."""

from datetime import date, datetime
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import ColumnElement, select, update

from luigi_etl.api.query import Query
from luigi_etl.common.errors import NoDatabaseError, SchemaError
from luigi_etl.database.change_log import Key
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import RESTORE, syncs
from luigi_etl.snapshot.guard import HitProfile
from luigi_etl.snapshot.parse import Summary

T = TypeVar("T")


class IndexState(NamedTuple):
    """The state of the API's index: its time, its size, and the number of matches of a query."""

    last_indexed: str | None
    total_record_count: int | None
    hits_total: int

    def matches(self, summary: Summary) -> bool:
        """Return whether a window was read from this state of the index."""
        return (summary.last_indexed, summary.total_record_count) == self[:2]


class SyncWindow(msgspec.Struct, frozen=True):
    """A part of a sync: a query that is read completely, and its minute (naive UTC)."""

    timestamp: datetime
    query: str

    @property
    def key(self) -> Key:
        """The key of the window's snapshot in the database."""
        return Key(self.timestamp, self.query, 0)


class Sync(NamedTuple):
    """A sync from the day `since` on: its windows, and the lookups that follow them.

    `form` is the profile of its hits, None before the end of the sync.
    """

    id: int
    timestamp: datetime
    since: date
    state: IndexState
    windows: list[SyncWindow]
    lookups: list[SyncWindow]
    form: HitProfile | None = None


class SyncTable:
    """The syncs of one query."""

    def __init__(self, database: Database, query: Query) -> None:
        self._database = database
        self._query = str(query)

    def find_interrupted(self) -> Sync | None:
        """Return the newest sync that did not end, if any."""
        return self._newest(syncs.c.form.is_(None), ~syncs.c.is_finished)

    def find_ended(self) -> Sync | None:
        """Return the newest sync that ended, if any."""
        return self._newest(syncs.c.is_finished | syncs.c.form.is_not(None))

    def add(self, now: datetime, since: date, state: IndexState, windows: list[SyncWindow]) -> Sync:
        """Record a planned sync, and finish all earlier ones."""
        with self._database.writing() as connection:
            of_query = (syncs.c.query == self._query, ~syncs.c.is_finished)
            connection.execute(update(syncs).where(*of_query).values(is_finished=True))
            row = syncs.insert().values(
                timestamp=now,
                query=self._query,
                since=since,
                **state._asdict(),
                windows=_as_json(windows),
                is_finished=False,
            )
            number = connection.scalar(row.returning(syncs.c.id))
        return Sync(number, now, since, state, windows, [])

    def set_windows(self, sync: Sync, windows: list[SyncWindow]) -> None:
        """Replace the windows of a sync."""
        self._update(sync, windows=_as_json(windows))

    def set_lookups(self, sync: Sync) -> None:
        """Record the lookups of a sync."""
        self._update(sync, lookups=_as_json(sync.lookups))

    def set_end(self, sync: Sync, form: HitProfile, hits_total: int) -> None:
        """Record the end of a sync; one with rejected hits stays unfinished."""
        self._update(
            sync,
            is_finished=not form.rejected,
            form=msgspec.json.encode(form).decode(),
            hits_total=hits_total,
        )

    def has_predecessor_in_minute(self, sync: Sync) -> bool:
        """Return whether an earlier sync has the same minute; it hides complaints that vanished since."""
        minute = max((one.timestamp for one in sync.windows), default=sync.timestamp)
        with self._database.reading() as connection:
            found = connection.scalars(
                select(syncs.c.id).where(
                    syncs.c.query == self._query, syncs.c.timestamp == minute, syncs.c.id < sync.id
                )
            )
            return found.first() is not None

    def _newest(self, *conditions: ColumnElement[bool]) -> Sync | None:
        try:
            with self._database.reading() as connection:
                row = connection.execute(
                    select(syncs)
                    .where(syncs.c.query == self._query, *conditions)
                    .order_by(syncs.c.id.desc())
                    .limit(1)
                ).one_or_none()
        except NoDatabaseError:
            return None
        if row is None:
            return None
        state = IndexState(row.last_indexed, row.total_record_count, row.hits_total)
        form = None if row.form is None else _decode(row.form, HitProfile)
        windows, lookups = decode_windows(row.windows), decode_windows(row.lookups)
        return Sync(row.id, row.timestamp, row.since, state, windows, lookups, form)

    def _update(self, sync: Sync, **values: object) -> None:
        with self._database.writing() as connection:
            connection.execute(update(syncs).where(syncs.c.id == sync.id).values(values))


def _as_json(windows: list[SyncWindow]) -> str:
    return msgspec.json.encode(windows).decode()


def decode_windows(text: str | None) -> list[SyncWindow]:
    """Return the windows or lookups in a row of `syncs`.

    Raises:
        SchemaError: the text can't be read.

    """
    return [] if text is None else _decode(text, list[SyncWindow])


def _decode(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise SchemaError(f"the database is damaged: a row of syncs can't be read; {RESTORE}") from error
