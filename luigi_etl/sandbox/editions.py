"""States of the index that the CFPB publishes as files: every morning, and once as an archive."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import NamedTuple
from zlib import crc32

from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.row import Row

NARRATIVE = "complaint_what_happened"
MORNING = 5  # hour (UTC) at which the daily file is published
ARCHIVE_DAY = datetime(2026, 9, 14, tzinfo=timezone.utc)


class Edition(NamedTuple):
    """The complaints in the index at one time, and the narratives that it no longer sends."""

    published: datetime
    era: Era
    rows: list[Row]
    narratives: Mapping[str, str]  # by id


class Editions:
    """The last two editions of the daily file, and that of the archive once its day has come."""

    def __init__(self) -> None:
        self.daily: deque[Edition] = deque(maxlen=2)
        self.archive: Edition | None = None
        self._narratives: dict[str, str] = {}

    def publish(self, now: datetime, era: Era, rows: Iterable[Row]) -> None:
        """Publish complaints as a new daily file, and once as the archive when its day has come."""
        published = _last_morning(now)
        if self.daily:
            published = max(published, self.daily[-1].published + timedelta(minutes=1))
        edition = Edition(published, era, list(rows), {})
        self.daily.append(edition)
        if self.archive is None and published >= ARCHIVE_DAY:
            self.archive = edition._replace(narratives=dict(self._narratives))

    def keep_narratives(self, rows: Iterable[Row]) -> None:
        """Keep the narratives of complaints that the index is about to remove or to shorten."""
        for row in rows:
            if isinstance(narrative := row.value(NARRATIVE), str):
                self._narratives[row.identifier] = narrative


def is_in_part(row: Row, divisor: int) -> bool:
    """Return whether a complaint is the one in `divisor`; 0: none is."""
    return bool(divisor) and crc32(row.identifier.encode()) % divisor == 0


def _last_morning(now: datetime) -> datetime:
    morning = now.astimezone(timezone.utc).replace(hour=MORNING, minute=0, second=0, microsecond=0)
    return morning if morning <= now else morning - timedelta(days=1)
