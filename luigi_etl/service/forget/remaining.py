"""The remaining snapshots that can be merged again."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from luigi_etl.api.query import parse_stored_query
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import snapshots
from luigi_etl.snapshot.datapackage import HASH_PREFIX
from luigi_etl.snapshot.paths import SnapshotFiles


class RemainingSnapshot(NamedTuple):
    """A remaining snapshot whose files are those that were merged."""

    snapshot: SnapshotRef
    files: SnapshotFiles
    content_hash: str


def find_remaining(
    connection: Connection, root: Path, after: datetime
) -> tuple[datetime, list[RemainingSnapshot]]:
    """Return the minute of the newest remaining snapshot without files, and the later ones in order."""
    rows = connection.execute(
        select(snapshots)
        .where(snapshots.c.timestamp <= after)
        .order_by(snapshots.c.timestamp.desc(), snapshots.c.id.desc())
    )
    found: list[RemainingSnapshot] = []
    for row in rows:
        query = parse_stored_query(row.query)
        files = SnapshotFiles(root, query.slug(row.row_limit), row.timestamp)
        if row.source or not _are_as_merged(files, row.content_hash):
            return row.timestamp, [one for one in reversed(found) if one.snapshot.timestamp > row.timestamp]
        snapshot = SnapshotRef(row.id, row.timestamp, query, row.is_complete)
        found.append(RemainingSnapshot(snapshot, files, row.content_hash))
    return datetime.min, found[::-1]


def _are_as_merged(files: SnapshotFiles, content_hash: str) -> bool:
    try:
        with files.parsed.open("rb") as stream:
            sha256 = hashlib.sha256()
            while part := stream.read(1 << 20):
                sha256.update(part)
        return HASH_PREFIX + sha256.hexdigest() == content_hash and files.rejected.exists()
    except OSError:
        return False
