"""What snapshots brought into the database, as CSV: the thing to look at, or to mail, each morning."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, select, tuple_

from luigi_etl.common.files import atomic_write
from luigi_etl.common.minutes import as_iso
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import history, snapshots
from luigi_etl.snapshot.csv_format import csv_blocks

HEADER = ("complaint_id", "change", "field", "old", "new", "snapshot")
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
        DatabaseError, DatabaseUnavailableError: as `Database` raises them.
        StorageError: the file can't be written.

    """
    counter = _Counter()
    with database.reading() as connection, atomic_write(target) as stream:
        found = connection.execution_options(yield_per=_AT_ONCE).execute(_changes(keys))
        stream.writelines(block.lines for block in csv_blocks(HEADER, map(counter.seen, found)))
    return Counts(**counter.counts)


class _Counter:
    """Counts the complaints of each kind of change while their lines pass by, those of one together."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Counts._fields, 0)
        self._before: tuple[str, str] | None = None

    def seen(self, row: Row[Any]) -> list[str | None]:
        """Return a line of the CSV."""
        kind = (row.complaint_id, row.change)
        self.counts[row.change] += self._before != kind
        self._before = kind
        return [*row[:-1], as_iso(row.timestamp)]


def are(keys: Iterable[Key]) -> ColumnElement[bool]:
    """Return the condition that a row of `snapshots` is one of those."""
    return tuple_(snapshots.c.timestamp, snapshots.c.query, snapshots.c.row_limit).in_(list(keys))


def _changes(keys: Iterable[Key]) -> Select[Any]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    return (
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(are(keys))
        .order_by(history.c.id)
    )
