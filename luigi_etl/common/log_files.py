"""Log files with a bounded size."""

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
    """A private log file that never raises, even if the disk is full when it is closed."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=open_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Drop the line."""

    def close(self) -> None:
        """Close the file; buffered lines may be lost."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: a failed rotation has closed it
            super().close()


def add_bounded_file(logger: logging.Logger, path: Path) -> None:
    """Add a log file of 1 MB to a logger, with two older files beside it; times are UTC.

    If the log can't be written, the run continues without it.
    """
    with contextlib.suppress(OSError):
        handler = _BoundedFile(path, maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8")
        formatter = logging.Formatter("%(asctime)s [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        logger.addHandler(handler)


@contextlib.contextmanager
def bounded_log(logger: logging.Logger, path: Path) -> Iterator[None]:
    """Make a logger write only to a bounded file for the block."""
    logger.setLevel(logging.INFO)
    logger.propagate = False
    add_bounded_file(logger, path)
    try:
        yield
    finally:
        for handler in logger.handlers:
            handler.close()
        logger.handlers.clear()
