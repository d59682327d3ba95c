"""The CFPB's files as its static hosting serves them: the daily file, and the narratives archive."""

import threading
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from email.message import Message
from typing import NamedTuple

from luigi_etl.sandbox.answer import Answer, FilePart, web_page
from luigi_etl.sandbox.archive import (
    ARCHIVE_COLUMNS,
    DOCUMENTS,
    PAGE,
    PUBLISHED,
    ArchiveFile,
    archive_files,
    archive_page,
)
from luigi_etl.sandbox.conditional import Representation, select
from luigi_etl.sandbox.editions import is_in_part
from luigi_etl.sandbox.export import COLUMNS
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.row import Row
from luigi_etl.sandbox.script import Event
from luigi_etl.sandbox.zip_files import OpenZip, ZipFiles, ZipSource

SANDBOX = "Luigi-Etl-Sandbox"  # the header that marks a file as none of the CFPB's
DAILY = "/ccdb/complaints.csv.zip"
FOLDERS = ("/ccdb/", DOCUMENTS)
OTHER_NAME = "localhost"  # another host name, which leads to this server, too


class FileRequest(NamedTuple):
    """A GET or HEAD request for a file."""

    method: str
    path: str
    headers: Message


class Files:
    """The files of an index, written when they are first requested, and removed by `close`."""

    def __init__(self, index: Index, host: str, port: int) -> None:
        self._index = index
        self._host = host
        self._port = port
        self._zips = ZipFiles()
        self._archive: dict[str, ArchiveFile] = {}
        self._lock = threading.Lock()

    def answer(self, request: FileRequest, events: list[Event]) -> Answer:
        """Answer a request for a file or for the archive's page, with the faults of the script."""
        faults = {event.name: event.value for event in events}
        if "redirect" in faults:
            return _redirect(f"http://{OTHER_NAME}:{self._port}{request.path}")
        if "status" in faults:
            return _error(int(faults["status"]))
        if "html" in faults:
            return web_page(200, "Consumer Complaint Database")
        if request.path == PAGE:
            return self._page(faults.keys())
        found = self._open(request.path, faults.keys())
        return _part(request, found, faults.keys()) if found else _error(404)

    def close(self) -> None:
        """Remove the files."""
        self._zips.close()

    def _page(self, faults: Collection[str]) -> Answer:
        files = self._archive_files()
        if not files:
            return _error(404)
        if "no_links" in faults:
            files = {}
        host = OTHER_NAME if "foreign_links" in faults else self._host
        page = archive_page(files, f"http://{host}:{self._port}")
        answer = Answer(200, page, "text/html; charset=utf-8")
        return answer.halved() if "truncate" in faults else answer

    def _open(self, path: str, faults: Collection[str]) -> OpenZip | None:
        divisor = 0 if "empty" in faults else 2 if "half" in faults else 1
        if path == DAILY:
            edition = self._index.editions.daily[0 if "yesterday" in faults else -1]
            columns = {label: field for label, field in COLUMNS.items() if field not in edition.era.gone}
            rows = _in_no_order(edition.rows, divisor)
            source = ZipSource("complaints.csv", edition.published, columns, rows)
            return self._zips.open(f"{edition.published:%Y-%m-%dT%H%M%S}-{divisor}.zip", source)
        name = path.removeprefix(DOCUMENTS)
        file = self._archive_files().get(name)
        if not file:
            return None
        rows = file.with_narratives(_in_no_order(file.rows, divisor))
        source = ZipSource(f"{name[:-4]}.csv", PUBLISHED, ARCHIVE_COLUMNS, rows)
        return self._zips.open(f"{divisor}-{name}", source)

    def _archive_files(self) -> dict[str, ArchiveFile]:
        with self._lock:
            if not self._archive:
                self._archive = archive_files(self._index)
            return self._archive


def is_file(path: str) -> bool:
    """Return whether a path is that of the archive's page, or lies in a folder of files."""
    return path == PAGE or path.startswith(FOLDERS)


def _part(request: FileRequest, found: OpenZip, faults: Collection[str]) -> Answer:
    file = _distorted(found.representation, faults)
    selection = select(request.method, request.headers, file)
    headers = {SANDBOX: "generated", **file.headers, **selection.headers}
    body = FilePart(found.file, selection.start, selection.stop)
    has_length = selection.status != 304 and "no_length" not in faults
    return Answer(selection.status, body, "application/zip", tuple(headers.items()), has_length)


def _distorted(file: Representation, faults: Collection[str]) -> Representation:
    if "truncate" in faults:
        file = file._replace(size=file.size // 2)
    if "replaced" in faults and file.modified:
        file = file._replace(etag=f'{file.etag[:-1]}-2"', modified=file.modified + timedelta(hours=1))
    if "no_validators" in faults:
        file = file._replace(etag="", modified=None)
    return file._replace(has_ranges="no_ranges" not in faults)


def _in_no_order(rows: list[Row], divisor: int) -> Iterator[Row]:
    """Yield one complaint in `divisor`; ids read backwards are an order without a use."""
    for row in sorted(rows, key=lambda row: row.identifier[::-1]):
        if is_in_part(row, divisor):
            yield row


def _error(status: int) -> Answer:
    if 300 <= status < 400:
        return _redirect("https://elsewhere.example/", status)
    answer = web_page(status, f"{status} from the file server")
    return replace(answer, headers=(("Retry-After", "1"),)) if status == 429 else answer


def _redirect(address: str, status: int = 302) -> Answer:
    return Answer(status, b"", "text/html", (("Location", address),))
