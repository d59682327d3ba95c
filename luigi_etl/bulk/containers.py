"""The CSV inside a complaint file: zip, gzip or plain."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from luigi_etl.common.errors import FileFormatError

LARGEST_RATIO = 200  # content to compressed bytes; the CFPB's files have 15
ANY_RATIO = 100_000_000  # bytes of content that are not too many for any file
_UNSUPPORTED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"\x28\xb5\x2f\xfd": "Zstandard"}


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


class Content(NamedTuple):
    """The content of a file.

    `is_checked` is true if the container has a checksum of it. `modified` is the time of a zip archive's
    member (naive, the packer's local time), None for other files.
    """

    stream: Readable
    is_checked: bool
    modified: datetime | None = None


@contextmanager
def open_content(path: Path) -> Iterator[Content]:
    """Open the CSV in a file.

    Raises:
        FileFormatError: the file is damaged or of an unknown kind; also while the block reads the stream.
        OSError: the file can't be opened or read.

    """
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        try:
            if start.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    member = _find_member(archive)
                    with archive.open(member) as stream:
                        yield Content(stream, is_checked=True, modified=_find_date(member))
            elif start.startswith(b"\x1f\x8b"):
                with gzip.open(file) as unpacked:
                    yield Content(_LimitedStream(unpacked, path.stat().st_size), is_checked=True)
            else:
                _check_kind(start)
                yield Content(file, is_checked=False)
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError) as error:
            raise FileFormatError(f"it is cut off or damaged ({error}); copy or download it again") from error
        except (NotImplementedError, RuntimeError) as error:  # another compression method, a password
            raise FileFormatError(f"{error}; unpack it and import the CSV") from error


def _find_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        one
        for one in archive.infolist()
        if one.filename.lower().endswith(".csv") and not one.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise FileFormatError(f"it holds {len(members):,} CSV files; unpack it and import one of them")
    (member,) = members
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileFormatError("it is compressed with another method than Deflate; import the unpacked CSV")
    _check_ratio(member.file_size, member.compress_size)
    return member


def _find_date(member: zipfile.ZipInfo) -> datetime | None:
    """Return the date of a member, None if it has none: some packers write zeros."""
    with suppress(ValueError):
        return datetime(*member.date_time)
    return None


def _check_ratio(content: int, compressed: int) -> None:
    if content > max(ANY_RATIO, LARGEST_RATIO * compressed):
        raise FileFormatError(f"it unpacks to over {content:,} bytes, more than any complaint file; not read")


def _check_kind(start: bytes) -> None:
    for signature, kind in _UNSUPPORTED.items():
        if start.startswith(signature):
            raise FileFormatError(f"it is compressed with {kind}; unpack it and import the CSV")


class _LimitedStream:
    """A stream that ends with an error if it unpacks to too many bytes."""

    def __init__(self, stream: Readable, compressed: int) -> None:
        self._stream = stream
        self._compressed = compressed
        self._content = 0

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(size)
        self._content += len(block)
        _check_ratio(self._content, self._compressed)
        return block
