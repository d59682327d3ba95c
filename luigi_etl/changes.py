"""What snapshots brought into the database, as CSV: the thing to look at, or to mail, each morning."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, false, or_, select

from luigi_etl.database import Database
from luigi_etl.files import atomic_write
from luigi_etl.schema import history, snapshots

COLUMNS = ("complaint_id", "change", "field", "old", "new", "snapshot")
_AT_ONCE = 1000


class Key(NamedTuple):
    """A snapshot's place in the database: its minute (naive UTC), query in its one spelling, and limit."""

    timestamp: datetime
    query: str
    limit: int


class Counts(NamedTuple):
    """How many complaints came, changed (in however many fields), went and came back."""

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    returned: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {kind}" for kind, number in zip(self._fields, self, strict=True))


def write_changes(database: Database, keys: Sequence[Key], target: Path) -> Counts:
    """Write the changes that snapshots brought to `target`, in the order they were found.

    Raises:
        DatabaseError, DatabaseAwayError: as `Database` raises them.
        StorageError: the file can't be written.

    """
    with database.reading() as connection, atomic_write(target) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        counts = _write(connection, keys, text)
        text.detach()
    return counts


def _write(connection: Connection, keys: Iterable[Key], text: io.TextIOWrapper) -> Counts:
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    counts = dict.fromkeys(Counts._fields, 0)
    before = None
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(_changes(keys)):
        complaint_id, change, field, old, new, timestamp = row
        writer.writerow([complaint_id, change, field, old, new, f"{timestamp:%Y-%m-%dT%H:%MZ}"])
        counts[change] += before != (complaint_id, change)
        before = (complaint_id, change)
    return Counts(**counts)


def are(keys: Iterable[Key]) -> ColumnElement[bool]:
    """Return the condition that a row of `snapshots` is one of those."""
    asked = [
        and_(
            snapshots.c.timestamp == key.timestamp,
            snapshots.c.query == key.query,
            snapshots.c.row_limit == key.limit,
        )
        for key in keys
    ]
    return or_(false(), *asked)


def _changes(keys: Iterable[Key]) -> Select[Any]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    return (
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(are(keys))
        .order_by(history.c.id)
    )
