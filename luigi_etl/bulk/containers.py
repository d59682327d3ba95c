"""Open a complaint file: zip, gzip or plain, as one stream of bytes that ends with an error if it is damaged."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

from luigi_etl.common.errors import FileFormatError

LARGEST_RATIO = 200  # of content to compressed bytes; the CFPB's files have 15
SMALL = 100_000_000  # bytes of content that any file may have
_UNKNOWN = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"\x28\xb5\x2f\xfd": "Zstandard"}


class Content(NamedTuple):
    """The content of a file.

    `is_checked` is true if its container has a checksum. `modified` (naive, the packer's local time) and
    `size` (bytes) are those of the member of a zip archive, None for other files.
    """

    stream: IO[bytes]
    is_checked: bool
    modified: datetime | None = None
    size: int | None = None


@contextmanager
def open_content(path: Path) -> Iterator[Content]:
    """Open the CSV in a file.

    Raises:
        FileFormatError: it can't be read, now or while the block reads it; the message names no file.
        OSError: the file can't be opened.

    """
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(0)
        try:
            if start.startswith(b"PK"):
                with zipfile.ZipFile(file) as archive:
                    member = _find_member(archive)
                    with archive.open(member) as stream:
                        yield Content(stream, True, datetime(*member.date_time), member.file_size)
            elif start.startswith(b"\x1f\x8b"):
                with gzip.open(file) as stream:
                    yield Content(_Bounded(stream, path.stat().st_size), True)
            else:
                _check_kind(start)
                yield Content(file, False)
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise FileFormatError(f"it is cut off or damaged ({error}); copy or download it again") from error
        except (NotImplementedError, RuntimeError) as error:  # a method that zipfile lacks, a password
            raise FileFormatError(f"{error}; unpack it and import the CSV") from error


def _find_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        one
        for one in archive.infolist()
        if one.filename.lower().endswith(".csv") and not one.filename.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise FileFormatError(
            f"it holds {len(members):,} CSV files, not one; unpack it and import the right one"
        )
    (member,) = members
    if member.file_size > max(SMALL, LARGEST_RATIO * member.compress_size):
        raise FileFormatError(f"it unpacks to {member.file_size:,} bytes, which no complaint file does")
    return member
