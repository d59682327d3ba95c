"""The rows that a merge reads and writes: complaints and their history."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection, delete, func, select, update

from luigi_etl.api.query import Query
from luigi_etl.common.errors import SchemaError
from luigi_etl.database.bulk import ROW_ID, insert_statement, replace_statement
from luigi_etl.database.observations import Observation, Value
from luigi_etl.database.schema import FIELDS, RESTORE, complaints, history, stored_complaints

FILE_LAG = timedelta(hours=20)  # the CFPB can make a file from an index that is older than the API's
Kind = Literal["changed", "withdrawn", "returned"]  # `new` is in the complaint: its first snapshot


class SnapshotRef(NamedTuple):
    """A snapshot on record; its minute is naive UTC.

    `is_complete`: a complaint that matches the query and is not in the snapshot is absent.
    """

    id: int
    timestamp: datetime
    query: Query
    is_complete: bool
    is_file: bool = False

    @property
    def proves_absence_until(self) -> datetime:
        """The minute up to which it proves that a complaint is absent."""
        return self.timestamp - FILE_LAG if self.is_file else self.timestamp


class StoredComplaint(NamedTuple):
    """A complaint in the database; `values` are in the order of `schema.FIELDS`.

    `sent` has a bit for each field that was ever sent. `last_sent` is JSON: for each such field that the
    newest observation lacks, the minute when it was last sent.
    """

    complaint_id: str
    values: tuple[Value, ...]
    first_seen: datetime
    last_seen: datetime
    last_changed: datetime
    withdrawn: datetime | None
    sent: int
    last_sent: str | None

    def with_observation(self, observation: Observation, minute: datetime) -> "StoredComplaint":
        """Return the complaint after an observation that is at least as new as its newest."""
        values = tuple(
            [old if new is UNSET else new for old, new in zip(self.values, observation.values, strict=True)]
        )
        return self._replace(
            values=values,
            last_seen=minute,
            last_changed=self.last_changed if values == self.values else minute,
            sent=self.sent | observation.sent,
            last_sent=self._last_sent_without(observation.sent),
        )

    def last_sent_at(self, at: int) -> datetime | None:
        """Return when the field at this index was last sent, or None if it never was."""
        if not self.sent >> at & 1:
            return None
        return self._times().get(FIELDS[at], self.last_seen)

    def with_value(self, at: int, value: Value, minute: datetime) -> "StoredComplaint":
        """Return the complaint with the value of a field from an older observation."""
        return self._replace(
            values=(*self.values[:at], value, *self.values[at + 1 :]),
            sent=self.sent | 1 << at,
            last_sent=encode_times({**self._times(), FIELDS[at]: minute}),
        )

    def _last_sent_without(self, sent: int) -> str | None:
        absent = self.sent & ~sent
        if not absent:
            return None
        known = self._times()
        times = {
            field: known.get(field, self.last_seen) for at, field in enumerate(FIELDS) if absent >> at & 1
        }
        return encode_times(times)

    def _times(self) -> dict[str, datetime]:
        try:
            return _times.decode(self.last_sent) if self.last_sent else {}
        except msgspec.DecodeError as error:
            raise SchemaError(
                "the database is damaged: "
                f"complaints.last_sent of {self.complaint_id} can't be read; {RESTORE}"
            ) from error


def create_complaint(observation: Observation, minute: datetime) -> StoredComplaint:
    """Return a complaint from its first observation."""
    values = tuple([None if value is UNSET else value for value in observation.values])
    return StoredComplaint(
        observation.complaint_id, values, minute, minute, minute, None, observation.sent, None
    )


def encode_times(times: dict[str, datetime]) -> str | None:
    """Return the text of the column `last_sent`."""
    return msgspec.json.encode(times).decode() if times else None


_times = msgspec.json.Decoder(dict[str, datetime])


class Change(NamedTuple):
    """A line of the history: a change of a complaint or of its field, and the snapshot that shows it."""

    complaint_id: str
    change: Kind
    snapshot_id: int
    field: str | None = None
    old: str | None = None
    new: str | None = None


def load_complaints(connection: Connection, complaint_ids: Collection[str]) -> dict[str, StoredComplaint]:
    """Return the complaints with these ids that are in the database, by id."""
    found = connection.execute(select(complaints).where(complaints.c.complaint_id.in_(complaint_ids)))
    values = slice(1, 1 + len(FIELDS))
    return {row[0]: StoredComplaint(row[0], tuple(row[values]), *row[values.stop :]) for row in found}


def count_complaints(connection: Connection) -> int:
    """Return the number of complaints in the database, with the withdrawn ones."""
    return connection.scalar(select(func.count()).select_from(stored_complaints)) or 0


def insert_complaints(connection: Connection, rows: Sequence[StoredComplaint], snapshot_id: int) -> None:
    """Insert new complaints, which this snapshot showed first."""
    first = {"first_snapshot": snapshot_id}
    _INSERT.run(connection, [_as_parameters(row) | first for row in rows])


def replace_complaints(connection: Connection, rows: Sequence[StoredComplaint]) -> None:
    """Replace the values and times of complaints."""
    _REPLACE.run(connection, [_as_parameters(row, ROW_ID) for row in rows])


def replace_older_values(connection: Connection, rows: Sequence[StoredComplaint]) -> None:
    """Replace the values of complaints that the digested file does not send; the digests stay."""
    _REPLACE_OLDER.run(connection, [_as_parameters(row, ROW_ID) for row in rows])


def set_times(connection: Connection, complaint_ids: Collection[str], **times: datetime | None) -> None:
    """Set `last_seen` or `withdrawn` of several complaints to one minute, or `file_digest` to null."""
    if complaint_ids:
        connection.execute(
            update(stored_complaints).where(stored_complaints.c.complaint_id.in_(complaint_ids)).values(times)
        )


def move_first_snapshot(connection: Connection, complaint_ids: Collection[str], snapshot_id: int) -> None:
    """Record an older snapshot as the first that showed these complaints."""
    set_first = update(stored_complaints).values(first_snapshot=snapshot_id)
    connection.execute(set_first.where(stored_complaints.c.complaint_id.in_(complaint_ids)))


def delete_complaints(connection: Connection, complaint_ids: Collection[str]) -> None:
    """Delete complaints; their history stays."""
    connection.execute(delete(stored_complaints).where(stored_complaints.c.complaint_id.in_(complaint_ids)))


def append_history(connection: Connection, changes: Sequence[Change]) -> None:
    """Append lines to the history."""
    _APPEND.run(connection, [change._asdict() for change in changes])


def _as_parameters(row: StoredComplaint, id_name: str = "complaint_id") -> dict[str, object]:
    last_changed = None if row.last_changed == row.first_seen else row.last_changed
    times = (row.last_seen, last_changed, row.withdrawn, row.sent, row.last_sent)
    return dict(zip((id_name, *_VALUE_COLUMNS), (row.complaint_id, *row.values, *times), strict=True))


_TIMES = ("last_seen", "last_changed", "withdrawn", "sent", "last_sent")
_VALUE_COLUMNS = (*FIELDS, *_TIMES)
_INSERT = insert_statement(stored_complaints, ["complaint_id", *_VALUE_COLUMNS, "first_snapshot"])
_REPLACE = replace_statement(stored_complaints, "complaint_id", _VALUE_COLUMNS, cleared=["file_digest"])
_REPLACE_OLDER = replace_statement(stored_complaints, "complaint_id", _VALUE_COLUMNS)
_APPEND = insert_statement(history, Change._fields)
