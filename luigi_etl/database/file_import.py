"""Import of complaint files: the rows of a file are observations of one moment."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from luigi_etl.bulk.content import ContentFacts
from luigi_etl.common.errors import HeldBackError, NoDatabaseError
from luigi_etl.common.files import atomic_write
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.database.change_log import Key
from luigi_etl.database.connection import Database
from luigi_etl.database.file_merge import merge_file
from luigi_etl.database.file_rows import FileProfile, FileRows
from luigi_etl.database.merge import merge_in_transaction
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import snapshots
from luigi_etl.database.snapshot_record import SnapshotToMerge
from luigi_etl.snapshot.guard import Guard

_GUARD = Guard()


class KnownImport(NamedTuple):
    """An import on record, and whether it proved that complaints are absent."""

    key: Key
    is_complete: bool


class FileImport(NamedTuple):
    """The import of a file: its key in the database, its rows, and whether the content was new.

    `problem`: why withdrawals are held back, or an empty text.
    """

    key: Key
    rows: FileProfile
    is_new: bool
    problem: str = ""


class FileToImport(NamedTuple):
    """A complaint file, and the minute of its data (naive UTC).

    `is_complete`: it holds every complaint of the CFPB, so that another complaint is withdrawn.
    `is_sandbox`: it is of the sandbox; None if nothing shows that.
    """

    path: Path
    facts: ContentFacts
    timestamp: datetime
    is_complete: bool = False
    is_sandbox: bool | None = None


def import_file(
    database: Database,
    file: FileToImport,
    rejected: Path,
    report: ProgressCallback = ignore_progress,
    guard: Guard = _GUARD,
) -> FileImport:
    """Merge a file as one observation; write invalid rows to `rejected`.

    The database has each content once: under another name or minute it changes nothing. `report` gets bytes
    of the CSV: done, expected.

    Raises:
        FileFormatError: the whole file can't be used; the database did not change.
        DamagedFileError: the file changed after its facts were read; the database did not change.
        StorageError: the rejected rows can't be written.
        DatabaseError, DatabaseUnavailableError: see `Database`.

    """
    known = find_import(database, file.facts.content_hash)
    with atomic_write(rejected) as stream:
        rows, problem = FileRows(file.path, file.facts, stream, report), ""
        is_new = False

        def merge_rows(connection: Connection, snapshot: SnapshotRef) -> SnapshotToMerge:
            nonlocal is_new
            is_new = True
            merge_file(connection, snapshot, rows)
            return _settle(described, rows.profile)

        described = _describe(database, file, known)
        try:
            merge_in_transaction(database, described, merge_rows, guard)
        except HeldBackError as error:  # every valid row is merged
            problem = str(error)
        if not is_new:  # of a merged content only the rejected rows are written
            for _ in rows.batches():
                pass
    merged = find_import(database, file.facts.content_hash)
    assert merged  # noqa: S101  # for mypy
    return FileImport(merged.key, rows.profile, is_new, problem)


def _settle(snapshot: SnapshotToMerge, rows: FileProfile) -> SnapshotToMerge:
    """Return the snapshot after the last row: a rejected row may be any complaint."""
    is_complete = snapshot.is_complete and not rows.rejected
    return snapshot._replace(rows=rows.valid, is_complete=is_complete, is_whole=is_complete)


def find_import(database: Database, content_hash: str) -> KnownImport | None:
    """Return the import of a content that is on record, or None.

    Raises:
        DatabaseError, DatabaseUnavailableError: see `Database`.

    """
    try:
        with database.reading() as connection:
            columns = (snapshots.c.timestamp, snapshots.c.query, snapshots.c.row_limit, snapshots.c.source)
            row = connection.execute(
                select(*columns, snapshots.c.is_complete).where(snapshots.c.source == content_hash)
            ).first()
    except NoDatabaseError:
        return None
    return KnownImport(Key(*row[:4]), row.is_complete) if row else None


def _describe(database: Database, file: FileToImport, known: KnownImport | None) -> SnapshotToMerge:
    return SnapshotToMerge(
        known.key.timestamp if known else file.timestamp,
        query="",
        limit=0,
        rows=0,
        last_indexed=None,
        is_complete=file.is_complete or bool(known and known.is_complete),
        is_sandbox=_holds_sandbox(database) if file.is_sandbox is None else file.is_sandbox,
        content_hash=file.facts.content_hash,
        source=file.facts.content_hash,
    )


def _holds_sandbox(database: Database) -> bool:
    """Return whether the database holds the sandbox's complaints; a file does not show its origin."""
    try:
        with database.reading() as connection:
            return bool(connection.scalar(select(snapshots.c.is_sandbox).limit(1)))
    except NoDatabaseError:
        return False
