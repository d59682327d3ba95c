"""The rows and history of complaints, rolled back to a minute."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select

from luigi_etl.database.observations import (
    Value,
)
from luigi_etl.database.rows import StoredComplaint, load_complaints, replace_complaints
from luigi_etl.database.schema import FIELDS, complaints, history, snapshots
from luigi_etl.snapshot.columns import COLUMNS

_TYPES = {column.field: column.type for column in COLUMNS}


class _Line(NamedTuple):
    complaint_id: str
    change: str
    field: str | None
    old: str | None
    new: str | None
    timestamp: datetime


def roll_back(connection: Connection, complaint_ids: Sequence[str], cut: datetime) -> None:
    """Give complaints the state and history they had at a minute; those that were not there yet go."""
    lines = _lines(connection, complaint_ids)
    rows = load_complaints(connection, complaint_ids)
    gone = [one for one, row in rows.items() if row.first_seen > cut]
    kept = [_as_of(row, lines.get(one, []), cut) for one, row in rows.items() if row.first_seen <= cut]
    later = select(snapshots.c.id).where(snapshots.c.timestamp > cut)
    connection.execute(
        delete(history).where(history.c.complaint_id.in_(complaint_ids), history.c.snapshot_id.in_(later))
    )
    connection.execute(delete(complaints).where(complaints.c.complaint_id.in_(gone)))
    replace_complaints(connection, kept)


def _lines(connection: Connection, complaint_ids: Sequence[str]) -> dict[str, list[_Line]]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    found = connection.execute(
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(history.c.complaint_id.in_(complaint_ids))
        .order_by(snapshots.c.timestamp, history.c.id)
    )
    lines: dict[str, list[_Line]] = {}
    for row in found:
        lines.setdefault(row.complaint_id, []).append(_Line(*row))
    return lines


def _as_of(now: StoredComplaint, lines: Iterable[_Line], cut: datetime) -> StoredComplaint:
    """Return a complaint as it was at a minute, as far as its history holds that."""
    lines = list(lines)
    before = [line for line in lines if line.timestamp <= cut]
    changed = [line.timestamp for line in before if line.change == "changed"]
    seen = [line.timestamp for line in before if line.change != "withdrawn"]
    observed = [now.observed(at) for at in range(len(FIELDS))]
    known = [
        minute for minute in (*seen, *observed, now.first_seen, now.last_seen) if minute and minute <= cut
    ]
    last_seen = max(known)
    sent, times = 0, {}
    values: list[Value] = []
    for at, field in enumerate(FIELDS):
        of_field = [line for line in lines if line.field == field]
        value, was_sent = _value_at(now.values[at], of_field, field, cut)
        values.append(value)
        minute = observed[at]
        if minute is None or not was_sent:
            continue
        sent |= 1 << at
        if minute <= cut and minute < last_seen:
            times[field] = minute
    conclusions = [line for line in before if line.change in ("withdrawn", "returned")]
    is_withdrawn = bool(conclusions) and conclusions[-1].change == "withdrawn"
    return now._replace(
        values=tuple(values),
        last_seen=last_seen,
        last_changed=max(changed, default=now.first_seen),
        withdrawn=conclusions[-1].timestamp if is_withdrawn else None,
        sent=sent,
        last_sent=msgspec.json.encode(times).decode() if times else None,
    )


def _value_at(now: Value, lines: Sequence[_Line], field: str, cut: datetime) -> tuple[Value, bool]:
    """Return a field's value at a minute, and whether it was sent by then: not if it came up later."""
    before = [line for line in lines if line.timestamp <= cut]
    if before:
        return _typed(field, before[-1].new), True
    if lines:
        return _typed(field, lines[0].old), lines[0].old is not None
    return now, True


def _typed(field: str, text: str | None) -> Value:
    if text is None or _TYPES[field] == "string":
        return text
    return text == "true" if _TYPES[field] == "boolean" else date.fromisoformat(text)
