"""Log files that can't fill the disk."""

import contextlib
import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_BYTES = 1_000_000
OLD_LOGS = 2


def add_bounded_file(logger: logging.Logger, path: Path) -> None:
    """Let a logger write to a file, and to at most two older ones beside it, of 1 MB each; times are UTC.

    A log that can't be written is none: it is no reason to end what is logged.
    """
    logging.raiseExceptions = False
    with contextlib.suppress(OSError):
        handler = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8")
        formatter = logging.Formatter("%(asctime)s [%(process)d] %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        logger.addHandler(handler)
