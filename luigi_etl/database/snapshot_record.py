"""The record of a merged snapshot or file in the database."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from luigi_etl.api.query import parse_stored_query
from luigi_etl.common.errors import DatabaseError
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import snapshots


class SnapshotToMerge(NamedTuple):
    """A snapshot to merge: its query, its counts, and whether it proves that a complaint is absent.

    `timestamp` is naive UTC. `limit` 0 means every complaint. `content_hash` distinguishes two versions of
    the same minute, query and limit.
    """

    timestamp: datetime
    query: str
    limit: int
    rows: int
    last_indexed: str | None
    is_complete: bool
    is_sandbox: bool
    content_hash: str
    is_whole: bool = False  # it holds every match, and none was rejected
    source: str = ""  # the hash of a complaint file's content; empty: the API


def check_kind(connection: Connection, snapshot: SnapshotToMerge) -> None:
    """Check that the database holds complaints of the snapshot's kind, sandbox or CFPB.

    Raises:
        DatabaseError: it holds the other kind.

    """
    if connection.scalar(select(1).where(snapshots.c.is_sandbox != snapshot.is_sandbox).limit(1)):
        new, stored = ("sandbox", "CFPB") if snapshot.is_sandbox else ("CFPB", "sandbox")
        raise DatabaseError(
            f"the snapshot is of the {new}, but the database holds complaints of the {stored}; "
            "set [storage] database to another"
        )


def register(connection: Connection, snapshot: SnapshotToMerge) -> SnapshotRef | None:
    """Put a snapshot on record; return None if exactly this one is already merged."""
    key = {
        "timestamp": snapshot.timestamp,
        "query": snapshot.query,
        "row_limit": snapshot.limit,
        "source": snapshot.source,
    }
    identity = {"source": snapshot.source} if snapshot.source else key  # a file counts once, at any minute
    known = connection.execute(
        select(snapshots.c.id, snapshots.c.content_hash, snapshots.c.is_complete).filter_by(**identity)
    ).one_or_none()
    if known and (known.content_hash, known.is_complete) == (snapshot.content_hash, snapshot.is_complete):
        return None
    values = {
        "rows": snapshot.rows,
        "last_indexed": snapshot.last_indexed,
        "is_complete": snapshot.is_complete,
        "is_sandbox": snapshot.is_sandbox,
        "content_hash": snapshot.content_hash,
    }
    if known:
        number = known.id
        connection.execute(update(snapshots).where(snapshots.c.id == number).values(values))
    else:
        number = connection.scalar(snapshots.insert().values(**key, **values).returning(snapshots.c.id))
    query = parse_stored_query(snapshot.query)
    return SnapshotRef(number, snapshot.timestamp, query, snapshot.is_complete, bool(snapshot.source))


def update_record(connection: Connection, ref: SnapshotRef, snapshot: SnapshotToMerge) -> None:
    """Record the facts that only the last row of a snapshot could show."""
    values = {"rows": snapshot.rows, "is_complete": snapshot.is_complete}
    connection.execute(update(snapshots).where(snapshots.c.id == ref.id).values(values))
