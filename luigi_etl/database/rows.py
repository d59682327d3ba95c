"""The rows of the database that a merge reads and writes: the complaints it holds, and their history."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET
from sqlalchemy import ColumnElement, Connection, func, select, update

from luigi_etl.api.query import Query
from luigi_etl.common.errors import SchemaError
from luigi_etl.database.bulk import IDENTITY, inserting, replacing
from luigi_etl.database.observations import Observation, Value
from luigi_etl.database.schema import FIELDS, RESTORE, complaints, history

Kind = Literal["new", "changed", "withdrawn", "returned"]


class SnapshotRef(NamedTuple):
    """A snapshot in the database: its minute is naive UTC; `is_complete` tells whether it proves absence."""

    id: int
    timestamp: datetime
    query: Query
    is_complete: bool


class StoredComplaint(NamedTuple):
    """A complaint that the database holds; `values` are in the order of `schema.FIELDS`.

    `sent` has a bit for each field that was ever sent with it, `last_sent` tells in JSON when those were that
    were not when it was seen last.
    """

    complaint_id: str
    values: tuple[Value, ...]
    first_seen: datetime
    last_seen: datetime
    last_changed: datetime
    withdrawn: datetime | None
    sent: int
    last_sent: str | None

    def seen(self, sighting: Observation, minute: datetime) -> "StoredComplaint":
        """Return the complaint as it is after it was seen in a snapshot as new as any that saw it."""
        values = tuple(
            [old if new is UNSET else new for old, new in zip(self.values, sighting.values, strict=True)]
        )
        return self._replace(
            values=values,
            last_seen=minute,
            last_changed=self.last_changed if values == self.values else minute,
            sent=self.sent | sighting.sent,
            last_sent=self._last_sent_without(sighting.sent),
        )

    def observed(self, at: int) -> datetime | None:
        """Return when a field, by its place, was last sent with it; None if never: it only looks empty."""
        if not self.sent >> at & 1:
            return None
        return self._times().get(FIELDS[at], self.last_seen)

    def with_value(self, at: int, value: Value, minute: datetime) -> "StoredComplaint":
        """Return the complaint with a value of a field that was sent in a snapshot older than the last."""
        return self._replace(
            values=(*self.values[:at], value, *self.values[at + 1 :]),
            sent=self.sent | 1 << at,
            last_sent=_json({**self._times(), FIELDS[at]: minute}),
        )

    def _last_sent_without(self, sent: int) -> str | None:
        absent = self.sent & ~sent
        if not absent:
            return None
        known = self._times()
        times = {
            field: known.get(field, self.last_seen) for at, field in enumerate(FIELDS) if absent >> at & 1
        }
        return _json(times)

    def _times(self) -> dict[str, datetime]:
        try:
            return _times.decode(self.last_sent) if self.last_sent else {}
        except msgspec.DecodeError as error:
            raise SchemaError(
                "the database is damaged: "
                f"complaints.last_sent of {self.complaint_id} can't be read; {RESTORE}"
            ) from error


def first_seen(sighting: Observation, minute: datetime) -> StoredComplaint:
    """Return a complaint that was never seen before."""
    values = tuple([None if value is UNSET else value for value in sighting.values])
    return StoredComplaint(sighting.complaint_id, values, minute, minute, minute, None, sighting.sent, None)


def _json(times: dict[str, datetime]) -> str | None:
    return msgspec.json.encode(times).decode() if times else None


_times = msgspec.json.Decoder(dict[str, datetime])


class Change(NamedTuple):
    """A line of the history: what became of a complaint or a field of it, and the snapshot that saw it."""

    complaint_id: str
    change: Kind
    snapshot_id: int
    field: str | None = None
    old: str | None = None
    new: str | None = None


def load_complaints(connection: Connection, complaint_ids: Collection[str]) -> dict[str, StoredComplaint]:
    """Return those of the complaints that the database holds, by id."""
    found = connection.execute(select(complaints).where(complaints.c.complaint_id.in_(complaint_ids)))
    values = slice(1, 1 + len(FIELDS))
    return {row[0]: StoredComplaint(row[0], tuple(row[values]), *row[values.stop :]) for row in found}


def count_complaints(connection: Connection) -> int:
    """Return how many complaints the database holds, those that were withdrawn included."""
    return connection.scalar(select(func.count()).select_from(complaints)) or 0


def insert_complaints(connection: Connection, rows: Sequence[StoredComplaint]) -> None:
    """Add complaints that the database does not hold."""
    _INSERT.run(connection, [_named(row) for row in rows])


def replace_complaints(connection: Connection, rows: Sequence[StoredComplaint]) -> None:
    """Give complaints that the database holds other values and times."""
    _REPLACE.run(connection, [_named(row, IDENTITY) for row in rows])


def set_times(connection: Connection, complaint_ids: Collection[str], **times: datetime | None) -> None:
    """Give complaints other times, the same to all: `last_seen`, `withdrawn`."""
    if complaint_ids:
        connection.execute(
            update(complaints).where(complaints.c.complaint_id.in_(complaint_ids)).values(times)
        )


def append_history(connection: Connection, changes: Sequence[Change]) -> None:
    """Write lines into the history."""
    _REMEMBER.run(connection, [change._asdict() for change in changes])


def matching(connection: Connection, complaint_ids: Iterable[str], wanted: ColumnElement[bool]) -> set[str]:
    """Return those of the complaints that meet a condition."""
    asked = complaints.c.complaint_id.in_(list(complaint_ids))
    return set(connection.scalars(select(complaints.c.complaint_id).where(asked, wanted)))


def _named(row: StoredComplaint, identity: str = "complaint_id") -> dict[str, object]:
    return dict(zip((identity, *_OTHERS), (row.complaint_id, *row.values, *row[2:]), strict=True))


_OTHERS = [one.name for one in complaints.columns if one.name != "complaint_id"]
_INSERT = inserting(complaints, ["complaint_id", *_OTHERS])
_REPLACE = replacing(complaints, "complaint_id", _OTHERS)
_REMEMBER = inserting(history, Change._fields)
