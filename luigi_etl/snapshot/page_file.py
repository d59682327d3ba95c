"""The page file of an extraction: the API's pages, unchanged, one per line, in gzip.

Each page is a separate gzip member. The comment in its header (FCOMMENT, RFC 1952) is the address of the
request. So `zcat` prints the pages, the file records the requests, and an interrupted extraction continues
after the last complete member.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO, FileIO
from pathlib import Path
from typing import IO

from luigi_etl.api.page import Page
from luigi_etl.common.errors import DamagedFileError, TransientError
from luigi_etl.common.files import storage_errors, sync, sync_folder
from luigi_etl.common.locks import ROOT_WITH_LOCKS, lock
from luigi_etl.snapshot.paths import PARTIAL_SUFFIX

_COMPRESSION = 1  # several times faster than the default, for 50 % more bytes
_CHUNK = 1 << 14  # bytes; the output of a larger chunk would not fit into the processor's cache
_LONGEST_HEADER = 1 << 16  # bytes
_GZIP = 16 + zlib.MAX_WBITS  # 16 selects the gzip format
# With a comment, without time and system: the same pages give the same bytes.
_HEADER = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"


def read_pages(path: Path) -> Iterator[Page]:
    """Yield the pages of a finished file, in their order; only one page is in memory at a time.

    Raises:
        DamagedFileError: the file is missing, cut, or not gzip.

    """
    try:
        with path.open("rb") as stream:
            reader = _PageReader(stream)
            yield from iter(reader.next, None)
            is_whole = 0 < reader.end == os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise DamagedFileError(f"cannot read {path}: {error.strerror or error}") from error
    if not is_whole:
        raise DamagedFileError.of(path, f"is damaged after byte {reader.end}", "fetch its pages again")


class PageFile:
    """The pages of an unfinished extraction, in a partial file beside `path`.

    Raises:
        StorageError: the file can't be written; it still ends with a complete page.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._stream: FileIO | None = None

    @contextlib.contextmanager
    def open_locked(self) -> Iterator["PageFile"]:
        """Open and lock the partial file.

        Raises:
            TransientError: another process is extracting the same file.

        """
        with storage_errors(self.partial):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            stream = self.partial.open("a+b", buffering=0)
        with stream:
            if not lock(stream, self.partial, ROOT_WITH_LOCKS):
                raise TransientError(f"another process is extracting {self.path.name}")
            self._stream = stream
            try:
                yield self
            finally:
                self._stream = None
                if os.fstat(stream.fileno()).st_size == 0:
                    self.partial.unlink(missing_ok=True)

    def recover(self) -> Iterator[Page]:
        """Yield the complete pages of an interrupted extraction, then cut off any bytes after them."""
        stream = self._open_stream()
        stream.seek(0)
        reader = _PageReader(stream)
        yield from iter(reader.next, None)
        with storage_errors(self.partial):
            stream.truncate(reader.end)

    def append(self, page: Page) -> None:
        """Append a page and sync it to disk."""
        stream = self._open_stream()
        with storage_errors(self.partial):
            end = os.fstat(stream.fileno()).st_size
            try:
                rest = memoryview(_compress(page))
                while rest:
                    rest = rest[stream.write(rest) :]
                sync(stream)
            except OSError:
                stream.truncate(end)
                raise

    def discard(self) -> None:
        """Remove all pages."""
        with storage_errors(self.partial):
            self._open_stream().truncate(0)

    def finish(self) -> None:
        """Give the file its final name."""
        with storage_errors(self.path):
            sync(self._open_stream())
            self.partial.replace(self.path)
            sync_folder(self.path.parent)

    def _open_stream(self) -> FileIO:
        if self._stream is None:
            raise ValueError(f"{self.partial} is not open")
        return self._stream


def _compress(page: Page) -> bytes:
    deflate = zlib.compressobj(_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = deflate.compress(page.body) + deflate.compress(b"\n") + deflate.flush()
    checks = struct.pack("<II", zlib.crc32(b"\n", zlib.crc32(page.body)), len(page.body) + 1)
    return b"".join((_HEADER, page.address.encode("latin-1"), b"\0", content, checks))


class _PageReader:
    """Reader of pages, one per gzip member; `end` is the offset after the last complete page."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.end = 0
        self._stream = stream
        self._data = b""
        self._offset = 0

    def next(self) -> Page | None:
        """Return the next page, or None if there is no complete one."""
        inflate = zlib.decompressobj(_GZIP)
        header = b""
        body = BytesIO()  # a joined list of parts would need twice the memory
        while not inflate.eof:
            self._data = self._data or self._stream.read(_CHUNK)
            if not self._data:
                return None
            if b"\0" not in header[len(_HEADER) :]:
                header += self._data[:_LONGEST_HEADER]
            try:
                body.write(inflate.decompress(self._data))
            except zlib.error:
                return None
            self._offset += len(self._data) - len(inflate.unused_data)
            self._data = inflate.unused_data
        address, zero, _ = header[len(_HEADER) :].partition(b"\0")
        if not (header.startswith(_HEADER) and zero):
            return None
        self.end = self._offset
        return Page(address.decode("latin-1"), body.getvalue())
