"""Log files that can't fill the disk."""

import contextlib
import logging
import time
from collections.abc import Iterator
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from luigi_etl.common.private import open_private

LOG_BYTES = 1_000_000
OLD_LOGS = 2


class _BoundedFile(RotatingFileHandler):
    """A log of this user alone that never raises, not even when it is closed on a full disk."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=open_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Go on without the line."""

    def close(self) -> None:
        """Close the file; what is still in its buffer may be lost."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed already, by a failed rotation
            super().close()


def add_bounded_file(logger: logging.Logger, path: Path) -> None:
    """Let a logger write to a file, and to at most two older ones beside it, of 1 MB each; times are UTC.

    If the log can't be written, what is logged continues without it.
    """
    with contextlib.suppress(OSError):
        handler = _BoundedFile(path, maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8")
        formatter = logging.Formatter("%(asctime)s [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        logger.addHandler(handler)


@contextlib.contextmanager
def bounded_log(logger: logging.Logger, path: Path) -> Iterator[None]:
    """Let a logger write to such a file, and nowhere else, until the end of the block."""
    logger.setLevel(logging.INFO)
    logger.propagate = False
    add_bounded_file(logger, path)
    try:
        yield
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers.clear()
