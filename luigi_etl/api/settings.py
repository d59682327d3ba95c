"""The client's settings, as plain values."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

API = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/api/v1/"
DAILY_FILE = "https://files.consumerfinance.gov/ccdb/complaints.csv.zip"
ARCHIVE = (
    "https://www.consumerfinance.gov/foia-requests/foia-electronic-reading-room/"
    "cfpb-consumer-complaint-database-narratives-archive/"
)
NEWEST_FIRST = "created_date_desc"  # without it the API misreads a cursor and always returns page 1
MAXIMUM_CLOCK_SKEW = timedelta(minutes=5)  # between this machine and the API
FIRST_COMPLAINT = datetime(2011, 12, 1)  # no data of the CFPB is older
LARGEST_PAGE = 10_000  # above it the API returns status 424


@dataclass(frozen=True)
class Settings:
    """Settings of a client; times are in seconds.

    `requests_per_minute` 0 means no limit, `deadline` 0 no deadline for the whole extraction, an empty
    `user_agent` that of requests, and `pace_file` None the file in the user's cache folder.
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

    @property
    def agent_header(self) -> dict[str, str]:
        """The header `User-Agent`, if it is set."""
        return {"User-Agent": self.user_agent} if self.user_agent else {}
