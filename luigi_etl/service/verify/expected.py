"""A file, compared with the bytes that its task writes."""

import os
from pathlib import Path

from luigi_etl.common.errors import DamagedFileError


def differs(path: Path, what: str) -> DamagedFileError:
    """Return the error that names a file and how it differs."""
    return DamagedFileError(f"{path} {what}")


class Expected:
    """A file that is compared with what would be written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("rb")
        self._at = 0

    def __enter__(self) -> "Expected":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stream:
            if kind is None and self._stream.read(1):
                raise differs(self._path, f"goes on after byte {self._at:,}, where it should end")

    def write(self, lines: bytes) -> None:
        """Compare lines with the next ones of the file."""
        found = self._stream.read(len(lines))
        if found != lines:
            at = self._at + len(os.path.commonprefix([found, lines]))  # noqa: RUF071  # of bytes
            raise differs(self._path, f"is not what its source gives, from byte {at:,} on")
        self._at += len(lines)
