"""A check of this machine's clock against the API's."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from luigi_etl.api.session import Response
from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import PermanentError
from luigi_etl.common.minutes import as_text


def check_clock(host: str, response: Response) -> None:
    """Raise an error if this machine's clock is ahead of the API's.

    Snapshots of a future minute would count as newer than correct ones.
    """
    api_time = read_server_time(response.headers)
    ahead = response.arrived - api_time if api_time else timedelta(0)
    if api_time and ahead > MAXIMUM_CLOCK_SKEW:
        raise PermanentError(
            f"{host}: this machine's clock is {_format_span(ahead)} ahead of the API's, which is "
            f"{as_text(api_time)}; set it, and let NTP keep it"
        )


def read_server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return the time when a response left the server or, with `Age`, a cache; None if it is unreadable."""
    age = headers.get("Age", "").strip()
    try:
        date = parsedate_to_datetime(headers.get("Date", "").strip())
        aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)  # -0000 is UTC (RFC 5322, 3.3)
        return aware.astimezone(timezone.utc) + timedelta(seconds=int(age) if age else 0)
    except (ValueError, TypeError, OverflowError):
        return None


def _format_span(span: timedelta) -> str:
    minutes = span // timedelta(minutes=1)
    if minutes < 2 * 60:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{span.days:,} days"
