"""The rows of the database that a merge reads and writes: the complaints it holds, and their history."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, true, update

from luigi_etl.query import Query
from luigi_etl.schema import FIELDS, complaints, history
from luigi_etl.sightings import Value

Kind = Literal["new", "changed", "withdrawn", "returned"]


class Merging(NamedTuple):
    """A snapshot in the database: its minute is naive UTC; `is_complete` tells whether it proves absence."""

    id: int
    timestamp: datetime
    query: Query
    is_complete: bool


class Held(NamedTuple):
    """A complaint that the database holds; `values` are in the order of `schema.FIELDS`."""

    complaint_id: str
    values: tuple[Value, ...]
    first_seen: datetime
    last_seen: datetime
    last_changed: datetime
    withdrawn: datetime | None = None


class Change(NamedTuple):
    """A line of the history: what became of a complaint or a field of it, and the snapshot that saw it."""

    complaint_id: str
    change: Kind
    snapshot_id: int
    field: str | None = None
    old: str | None = None
    new: str | None = None


def held(connection: Connection, complaint_ids: Collection[str]) -> dict[str, Held]:
    """Return those of the complaints that the database holds, by id."""
    found = connection.execute(select(complaints).where(complaints.c.complaint_id.in_(complaint_ids)))
    values = slice(1, 1 + len(FIELDS))
    return {row[0]: Held(row[0], tuple(row[values]), *row[values.stop :]) for row in found}


def count(connection: Connection) -> int:
    """Return how many complaints the database holds, those that were withdrawn included."""
    return connection.scalar(select(func.count()).select_from(complaints)) or 0


def insert(connection: Connection, rows: Sequence[Held]) -> None:
    """Add complaints that the database does not hold."""
    if rows:
        connection.execute(complaints.insert(), [_named(row) for row in rows])


def replace(connection: Connection, rows: Sequence[Held]) -> None:
    """Give complaints that the database holds other values and times."""
    if rows:
        connection.execute(_REPLACE, [{**_named(row), "held_id": row.complaint_id} for row in rows])


def mark(connection: Connection, complaint_ids: Collection[str], **times: datetime | None) -> None:
    """Give complaints other times, the same to all: `last_seen`, `withdrawn`."""
    if complaint_ids:
        connection.execute(
            update(complaints).where(complaints.c.complaint_id.in_(complaint_ids)).values(times)
        )


def remember(connection: Connection, changes: Sequence[Change]) -> None:
    """Write lines into the history."""
    if changes:
        connection.execute(history.insert(), [change._asdict() for change in changes])


def matching(
    connection: Connection, complaint_ids: Iterable[str], wanted: ColumnElement[bool] | None = None
) -> set[str]:
    """Return those of the complaints that meet a condition."""
    asked = complaints.c.complaint_id.in_(list(complaint_ids))
    return set(
        connection.scalars(
            select(complaints.c.complaint_id).where(asked, true() if wanted is None else wanted)
        )
    )


def _named(row: Held) -> dict[str, object]:
    return dict(zip(_NAMES, (row.complaint_id, *row.values, *row[2:]), strict=True))


_NAMES = [column.name for column in complaints.columns]
_REPLACE = (
    update(complaints)
    .where(complaints.c.complaint_id == bindparam("held_id"))
    .values({name: bindparam(name) for name in _NAMES})
)
