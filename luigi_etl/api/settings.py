"""How to talk to the API: plain values, whoever sets them."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

API = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/api/v1/"
NEWEST_FIRST = "created_date_desc"  # without it a cursor is misread and page 1 comes back for ever
MAXIMUM_CLOCK_SKEW = timedelta(minutes=5)  # how far the clocks of two machines may differ
LARGEST_PAGE = 10_000  # above it the API's engine answers 424


@dataclass(frozen=True)
class Settings:
    """How to talk to the API; times in seconds.

    `requests_per_minute` 0 is no limit, `deadline` (for a whole walk) 0 is none, an empty
    `user_agent` is the library's own, no `pace_file` is the one in the user's cache folder.
    """

    url: str = API
    requests_per_minute: int = 20
    page_size: int = LARGEST_PAGE
    user_agent: str = ""
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    deadline: float = 21_600.0
    backoff: float = 1.0
    pace_file: Path | None = None
