"""Download of a complaint file: it resumes, proves that it is whole, and asks only for a new version."""

import codecs
import hashlib
import re
import shutil
from collections.abc import Mapping
from typing import IO
from urllib.parse import urlsplit

import msgspec

from luigi_etl.api.body import WebError
from luigi_etl.api.session import OpenResponse, Session, Timeouts
from luigi_etl.api.settings import Settings
from luigi_etl.api.status import read_retry_after
from luigi_etl.bulk.file_version import FileVersion, describe_version, read_version, write_version
from luigi_etl.common.errors import RefusedError, StorageError, TransientError
from luigi_etl.common.files import storage_errors, sync, sync_folder
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.common.terminal import brief
from luigi_etl.snapshot.paths import DownloadPaths

MOST_BYTES = 20_000_000_000  # the CFPB's largest file has 1.4 GB
LONGEST = 86_400.0  # seconds, without a deadline in the settings
_BLOCK = 1 << 20  # bytes
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})")


def download(
    address: str,
    paths: DownloadPaths,
    settings: Settings,
    report: ProgressCallback = ignore_progress,
) -> FileVersion | None:
    """Download the file at an address if it differs from the version on record; None if it does not.

    An interrupted download resumes where the server allows it. `report` gets bytes: done, expected.

    Raises:
        TransientError: the download failed; the next one resumes it.
        RefusedError: the server redirects, refuses the request, or sends a web page.
        PermanentError: the address, or a proxy or certificates in the environment, can't be used.
        StorageError: the disk is full, or a file can't be written.

    """
    with storage_errors(paths.file):
        paths.file.parent.mkdir(parents=True, exist_ok=True)
    # Ranges count the bytes of the encoded body, so ask for none.
    with Session(address, {"Accept-Encoding": "identity", **settings.agent_header}) as session:
        return _Download(address, paths, settings, report).run(session)


def check_file_status(address: str, status: int, headers: Mapping[str, str]) -> None:
    """Raise an error unless the status is 200 or 206.

    Raises:
        TransientError: a retry may help (408, 429, 5xx).
        RefusedError: a retry can't help.

    """
    host = urlsplit(address).netloc
    if 300 <= status < 400 and "Location" in headers:
        target = _find_host(headers["Location"]) or host  # the rest can hold a password or a token
        raise RefusedError(f"{host}: status {status} to {target}, which is not followed; check the address")
    if status in (408, 429) or status >= 500:
        raise TransientError(f"{host}: status {status}", read_retry_after(headers))
    if status not in (200, 206):
        raise RefusedError(f"{host}: status {status} for {address}; check the address")


class _Download:
    def __init__(
        self, address: str, paths: DownloadPaths, settings: Settings, report: ProgressCallback
    ) -> None:
        self._address = address
        self._paths = paths
        self._report = report
        self._host = urlsplit(address).netloc
        self._timeouts = Timeouts(
            settings.connect_timeout, settings.read_timeout, settings.deadline or LONGEST
        )

    def run(self, session: Session) -> FileVersion | None:
        begun = self._begun_version()
        if begun and begun.size == self._done():  # killed before the file got its name
            return self._complete(begun)
        try:
            conditions = self._conditions(begun)
            with session.opening(self._address, self._timeouts, conditions) as response:
                if response.status == 304 and conditions and not begun:
                    return None
                self._check(response, begun)
                version = self._receive(response, begun)
        except WebError as error:
            raise TransientError(f"{self._host}: {error}") from None
        return self._complete(version)

    def _begun_version(self) -> FileVersion | None:
        """Return the version of the incomplete file, or None if it can't be resumed."""
        version = read_version(self._paths.partial_version)
        if version and version.range_validator and version.address == self._address and self._done():
            return version
        return None

    def _done(self) -> int:
        """Return the size of the incomplete file."""
        try:
            return self._paths.partial.stat().st_size
        except OSError:
            return 0

    def _conditions(self, begun: FileVersion | None) -> dict[str, str]:
        if begun:
            return {"Range": f"bytes={self._done()}-", "If-Range": begun.range_validator}
        known = read_version(self._paths.version)
        if known is None or known.address != self._address:
            return {}
        conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
        return {name: value for name, value in conditions.items() if value}

    def _check(self, response: OpenResponse, begun: FileVersion | None) -> None:
        """Check that a response is a file or a part of it."""
        if response.status == 304 and begun:  # resuming would fail for ever
            self._discard()
            raise TransientError(
                f"{self._host}: status 304 to a request for the rest of the file; the download starts again"
            )
        if response.status == 416:
            self._discard()
            raise TransientError(f"{self._host}: the file is shorter than before; the download starts again")
        check_file_status(self._address, response.status, response.headers)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "text/html":
            raise RefusedError(f"{self._host}: the response is a web page, not a file; check the address")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise RefusedError(f"{self._host}: the response is encoded, though none was asked for")

    def _receive(self, response: OpenResponse, begun: FileVersion | None) -> FileVersion:
        """Append the body to the incomplete file; return the version of the file."""
        version = describe_version(self._address, response.headers)
        if response.status == 206:
            version = self._check_part(version, response.headers, begun)
        else:
            self._discard()
            write_version(self._paths.partial_version, version)
        self._check_room(version)
        with storage_errors(self._paths.partial), self._paths.partial.open("ab") as file:
            self._append(response, file, version)
            sync(file)
        done = self._done()
        if version.size is not None and done != version.size:
            raise WebError(f"{done:,} of {version.size:,} bytes arrived")
        return version

    def _check_part(
        self, version: FileVersion, headers: Mapping[str, str], begun: FileVersion | None
    ) -> FileVersion:
        """Return the version of the whole file, of which the response is the rest."""
        span = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        is_next = begun and span and int(span[1]) == self._done() and begun.size in (None, int(span[2]))
        if not begun or not span or not is_next or not _is_same_version(version, begun):
            self._discard()
            raise TransientError(f"{self._host}: the file changed during the download; it starts again")
        return msgspec.structs.replace(begun, size=int(span[2]))

    def _check_room(self, version: FileVersion) -> None:
        if version.size is None:
            return
        if version.size > MOST_BYTES:
            raise RefusedError(f"{self._host}: {version.size:,} bytes are more than any complaint file has")
        with storage_errors(self._paths.partial):
            free = shutil.disk_usage(self._paths.partial.parent).free
        missing = version.size - self._done() - free
        if missing > 0:
            raise StorageError(
                f"cannot write {self._paths.file}: {missing:,} bytes are missing on the disk; "
                "make room there, or set [storage] root"
            )

    def _append(self, response: OpenResponse, file: IO[bytes], version: FileVersion) -> None:
        done = file.tell()
        for chunk in response.chunks:
            if not done and chunk.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
                raise RefusedError(f"{self._host}: the response is a web page, not a file; check the address")
            done += len(chunk)
            if done > (MOST_BYTES if version.size is None else version.size):
                raise WebError("the file is longer than announced")
            file.write(chunk)
            self._report(done, version.size or done)

    def _complete(self, version: FileVersion) -> FileVersion:
        """Give the whole file its name, then record its version: without the record it is not used."""
        paths = self._paths
        with storage_errors(paths.file):
            sha256 = hashlib.sha256()
            with paths.partial.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    sha256.update(block)
            paths.version.unlink(missing_ok=True)
            paths.partial.replace(paths.file)
            sync_folder(paths.file.parent)
            paths.partial_version.unlink(missing_ok=True)
            size = paths.file.stat().st_size
        whole = msgspec.structs.replace(version, size=size, sha256=sha256.hexdigest())
        write_version(paths.version, whole)
        return whole

    def _discard(self) -> None:
        with storage_errors(self._paths.partial):
            self._paths.partial.unlink(missing_ok=True)
            self._paths.partial_version.unlink(missing_ok=True)


def _is_same_version(part: FileVersion, begun: FileVersion) -> bool:
    """Return whether a part belongs to the begun version, as far as its validators show."""
    return (part.etag or begun.etag) == begun.etag and (
        part.last_modified or begun.last_modified
    ) == begun.last_modified


def _find_host(location: str) -> str:
    """Return the host and port of an address, without credentials; empty if it names none."""
    try:
        return brief(urlsplit(location).netloc.rpartition("@")[2])
    except ValueError:
        return ""
