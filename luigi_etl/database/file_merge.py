"""Merge of a complaint file: a load, a comparison of digests, or a comparison of all rows."""

from itertools import islice

import msgspec
from pyroaring import BitMap64
from sqlalchemy import Connection, bindparam, case, delete, exists, or_, select, text, type_coerce, update

from luigi_etl.database.batch_merge import BatchMerger
from luigi_etl.database.file_load import load_file
from luigi_etl.database.file_rows import FileBatch, FileRows, RowConverter
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import Number, digested_file, stored_complaints

_BATCH = 1000  # rows of a statement
_IDS = 100_000  # ids read at once


def merge_file(connection: Connection, snapshot: SnapshotRef, rows: FileRows) -> None:
    """Merge the rows of a file as observations of its minute.

    An empty database is loaded. Of a complete file that is newer than the last one, only the rows that differ
    are merged: the work is in proportion to the changes. The rows of any other file are compared one by one.
    """
    if not connection.scalar(select(exists(stored_complaints))):
        load_file(connection, snapshot, rows.batches())
        _set_digested_file(connection, snapshot)
    elif snapshot.is_complete and _is_newest(connection, snapshot):
        _CompleteFileMerger(connection, snapshot).merge(rows)
        _mark_missing_as_last_seen(connection, rows.ids)
        _set_digested_file(connection, snapshot)
    else:
        merger, converter = BatchMerger(connection, snapshot), RowConverter()
        for batch in rows.batches():
            for part in batch.parts(_BATCH):
                merger.merge(converter.convert(part))


def _is_newest(connection: Connection, snapshot: SnapshotRef) -> bool:
    as_of = connection.scalar(select(digested_file.c.as_of))
    return as_of is None or as_of < snapshot.timestamp


def _set_digested_file(connection: Connection, snapshot: SnapshotRef) -> None:
    connection.execute(delete(digested_file))
    connection.execute(digested_file.insert().values(as_of=snapshot.timestamp))


class _CompleteFileMerger:
    """Merges the rows of a complete file that differ from those of the last one."""

    def __init__(self, connection: Connection, snapshot: SnapshotRef) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._merger = BatchMerger(connection, snapshot)
        self._converter = RowConverter()

    def merge(self, rows: FileRows) -> None:
        """Merge the rows, and store their digests."""
        for batch in rows.batches(self._find_differing):
            for part in batch.parts(_BATCH):
                self._merger.merge(self._converter.convert(part))
                self._store_digests(part)

    def _find_differing(self, digests: dict[int, int]) -> set[int]:
        given = {"given": msgspec.json.encode(digests).decode()}
        return set(self._connection.scalars(_DIFFERING[self._connection.dialect.name], given))

    def _store_digests(self, batch: FileBatch) -> None:
        """Store the digests of merged rows, but not of complaints that the API showed or lacked later."""
        rows = [
            {"number": str(number), "digest": digest, "minute": self._snapshot.timestamp}
            for number, digest in zip(batch.ids, batch.digests, strict=True)
            if digest is not None
        ]
        if rows:
            self._connection.execute(_STORE_DIGEST, rows)


_DIFFERING = {
    name: text(
        f"SELECT CAST(given.key AS bigint) FROM {function}(CAST(:given AS {kind})) AS given "  # noqa: S608
        "LEFT JOIN stored_complaints c ON c.complaint_id = CAST(given.key AS bigint) "
        "AND c.file_digest = CAST(given.value AS bigint) WHERE c.complaint_id IS NULL"
    )
    for name, function, kind in (("sqlite", "json_each", "text"), ("postgresql", "json_each_text", "json"))
}
_STORE_DIGEST = (
    update(stored_complaints)
    .where(
        stored_complaints.c.complaint_id == bindparam("number"),
        stored_complaints.c.last_seen == bindparam("minute"),
        stored_complaints.c.withdrawn.is_(None),
    )
    .values(file_digest=bindparam("digest"))
)


def _mark_missing_as_last_seen(connection: Connection, ids: BitMap64) -> None:
    """Record that the last complete file was the last that held the complaints that a new one lacks."""
    as_of = select(digested_file.c.as_of).scalar_subquery()
    last_seen = stored_complaints.c.last_seen
    seen_in_file = case((or_(last_seen.is_(None), last_seen < as_of), as_of), else_=last_seen)
    missing = _ids_with_digest(connection) - ids
    numbers = iter(missing)
    while part := list(islice(numbers, _BATCH)):
        connection.execute(
            update(stored_complaints)
            .where(stored_complaints.c.complaint_id.in_(part))
            .values(last_seen=seen_in_file, file_digest=None)
        )


def _ids_with_digest(connection: Connection) -> BitMap64:
    ids = BitMap64()
    found = connection.execute(
        select(type_coerce(stored_complaints.c.complaint_id, Number)).where(
            stored_complaints.c.file_digest.is_not(None)
        ),
        execution_options={"yield_per": _IDS},
    )
    for part in found.scalars().partitions():
        ids |= BitMap64(part)
    return ids
