"""A file, compared with the bytes that its task writes."""

import os
from pathlib import Path

from luigi_etl.common.errors import DamagedFileError


class ExpectedFile:
    """A file that is compared with the bytes that a task writes to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("rb")
        self._at = 0

    def __enter__(self) -> "ExpectedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stream:
            if kind is None and self._stream.read(1):
                raise DamagedFileError(f"{self._path} should end after byte {self._at:,}")

    def write(self, lines: bytes) -> None:
        """Compare lines with the next lines of the file."""
        found = self._stream.read(len(lines))
        if found != lines:
            at = self._at + len(os.path.commonprefix([found, lines]))  # noqa: RUF071  # of bytes
            raise DamagedFileError(f"{self._path} differs from its source from byte {at:,} on")
        self._at += len(lines)
