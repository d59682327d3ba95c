"""The CSV of a snapshot, and the link to the newest CSV of a query."""

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
from luigi_etl.snapshot.columns import Column, find_columns, parse_columns
from luigi_etl.snapshot.csv_format import Block, Cell, csv_blocks
from luigi_etl.snapshot.paths import latest_lock

_ROWS_BETWEEN_REPORTS = 10_000
_READ_AT_ONCE = 1 << 18  # bytes


class StoredFile(NamedTuple):
    """The columns of a CSV, its number of rows without the header, its size in bytes and its SHA-256.

    `parsed_sha256` is the hash of the file of parsed complaints. Hashes are hexadecimal.
    """

    columns: tuple[Column, ...]
    rows: int
    size: int
    sha256: str
    parsed_sha256: str


def create_document(path: Path, columns: str) -> int:
    """Write an empty document, the header of the chosen columns; return the number of columns.

    `columns` is a text for `parse_columns`.
    """
    chosen = parse_columns(columns)
    with atomic_write(path) as stream:
        stream.writelines(block.lines for block in csv_blocks(list_labels(chosen), []))
    return len(chosen)


def store(
    document: Path,
    parsed: Path,
    target: Path,
    expected: int,
    modified: datetime,
    report: ProgressCallback = ignore_progress,
) -> StoredFile:
    """Write the parsed complaints to `target` as CSV (see `csv_blocks`), in the columns of the document.

    Missing and null values become empty cells. `modified` (naive UTC) becomes the file's modification
    time. `report` is called after each 10,000 rows.

    Raises:
        DamagedFileError: the document or the file of parsed complaints is damaged, or the number of
            complaints differs from `expected`.
        StorageError: the file can't be written.

    """
    columns = read_columns(document)
    parsed_sha256 = hashlib.sha256()
    rows = 0
    with atomic_write(target) as stream:
        writer = _HashingWriter(stream)
        for block in format_csv(columns, parsed, parsed_sha256):
            writer.write(block.lines)
            rows += block.rows
            if rows and rows % _ROWS_BETWEEN_REPORTS == 0:
                report(rows, expected)
        if rows != expected:
            raise DamagedFileError.of(parsed, f"holds {rows:,} of {expected:,} complaints", "parse again")
        stream.flush()
        os.utime(stream.fileno(), (_unix_time(modified),) * 2)
    return StoredFile(columns, rows, writer.size, writer.sha256.hexdigest(), parsed_sha256.hexdigest())


def list_labels(columns: Iterable[Column]) -> list[str]:
    """Return the labels of columns, for a header."""
    return [column.label for column in columns]


def publish(stored: Path, latest: Path) -> bool:
    """Link `stored` as `latest`, unless `latest` belongs to a newer snapshot; return whether it was linked.

    A CSV's modification time is its snapshot's minute, so modification times are compared.
    """
    with storage_errors(latest):
        latest.parent.mkdir(parents=True, exist_ok=True)
        with locked(latest_lock(latest), ROOT_WITH_LOCKS):
            if latest.exists() and latest.stat().st_mtime > stored.stat().st_mtime:
                return False
            _link(latest, stored)
            sync_folder(latest.parent)
    return True


def _link(latest: Path, stored: Path) -> None:
    temporary = temporary_path(latest)
    try:
        temporary.hardlink_to(stored)
    except OSError:  # the file system has no hard links
        with atomic_write(latest) as target, stored.open("rb") as source:
            shutil.copyfileobj(source, target)
            target.flush()
            os.utime(target.fileno(), (stored.stat().st_mtime,) * 2)
        return
    temporary.replace(latest)
    temporary.unlink(missing_ok=True)  # a rename between two links to the same file does nothing


def format_csv(columns: Sequence[Column], parsed: Path, sha256: "hashlib._Hash") -> Iterator[Block]:
    """Yield the CSV of the parsed complaints, header first; update `sha256` with the bytes of `parsed`.

    Raises:
        DamagedFileError: the file of parsed complaints is damaged.

    """
    return csv_blocks(list_labels(columns), _read_rows(parsed, columns, sha256))


def read_columns(document: Path) -> tuple[Column, ...]:
    """Return the columns of a document.

    Raises:
        DamagedFileError: the document is missing or damaged.

    """
    try:
        with document.open(encoding="utf-8", newline="") as stream:
            return find_columns(next(csv.reader(stream)))
    except (OSError, ValueError, StopIteration, csv.Error) as error:
        raise DamagedFileError.of(document, error, "create it again") from error


def _read_rows(path: Path, columns: Sequence[Column], sha256: "hashlib._Hash") -> Iterator[tuple[Cell, ...]]:
    """Yield the cells of each parsed complaint; None for a missing value."""
    fields = [(column.field, str | bool | None, None) for column in columns]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Row", fields, gc=False))
    try:
        with path.open("rb") as stream:
            while lines := stream.read(_READ_AT_ONCE):
                lines += stream.readline()
                sha256.update(lines)
                yield from map(msgspec.structs.astuple, _decode_lines(decoder, lines))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, "parse again") from error


def _decode_lines(decoder: msgspec.json.Decoder[Any], lines: bytes) -> list[Any]:
    rows: list[Any] = decoder.decode_lines(lines)
    if len(rows) < lines.count(b"\n"):
        raise ValueError("an empty line")
    return rows


def _unix_time(moment: datetime) -> float:
    return moment.replace(tzinfo=timezone.utc).timestamp()


class _HashingWriter:
    """Writer that counts and hashes the bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._stream = stream

    def write(self, lines: bytes) -> None:
        """Write lines."""
        self._stream.write(lines)
        self.sha256.update(lines)
        self.size += len(lines)
