"""The removal of later snapshots from the database and the disk."""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, Table, delete, select, update

from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import rebuild_coverage
from luigi_etl.database.merge import BATCH, merge_again
from luigi_etl.database.observations import ALL_UNSET, Observation, read_observations, read_rejected_ids
from luigi_etl.database.schema import ComplaintId, digested_file, snapshots, syncs, unverified
from luigi_etl.service.forget.files import remove_files
from luigi_etl.service.forget.preview import Removal, count_rows, preview
from luigi_etl.service.forget.remaining import RemainingSnapshot, find_remaining
from luigi_etl.service.forget.rollback import roll_back
from luigi_etl.service.forget.selection import find_later_syncs, select_touched

_TOUCHED = Table(
    "touched", MetaData(), Column("complaint_id", ComplaintId, primary_key=True), prefixes=["TEMPORARY"]
)


def forget(database: Database, root: Path, after: datetime) -> Removal:
    """Remove the snapshots and syncs after a minute (naive UTC) from the database, then from the disk.

    Raises:
        StorageError: a file can't be removed; the database is done, and another call continues.
        EtlError: as `Database` raises it; nothing is removed.

    """
    removal = preview(database, root, after)
    if removal.snapshots or removal.syncs or removal.removed or removal.restored:
        with database.writing() as connection:
            removal = count_rows(connection, after)
            _forget_rows(connection, root, after)
    return removal._replace(files=remove_files(root, after))


def _forget_rows(connection: Connection, root: Path, after: datetime) -> None:
    cut, remaining = find_remaining(connection, root, after)
    _TOUCHED.create(connection)
    connection.execute(_TOUCHED.insert().from_select(["complaint_id"], select_touched(after)))
    for complaint_ids in _touched_batches(connection):
        roll_back(connection, complaint_ids, cut)
    connection.execute(delete(syncs).where(syncs.c.id.in_(find_later_syncs(connection, after))))
    connection.execute(delete(snapshots).where(snapshots.c.timestamp > after))
    connection.execute(delete(digested_file).where(digested_file.c.as_of > after))
    connection.execute(delete(unverified).where(unverified.c.since > after))
    connection.execute(update(unverified).where(unverified.c.held_since > after).values(held_since=None))
    rebuild_coverage(connection, after)
    for one in remaining:
        merge_again(connection, one.snapshot, _touched_observations(connection, one))
    _TOUCHED.drop(connection)


def _touched_batches(connection: Connection) -> Iterator[list[str]]:
    last = "-1"
    while batch := list(
        connection.scalars(
            select(_TOUCHED.c.complaint_id)
            .where(_TOUCHED.c.complaint_id > last)
            .order_by(_TOUCHED.c.complaint_id)
            .limit(BATCH)
        )
    ):
        yield batch
        last = batch[-1]


def _touched_observations(connection: Connection, remaining: RemainingSnapshot) -> Iterator[Observation]:
    """Yield a snapshot's observations of the complaints that were rolled back."""
    rejected = (Observation(one, ALL_UNSET) for one in read_rejected_ids(remaining.files.rejected) if one)
    observations = chain(read_observations(remaining.files.parsed, remaining.content_hash), rejected)
    while batch := list(islice(observations, BATCH)):
        is_in_batch = _TOUCHED.c.complaint_id.in_([one.complaint_id for one in batch])
        touched = set(connection.scalars(select(_TOUCHED.c.complaint_id).where(is_in_batch)))
        yield from (one for one in batch if one.complaint_id in touched)
