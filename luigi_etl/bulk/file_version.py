"""The version of a file at an address, on record beside its download."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec

from luigi_etl.api.settings import FIRST_COMPLAINT
from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.files import atomic_write, read_json
from luigi_etl.common.minutes import this_minute

_FURTHEST = timedelta(days=1)  # into the future: clocks and time zones are not further apart


class FileVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a file, as its server describes it; headers that it does not send are empty.

    `size` is in bytes, None if unknown. `sha256` is empty until the file is whole, and `content_hash`, the
    hash of its CSV, until it is imported.
    """

    address: str
    etag: str = ""
    last_modified: str = ""
    size: int | None = None
    sha256: str = ""
    content_hash: str = ""
    is_sandbox: bool = False

    @property
    def range_validator(self) -> str:
        """The value for `If-Range`, which needs a strong validator (RFC 9110, 13.1.5)."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified

    @property
    def minute(self) -> datetime | None:
        """The minute of `Last-Modified` (naive UTC), or None without a plausible one."""
        try:
            moment = parsedate_to_datetime(self.last_modified)
            aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            minute = aware.astimezone(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return minute if FIRST_COMPLAINT <= minute <= this_minute() + _FURTHEST else None


def read_version(path: Path) -> FileVersion | None:
    """Return the version on record, or None without a readable one."""
    try:
        return read_json(path, FileVersion)
    except DamagedFileError:
        return None


def write_version(path: Path, version: FileVersion) -> None:
    """Record a version.

    Raises:
        StorageError: the record can't be written.

    """
    with atomic_write(path) as stream:
        stream.write(msgspec.json.format(msgspec.json.encode(version), indent=2) + b"\n")


def describe_version(address: str, headers: Mapping[str, str]) -> FileVersion:
    """Return the version of a file by the headers of its response.

    An implausible `Last-Modified` counts as none: it may stay the same when the file changes.
    """
    length = headers.get("Content-Length", "")
    version = FileVersion(
        address=address,
        etag=headers.get("ETag", "")[:500],
        last_modified=headers.get("Last-Modified", "")[:100],
        size=int(length) if length.isascii() and length.isdecimal() and len(length) < 16 else None,
        is_sandbox="Luigi-Etl-Sandbox" in headers,
    )
    return version if version.minute else msgspec.structs.replace(version, last_modified="")
