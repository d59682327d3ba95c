"""Compare this machine's clock with the API's."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from luigi_etl.api.session import Response
from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import PermanentError
from luigi_etl.common.minutes import as_text


def check_clock(host: str, response: Response) -> None:
    """Raise if this machine's clock is ahead of the server's: what is of a later minute would be lost."""
    there = server_time(response.headers)
    ahead = response.arrived - there if there else timedelta(0)
    if there and ahead > MAXIMUM_CLOCK_SKEW:
        raise PermanentError(
            f"{host}: this machine's clock is {_span(ahead)} ahead of the API's, where it is "
            f"{as_text(there)}; set it, and let NTP keep it"
        )


def server_time(headers: Mapping[str, str]) -> datetime | None:
    """Return when an answer left the server or, with `Age`, a cache; None if that can't be read."""
    age = headers.get("Age", "").strip()
    try:
        date = parsedate_to_datetime(headers.get("Date", "").strip())
        aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)  # -0000 is UTC (RFC 5322, 3.3)
        return aware.astimezone(timezone.utc) + timedelta(seconds=int(age) if age else 0)
    except (ValueError, TypeError, OverflowError):
        return None


def _span(time: timedelta) -> str:
    minutes = time // timedelta(minutes=1)
    if minutes < 2 * 60:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{time.days:,} days"
