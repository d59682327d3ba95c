"""Zip files of one CSV, each written once to a temporary file and served from there."""

import csv
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from luigi_etl.sandbox.conditional import Representation
from luigi_etl.sandbox.row import Row

MOST_FILES = 60  # the oldest are removed: each simulated day has a new daily file


class ZipSource(NamedTuple):
    """The content of a zip file."""

    member: str
    modified: datetime
    columns: Mapping[str, str]  # the fields of complaints by label
    rows: Iterable[Row]


class OpenZip(NamedTuple):
    """An open zip file; it can be read even after its removal from the folder."""

    file: BinaryIO
    representation: Representation


class ZipFiles:
    """The zip files in a folder by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, Representation] = {}
        self._lock = threading.Lock()

    def open(self, name: str, source: ZipSource) -> OpenZip:
        """Open a file, and write it first if it does not exist."""
        path = self._folder / name
        with self._lock:
            if name not in self._written:
                self._written[name] = _write(path, source)
                self._remove_oldest()
            return OpenZip(path.open("rb"), self._written[name])

    def _remove_oldest(self) -> None:
        for name in list(self._written)[:-MOST_FILES]:
            del self._written[name]
            (self._folder / name).unlink()


def _write(path: Path, source: ZipSource) -> Representation:
    member = ZipInfo(source.member, source.modified.timetuple()[:6])
    member.compress_type = ZIP_DEFLATED
    with (
        ZipFile(path, "w") as archive,
        archive.open(member, "w", force_zip64=True) as binary,
        io.TextIOWrapper(binary, "utf-8", newline="") as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(source.columns)
        writer.writerows(_cells(source))
    size = path.stat().st_size
    etag = f'"{int(source.modified.timestamp()):x}-{size:x}-{member.CRC:08x}"'
    return Representation(size, etag, source.modified)


def _cells(source: ZipSource) -> Iterator[Iterable[Any]]:
    """Yield the cells of each row; csv writes None as an empty cell."""
    fields = list(source.columns.values())
    for row in source.rows:
        values = {**row.source, "date_received": row.received, "date_sent_to_company": row.sent}
        yield map(values.get, fields)
