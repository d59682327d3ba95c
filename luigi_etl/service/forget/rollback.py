"""The rows and history of complaints, rolled back to a minute."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from luigi_etl.database.observations import Value
from luigi_etl.database.rows import (
    StoredComplaint,
    delete_complaints,
    encode_times,
    load_complaints,
    replace_complaints,
)
from luigi_etl.database.schema import FIELDS, history, snapshots
from luigi_etl.snapshot.columns import COLUMNS

_TYPES = {column.field: column.type for column in COLUMNS}


class _Change(NamedTuple):
    """A line of the history."""

    complaint_id: str
    change: str
    field: str | None
    old: str | None
    new: str | None
    timestamp: datetime


def roll_back(connection: Connection, complaint_ids: Sequence[str], cut: datetime) -> None:
    """Return complaints to their state and history at the minute `cut`; delete newer complaints."""
    changes = _load_history(connection, complaint_ids)
    rows = load_complaints(connection, complaint_ids)
    newer = [one for one, row in rows.items() if row.first_seen > cut]
    older = [_state_at(cut, row, changes.get(one, [])) for one, row in rows.items() if row.first_seen <= cut]
    later = select(snapshots.c.id).where(snapshots.c.timestamp > cut)
    connection.execute(
        delete(history).where(history.c.complaint_id.in_(complaint_ids), history.c.snapshot_id.in_(later))
    )
    delete_complaints(connection, newer)
    replace_complaints(connection, older)


def _load_history(connection: Connection, complaint_ids: Sequence[str]) -> dict[str, list[_Change]]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    rows = connection.execute(
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(history.c.complaint_id.in_(complaint_ids))
        .order_by(snapshots.c.timestamp, history.c.id)
    )
    changes: dict[str, list[_Change]] = {}
    for row in rows:
        changes.setdefault(row.complaint_id, []).append(_Change(*row))
    return changes


def _state_at(cut: datetime, now: StoredComplaint, changes: Sequence[_Change]) -> StoredComplaint:
    """Return a complaint's state at the minute `cut`, as far as its history holds it."""
    before = [change for change in changes if change.timestamp <= cut]
    changed = [change.timestamp for change in before if change.change == "changed"]
    observed = [now.last_sent_at(at) for at in range(len(FIELDS))]
    last_seen = _last_seen_at(cut, now, before, observed)
    values: list[Value] = []
    sent = 0
    times: dict[str, datetime] = {}
    for at, field in enumerate(FIELDS):
        value, was_sent = _value_at(cut, now.values[at], field, changes)
        values.append(value)
        minute = observed[at]
        if minute is None or not was_sent:
            continue
        sent |= 1 << at
        if minute <= cut and minute < last_seen:
            times[field] = minute
    return now._replace(
        values=tuple(values),
        last_seen=last_seen,
        last_changed=max(changed, default=now.first_seen),
        withdrawn=_withdrawn_at(before),
        sent=sent,
        last_sent=encode_times(times),
    )


def _last_seen_at(
    cut: datetime, now: StoredComplaint, before: Sequence[_Change], observed: Sequence[datetime | None]
) -> datetime:
    """Return the newest minute up to `cut` that proves an observation."""
    seen = (change.timestamp for change in before if change.change != "withdrawn")
    minutes = (*seen, *observed, now.first_seen, now.last_seen)
    return max(minute for minute in minutes if minute and minute <= cut)


def _withdrawn_at(before: Sequence[_Change]) -> datetime | None:
    conclusions = [change for change in before if change.change in ("withdrawn", "returned")]
    if conclusions and conclusions[-1].change == "withdrawn":
        return conclusions[-1].timestamp
    return None


def _value_at(cut: datetime, now: Value, field: str, changes: Sequence[_Change]) -> tuple[Value, bool]:
    """Return a field's value at the minute `cut`, and whether the API had sent the field by then."""
    of_field = [change for change in changes if change.field == field]
    before = [change for change in of_field if change.timestamp <= cut]
    if before:
        return _as_typed(field, before[-1].new), True
    if of_field:
        return _as_typed(field, of_field[0].old), of_field[0].old is not None
    return now, True


def _as_typed(field: str, text: str | None) -> Value:
    if text is None or _TYPES[field] == "string":
        return text
    return text == "true" if _TYPES[field] == "boolean" else date.fromisoformat(text)
