"""The counts of what a removal removes."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from luigi_etl.common.errors import NoDatabaseError
from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import counted
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import complaints, snapshots
from luigi_etl.service.forget.files import find_later_files
from luigi_etl.service.forget.selection import find_later_syncs, select_touched


class Removal(NamedTuple):
    """The counts of a removal: snapshots and syncs of the database, complaints, files.

    `removed` counts the complaints that only later snapshots held, `restored` the others that they touched.
    """

    snapshots: int = 0
    syncs: int = 0
    removed: int = 0
    restored: int = 0
    files: int = 0

    def __str__(self) -> str:
        names = ("snapshot", "sync", "complaint", "complaint", "file")
        counts = [counted(number, name) for number, name in zip(self, names, strict=True)]
        return f"{counts[0]} and {counts[1]}; {counts[2]} removed, {counts[3]} restored; {counts[4]} removed"


class LaterSnapshots(NamedTuple):
    """The later snapshots of a query and limit: their number, and the first and last minute."""

    query: str
    limit: int
    number: int
    first: datetime
    last: datetime

    def __str__(self) -> str:
        query = self.query or "all complaints"
        span = f"{as_parameter(self.first)} to {as_parameter(self.last)}"
        return f"{counted(self.number, 'snapshot')} of {query}, limit {self.limit}: {span}"


def preview(database: Database, root: Path, after: datetime) -> Removal:
    """Return the counts of the removal without removing anything."""
    files = sum(len(found.paths) for found in find_later_files(root, after))
    try:
        with database.reading() as connection:
            return count_rows(connection, after)._replace(files=files)
    except NoDatabaseError:
        return Removal(files=files)


def find_later_snapshots(database: Database, after: datetime) -> list[LaterSnapshots]:
    """Return the later snapshots of the database, grouped by query and limit."""
    columns = (snapshots.c.query, snapshots.c.row_limit)
    minutes = (func.count(), func.min(snapshots.c.timestamp), func.max(snapshots.c.timestamp))
    later = (
        select(*columns, *minutes).where(snapshots.c.timestamp > after).group_by(*columns).order_by(*columns)
    )
    try:
        with database.reading() as connection:
            return [LaterSnapshots(*row) for row in connection.execute(later)]
    except NoDatabaseError:
        return []


def count_rows(connection: Connection, after: datetime) -> Removal:
    """Count the rows that the removal removes or restores."""
    later = select(func.count()).select_from(snapshots).where(snapshots.c.timestamp > after)
    touched = select(func.count()).select_from(select_touched(after).subquery())
    new = select(func.count()).select_from(complaints).where(complaints.c.first_seen > after)
    removed = connection.scalar(new) or 0
    return Removal(
        snapshots=connection.scalar(later) or 0,
        syncs=len(find_later_syncs(connection, after)),
        removed=removed,
        restored=(connection.scalar(touched) or 0) - removed,
    )
