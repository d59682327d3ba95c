"""The current minute (UTC), and one function for each text form of a minute."""

import re
from datetime import datetime, timezone

_PARAMETER = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{4}", re.ASCII)


def this_minute() -> datetime:
    """Return the current minute (naive UTC)."""
    return datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)


def as_parameter(minute: datetime) -> str:
    """Return a minute as `--timestamp` takes it: 2026-01-02T0304."""
    return f"{minute:%Y-%m-%dT%H%M}"


def as_file_name(minute: datetime) -> str:
    """Return a minute as in file names: 20260102T0304Z."""
    return f"{minute:%Y%m%dT%H%MZ}"


def as_iso(minute: datetime) -> str:
    """Return a minute for tables, CSV and JSON (ISO 8601): 2026-01-02T03:04Z."""
    return f"{minute:%Y-%m-%dT%H:%MZ}"


def as_text(moment: datetime) -> str:
    """Return the minute of a moment for messages: 2026-01-02 03:04 UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def with_seconds(moment: datetime) -> str:
    """Return a moment for messages, to the second: 2026-01-02 03:04:05 UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def as_time(moment: datetime) -> str:
    """Return the time of day of a moment for messages: 03:04:05 UTC."""
    return f"{moment:%H:%M:%S} UTC"


def to_parameter(text: str) -> str:
    """Return a minute's text as `--timestamp` takes it, also if it comes from a table; check nothing."""
    return text.replace(":", "").removesuffix("Z")


def read_parameter(text: str) -> datetime:
    """Parse a minute (naive UTC) from the form that `--timestamp` takes.

    Raises:
        ValueError: the text has another form.

    """
    if not _PARAMETER.fullmatch(text):
        raise ValueError(f"{text!r} is not a minute written as 2026-01-02T0304")
    return datetime.fromisoformat(f"{text[:-2]}:{text[-2:]}")  # strptime is slow to import
