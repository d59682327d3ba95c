"""The identity of a complaint file: the hash of its CSV, whatever its name and container."""

import hashlib
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from luigi_etl.bulk.containers import Readable, open_content
from luigi_etl.common.errors import FileFormatError, StorageError
from luigi_etl.snapshot.datapackage import HASH_PREFIX

_BLOCK = 1 << 20  # bytes


class ContentFacts(NamedTuple):
    """The hash and size (bytes) of a file's CSV, and the date of its zip member (naive), if any."""

    content_hash: str
    size: int
    modified: datetime | None


class HashedStream:
    """A stream that computes the hash of its bytes, and calls `report` with their number so far."""

    def __init__(self, stream: Readable, report: Callable[[int], object] = lambda _: None) -> None:
        self._stream = stream
        self._report = report
        self._sha256 = hashlib.sha256()
        self.size = 0

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""
        block = self._stream.read(size)
        self._sha256.update(block)
        self.size += len(block)
        self._report(self.size)
        return block

    @property
    def content_hash(self) -> str:
        """The hash of the bytes so far."""
        return HASH_PREFIX + self._sha256.hexdigest()


def read_facts(path: Path) -> ContentFacts:
    """Read a whole file for its facts; a damaged archive fails here, before anything is merged.

    Raises:
        FileFormatError: the file is damaged, empty or of an unknown kind.
        StorageError: the file can't be read.

    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or a device may never end
            raise StorageError(f"{path}: it is a folder, pipe or device; name a regular file")
        with open_content(path) as content:
            stream = HashedStream(content.stream)
            while stream.read(_BLOCK):
                pass
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}; name a file that can be read") from error
    if not stream.size:
        raise FileFormatError(f"{path}: it is empty; copy or download it again")
    return ContentFacts(stream.content_hash, stream.size, content.modified)
