"""Zip files of one CSV, each written once to a temporary file and served from there."""

import csv
import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
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
    """Zip files by name, in a temporary folder that exists from the first file on until `close`."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None
        self._written: dict[str, Representation] = {}
        self._lock = threading.Lock()

    def open(self, name: str, source: ZipSource) -> OpenZip:
        """Open a file, and write it first if it does not exist."""
        with self._lock:
            folder = self._make_folder()
            if name not in self._written:
                self._written[name] = _write(folder / name, source)
                self._remove_oldest(folder)
            return OpenZip((folder / name).open("rb"), self._written[name])

    def close(self) -> None:
        """Remove the folder."""
        with self._lock:
            if self._folder:
                self._folder.cleanup()

    def _make_folder(self) -> Path:
        if not self._folder:
            self._folder = TemporaryDirectory(prefix="luigi_etl-sandbox-")
        return Path(self._folder.name)

    def _remove_oldest(self, folder: Path) -> None:
        for name in list(self._written)[:-MOST_FILES]:
            del self._written[name]
            (folder / name).unlink()


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
