"""changes.csv: the changes that snapshots brought into the database."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, select, tuple_, type_coerce

from luigi_etl.common.files import atomic_write
from luigi_etl.common.minutes import as_iso
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import Number, history, snapshots, stored_complaints
from luigi_etl.snapshot.csv_format import Block, csv_blocks

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
        stream.writelines(block.lines for block in csv_blocks(HEADER, []))
        new = 0
        for block in _read_new(connection, keys):
            stream.write(block.lines)
            new += block.rows
        found = connection.execute(_changes(keys), execution_options={"yield_per": _BATCH})
        changes = csv_blocks(HEADER, map(counter.count, found))
        stream.writelines(block.lines for block in islice(changes, 1, None))
    return Counts(**{**counter.counts, "new": new})


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


def _read_new(connection: Connection, keys: Iterable[Key]) -> Iterator[Block]:
    """Yield the lines of new complaints; a first file has millions, whose cells need no quotes."""
    merged = select(snapshots.c.id, snapshots.c.timestamp).where(matches_keys(keys)).order_by(snapshots.c.id)
    number = type_coerce(stored_complaints.c.complaint_id, Number)
    for snapshot in connection.execute(merged).all():
        of_snapshot = select(number).where(stored_complaints.c.first_snapshot == snapshot.id).order_by(number)
        found = connection.execute(of_snapshot, execution_options={"yield_per": _BATCH})
        ending = f",new,,,,{as_iso(snapshot.timestamp)}\n"
        for part in found.scalars().partitions():
            yield Block("".join(f"{one}{ending}" for one in part).encode(), len(part))


def _changes(keys: Iterable[Key]) -> Select[Any]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    return (
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(matches_keys(keys))
        .order_by(history.c.id)
    )
