"""Warnings about future minutes, left by a wrong clock: they block newer data."""

import contextlib
import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import EtlError
from luigi_etl.common.minutes import as_parameter, this_minute
from luigi_etl.tasks.config import storage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from luigi_etl.database.connection import Database

logger = logging.getLogger("luigi_etl")


def warn_about_latest(latest: Path) -> str:
    """Return a warning if the newest CSV is over five minutes in the future, or an empty text."""
    minute = read_minute(latest)
    return describe_future_minute(latest, minute) if minute and _is_future(minute) else ""


def warn_about_database(database: "Database") -> str:
    """Return a warning if the database has a minute over five minutes in the future, or an empty text.

    Raises:
        EtlError: as `Database` does.

    """
    with database.reading() as connection:
        minute = find_future_minute(connection)
    return describe_future_minute(database.name, minute) if minute else ""


def warn_about_future_minutes(task: str) -> None:
    """Log a warning if the database has a future minute: it ignores merges until then."""
    from luigi_etl.database.connection import Database

    with contextlib.suppress(EtlError):
        if warning := warn_about_database(Database(storage().database_address)):
            logger.warning("%s: %s", task, warning)


def find_future_minute(connection: "Connection") -> datetime | None:
    """Return the newest minute of a database if it is over five minutes in the future."""
    from sqlalchemy import func, select

    from luigi_etl.database.schema import snapshots, syncs

    newest = (connection.scalar(select(func.max(one.c.timestamp))) for one in (snapshots, syncs))
    return max((minute for minute in newest if minute and _is_future(minute)), default=None)


def read_minute(stored: Path) -> datetime | None:
    """Return the minute (naive UTC) of a snapshot's CSV, or None if it is missing."""
    try:
        return datetime.fromtimestamp(stored.stat().st_mtime, timezone.utc).replace(tzinfo=None)
    except FileNotFoundError:
        return None


def describe_future_minute(where: object, minute: datetime) -> str:
    """Return a line with a future minute and the command that removes it."""
    return (
        f"{where}: {as_parameter(minute)} is later than now, a clock was ahead; "
        f"`luigi-etl forget --after {as_parameter(this_minute())}` removes later snapshots"
    )


def _is_future(minute: datetime) -> bool:
    return minute > this_minute() + MAXIMUM_CLOCK_SKEW
