"""The counts of what would be removed."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from luigi_etl.common.errors import NoDatabaseError
from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import counted
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import complaints, snapshots
from luigi_etl.service.forget.files import later_files
from luigi_etl.service.forget.selection import later_syncs, touched_after


class Forgotten(NamedTuple):
    """What was forgotten, or would be: snapshots and syncs of the database, complaints, files.

    `removed` counts complaints that only later snapshots held, `restored` the others they touched.
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


class Later(NamedTuple):
    """Snapshots of a query and limit that are later: how many, from and to which minute."""

    query: str
    limit: int
    number: int
    first: datetime
    last: datetime

    def __str__(self) -> str:
        query = self.query or "all complaints"
        span = f"{as_parameter(self.first)} to {as_parameter(self.last)}"
        return f"{counted(self.number, 'snapshot')} of {query}, limit {self.limit}: {span}"


def preview(database: Database, root: Path, after: datetime) -> Forgotten:
    """Return what `forget` would forget."""
    files = sum(len(found.paths) for found in later_files(root, after))
    try:
        with database.reading() as connection:
            return count_rows(connection, after)._replace(files=files)
    except NoDatabaseError:
        return Forgotten(files=files)


def later_snapshots(database: Database, after: datetime) -> list[Later]:
    """Return the snapshots of the database that are later, by query."""
    columns = (snapshots.c.query, snapshots.c.row_limit)
    minutes = (func.count(), func.min(snapshots.c.timestamp), func.max(snapshots.c.timestamp))
    later = (
        select(*columns, *minutes).where(snapshots.c.timestamp > after).group_by(*columns).order_by(*columns)
    )
    try:
        with database.reading() as connection:
            return [Later(*row) for row in connection.execute(later)]
    except NoDatabaseError:
        return []


def count_rows(connection: Connection, after: datetime) -> Forgotten:
    """Count the rows that would be removed or restored."""
    later = select(func.count()).select_from(snapshots).where(snapshots.c.timestamp > after)
    touched = touched_after(after).subquery()
    new = select(func.count()).select_from(complaints).where(complaints.c.first_seen > after)
    removed = connection.scalar(new) or 0
    return Forgotten(
        snapshots=connection.scalar(later) or 0,
        syncs=len(later_syncs(connection, after)),
        removed=removed,
        restored=(connection.scalar(select(func.count()).select_from(touched)) or 0) - removed,
    )
