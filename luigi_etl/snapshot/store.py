"""From typed complaints to the CSV, its description, and the newest one's fixed place."""

import csv
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.files import atomic_write, storage_errors, sync_folder, temporary_path
from luigi_etl.common.locks import ROOT_WITH_LOCKS, locked
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.snapshot.columns import Column, columns_labelled, parse_columns
from luigi_etl.snapshot.csv_format import Block, Cell, csv_blocks
from luigi_etl.snapshot.paths import latest_lock

_ROWS_BETWEEN_REPORTS = 10_000
_READ_AT_ONCE = 1 << 18


class StoredFile(NamedTuple):
    """A CSV as written: its columns, number of rows (header aside), bytes and SHA-256 (hex).

    `parsed_sha256` is that of the parsed complaints it was made of.
    """

    columns: tuple[Column, ...]
    rows: int
    size: int
    sha256: str
    parsed_sha256: str


def create_document(path: Path, columns: str) -> int:
    """Write an empty document: the header of the columns named (see `parse_columns`); return how many."""
    chosen = parse_columns(columns)
    with atomic_write(path) as stream:
        stream.writelines(block.lines for block in csv_blocks(labels(chosen), []))
    return len(chosen)


def store(
    document: Path,
    parsed: Path,
    target: Path,
    expected: int,
    modified: datetime,
    report: ProgressCallback = ignore_progress,
) -> StoredFile:
    """Fill the document with the parsed complaints and write it to `target` as CSV (see `csv_blocks`).

    A missing value is as one that is null. The file's modification time becomes `modified` (naive UTC).
    `report` hears of every ten thousandth row.

    Raises:
        DamagedFileError: the document or the parsed complaints are not what their tasks wrote, or the
            latter are not as many as `expected`.
        StorageError: the file can't be written.

    """
    columns = read_columns(document)
    parsed_sha256 = hashlib.sha256()
    rows = 0
    with atomic_write(target) as stream:
        measured = _Measured(stream)
        for block in filled(columns, parsed, parsed_sha256):
            measured.write(block.lines)
            rows += block.rows
            if rows and rows % _ROWS_BETWEEN_REPORTS == 0:
                report(rows, expected)
        if rows != expected:
            raise DamagedFileError.of(parsed, f"holds {rows:,} complaints of {expected:,}", "parse again")
        stream.flush()
        os.utime(stream.fileno(), (_seconds(modified),) * 2)
    return StoredFile(columns, rows, measured.size, measured.sha256.hexdigest(), parsed_sha256.hexdigest())


def labels(columns: Iterable[Column]) -> list[str]:
    """Return the header for columns."""
    return [column.label for column in columns]


def publish(stored: Path, latest: Path) -> bool:
    """Give `stored` the fixed name `latest` too, unless what has it is of a newer snapshot.

    The snapshot's minute is the file's modification time, so the two can't disagree. Returns
    whether the name changed hands.
    """
    with storage_errors(latest):
        latest.parent.mkdir(parents=True, exist_ok=True)
        with locked(latest_lock(latest), ROOT_WITH_LOCKS):
            if latest.exists() and latest.stat().st_mtime > stored.stat().st_mtime:
                return False
            _replace(latest, stored)
            sync_folder(latest.parent)
    return True


def _replace(latest: Path, stored: Path) -> None:
    temporary = temporary_path(latest)
    try:
        temporary.hardlink_to(stored)
    except OSError:  # a file system without hard links
        with atomic_write(latest) as target, stored.open("rb") as source:
            shutil.copyfileobj(source, target)
            target.flush()
            os.utime(target.fileno(), (stored.stat().st_mtime,) * 2)
        return
    temporary.replace(latest)
    temporary.unlink(missing_ok=True)  # renaming a file to another name of its own does nothing


def filled(columns: Sequence[Column], parsed: Path, sha256: "hashlib._Hash") -> Iterator[Block]:
    """Give the CSV of the parsed complaints, a header first; `sha256` takes in the file.

    Raises:
        DamagedFileError: it is not what ParseComplaints wrote.

    """
    return csv_blocks(labels(columns), _read_rows(parsed, columns, sha256))


def read_columns(document: Path) -> tuple[Column, ...]:
    """Return the columns of a document.

    Raises:
        DamagedFileError: it is not what CreateDocument wrote.

    """
    try:
        with document.open(encoding="utf-8", newline="") as stream:
            return columns_labelled(next(csv.reader(stream)))
    except (OSError, ValueError, StopIteration, csv.Error) as error:
        raise DamagedFileError.of(document, error, "create it again") from error


def _read_rows(path: Path, columns: Sequence[Column], sha256: "hashlib._Hash") -> Iterator[tuple[Cell, ...]]:
    """Give of each parsed complaint the cells of the columns; None for what it does not have."""
    fields = [(column.field, str | bool | None, None) for column in columns]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Row", fields, gc=False))
    try:
        with path.open("rb") as stream:
            while lines := stream.read(_READ_AT_ONCE):
                lines += stream.readline()
                sha256.update(lines)
                yield from map(msgspec.structs.astuple, _decoded(decoder, lines))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, "parse again") from error


def _decoded(decoder: msgspec.json.Decoder[Any], lines: bytes) -> list[Any]:
    rows: list[Any] = decoder.decode_lines(lines)
    if len(rows) < lines.count(b"\n"):
        raise ValueError("an empty line")
    return rows


def _seconds(moment: datetime) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp()


class _Measured:
    """Measures what it writes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._stream = stream

    def write(self, lines: bytes) -> None:
        """Write lines."""
        self._stream.write(lines)
        self.sha256.update(lines)
        self.size += len(lines)
