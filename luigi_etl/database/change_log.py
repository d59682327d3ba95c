"""changes.csv: the changes that snapshots brought into the database."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, literal, null, select, tuple_

from luigi_etl.common.files import atomic_write
from luigi_etl.common.minutes import as_iso
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import history, snapshots
from luigi_etl.database.schema import stored_complaints as complaints
from luigi_etl.snapshot.csv_format import csv_blocks

HEADER = ("complaint_id", "change", "field", "old", "new", "snapshot")
_BATCH = 1000


class Key(NamedTuple):
    """The key of a snapshot in the database; the minute is naive UTC, the query is normalized.

    `source` is the hash of a complaint file's content, or empty for the API.
    """

    timestamp: datetime
    query: str
    limit: int
    source: str = ""


class Counts(NamedTuple):
    """Numbers of complaints by kind of change; several changed fields count once."""

    new: int = 0
    changed: int = 0
    withdrawn: int = 0
    returned: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {kind}" for kind, number in zip(self._fields, self, strict=True))


def write_changes(database: Database, keys: Sequence[Key], target: Path) -> Counts:
    """Write the changes of snapshots to `target`: new complaints, then changes in the order of discovery.

    Raises:
        DatabaseError, DatabaseUnavailableError: see `Database`.
        StorageError: the file can't be written.

    """
    counter = _Counter()
    with database.reading() as connection, atomic_write(target) as stream:
        streaming = connection.execution_options(yield_per=_BATCH)
        found = chain.from_iterable(streaming.execute(part) for part in (_new(keys), _changes(keys)))
        stream.writelines(block.lines for block in csv_blocks(HEADER, map(counter.count, found)))
    return Counts(**counter.counts)


class _Counter:
    """Counts complaints by kind of change, while their lines are written."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Counts._fields, 0)
        self._previous: tuple[str, str] | None = None

    def count(self, row: Row[Any]) -> list[str | None]:
        """Count a row; return it as a line of the CSV."""
        kind = (row.complaint_id, row.change)
        self.counts[row.change] += self._previous != kind
        self._previous = kind
        return [*row[:-1], as_iso(row.timestamp)]


def matches_keys(keys: Iterable[Key]) -> ColumnElement[bool]:
    """Return the condition that a row of `snapshots` has one of these keys."""
    key = tuple_(snapshots.c.timestamp, snapshots.c.query, snapshots.c.row_limit, snapshots.c.source)
    return key.in_(list(keys))


def _new(keys: Iterable[Key]) -> Select[Any]:
    nothing = (null().label(name) for name in ("field", "old", "new"))
    return (
        select(complaints.c.complaint_id, literal("new").label("change"), *nothing, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == complaints.c.first_snapshot)
        .where(matches_keys(keys))
        .order_by(snapshots.c.id, complaints.c.complaint_id)
    )


def _changes(keys: Iterable[Key]) -> Select[Any]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    return (
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(matches_keys(keys))
        .order_by(history.c.id)
    )
