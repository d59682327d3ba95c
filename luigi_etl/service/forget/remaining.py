"""The remaining snapshots, merged again where their files exist."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from luigi_etl.api.query import parse_stored_query
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import snapshots
from luigi_etl.snapshot.datapackage import HASH
from luigi_etl.snapshot.paths import SnapshotFiles


class Remaining(NamedTuple):
    """A remaining snapshot whose files exist."""

    snapshot: SnapshotRef
    files: SnapshotFiles
    content_hash: str


def with_files(connection: Connection, root: Path, after: datetime) -> tuple[datetime, list[Remaining]]:
    """Return the minute of the newest remaining snapshot without files, and in order those since."""
    rows = connection.execute(
        select(snapshots)
        .where(snapshots.c.timestamp <= after)
        .order_by(snapshots.c.timestamp.desc(), snapshots.c.id.desc())
    )
    found: list[Remaining] = []
    for row in rows:
        query = parse_stored_query(row.query)
        files = SnapshotFiles(root, query.slug(row.row_limit), row.timestamp)
        if not _are_as_merged(files, row.content_hash):
            return row.timestamp, [one for one in reversed(found) if one.snapshot.timestamp > row.timestamp]
        snapshot = SnapshotRef(row.id, row.timestamp, query, row.is_complete)
        found.append(Remaining(snapshot, files, row.content_hash))
    return datetime.min, found[::-1]


def _are_as_merged(files: SnapshotFiles, content_hash: str) -> bool:
    try:
        with files.parsed.open("rb") as stream:
            found = hashlib.sha256()
            while part := stream.read(1 << 20):
                found.update(part)
        return HASH + found.hexdigest() == content_hash and files.rejected.exists()
    except OSError:
        return False
