"""Import of complaint files: the rows of a file are observations of one moment."""

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from msgspec import UNSET
from sqlalchemy import select

from luigi_etl.bulk.containers import open_content
from luigi_etl.bulk.content import ContentFacts, HashedStream
from luigi_etl.bulk.rows import Batch, Row, RowReader
from luigi_etl.common.errors import DamagedFileError, FileFormatError, HeldBackError, NoDatabaseError
from luigi_etl.common.files import atomic_write
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.database.change_log import Key, has_sources
from luigi_etl.database.connection import Database
from luigi_etl.database.merge import SnapshotToMerge, merge_observations
from luigi_etl.database.observations import Observation, ObservedValue
from luigi_etl.database.schema import DATES, FIELDS, snapshots
from luigi_etl.snapshot.guard import Guard
from luigi_etl.snapshot.ids import IdSet

_GUARD = Guard()


class FileProfile(msgspec.Struct):
    """The numbers of valid rows, of rejected ones, and of those whose id an earlier row has.

    `unknown_labels` are the columns that are no field of a complaint.
    """

    valid: int = 0
    rejected: int = 0
    repeated: int = 0
    unknown_labels: list[str] = []

    @property
    def total(self) -> int:
        """The number of all rows."""
        return self.valid + self.rejected + self.repeated


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
    rows, problem = FileProfile(), ""
    known = find_import(database, file.facts.content_hash)
    with atomic_write(rejected) as stream:
        observations = _read_observations(file.path, file.facts, rows, stream, report)
        snapshot = _describe(database, file, known)
        try:
            merge_observations(
                database, snapshot, observations, guard=guard, settle=lambda one: _settle(one, rows)
            )
        except HeldBackError as error:  # every valid row is merged
            problem = str(error)
        for _ in observations:  # of a merged content only the rejected rows are written
            pass
    merged = known or find_import(database, file.facts.content_hash)
    assert merged  # noqa: S101  # for mypy
    return FileImport(merged.key, rows, known is None, problem)


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
            if not has_sources(connection):
                return None
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


def _read_observations(
    path: Path, facts: ContentFacts, rows: FileProfile, rejected: IO[bytes], report: ProgressCallback
) -> Iterator[Observation]:
    try:
        with open_content(path) as content:
            stream = HashedStream(content.stream, lambda done: report(done, facts.size))
            reader = RowReader(stream, is_checked=content.is_checked)
            rows.unknown_labels = reader.unknown_labels
            converter = _Converter(reader.fields)
            for batch in reader.batches():
                _write_rejected(batch, rejected)
                observations = converter.convert(batch.rows)
                rows.valid += len(observations)
                rows.rejected += len(batch.rejected)
                rows.repeated += len(batch.rows) - len(observations)
                yield from observations
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except OSError as error:
        raise DamagedFileError.of(path, error) from error
    if stream.content_hash != facts.content_hash:
        raise DamagedFileError(f"{path} changed during the import; import it again")


def _write_rejected(batch: Batch, stream: IO[bytes]) -> None:
    for one in batch.rejected:
        stream.write(msgspec.json.encode(one._asdict()) + b"\n")


class _Converter:
    """Converts the rows of a file with these fields; the first row of an id counts."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._id_at = fields.index("complaint_id")
        self._places = [fields.index(field) if field in fields else None for field in FIELDS]
        self._date_places = [at for at, field in enumerate(FIELDS) if field in DATES and field in fields]
        self._ids = IdSet()
        self._days: dict[str, date] = {}

    def convert(self, rows: list[Row]) -> list[Observation]:
        new = self._ids.add(str(row[self._id_at]) for row in rows)
        return [
            Observation(str(row[self._id_at]), self._values(row))
            for row, is_new in zip(rows, new, strict=True)
            if is_new
        ]

    def _values(self, row: Row) -> tuple[ObservedValue, ...]:
        values: list[ObservedValue] = [UNSET if at is None else row[at] for at in self._places]
        for at in self._date_places:
            if isinstance(day := values[at], str):
                values[at] = self._day(day)
        return tuple(values)

    def _day(self, text: str) -> date:
        day = self._days.get(text)
        if day is None:
            day = self._days[text] = date.fromisoformat(text)
        return day
