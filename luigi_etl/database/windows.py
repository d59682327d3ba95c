"""Windows: ranges of days, read one by one from the newest on, so that a failure repeats only one."""

from collections.abc import Callable
from datetime import date, timedelta

from luigi_etl.api.query import Query, parse_query

NEWEST_PAGES = 2  # a small first window brings new complaints into the database sooner
MOST_PAGES = 20  # a minute's requests
DAY = timedelta(days=1)

CountComplaints = Callable[[Query], int]


def plan_windows(
    query: Query, since: date, today: date, page_size: int, total: int, count: CountComplaints
) -> list[Query]:
    """Split a query from the day `since` on into windows, the newest first.

    The newest has no end and should hold two pages, each further one twice as many, up to twenty. `count`
    is called about once a window, and never if the query's `total` fits into two pages. The query's bounds
    of days stay in force.
    """
    given = dict(query.pairs)
    first = max(filter(None, (since, _day(given.get("date_received_min")))))
    last = _day(given.get("date_received_max"))
    if last and last < first:
        return []
    splitter = _Splitter(query, first, last, page_size, count)
    return splitter.split(max(today, first)) if total > NEWEST_PAGES * page_size else [splitter.whole]


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


class _Splitter:
    def __init__(
        self, query: Query, first: date, last: date | None, page_size: int, count: CountComplaints
    ) -> None:
        self._query = query
        self._first = first
        self._last = last
        self._page_size = page_size
        self._count = count

    @property
    def whole(self) -> Query:
        """The window of all days."""
        return self._window(self._first, self._last)

    def split(self, today: date) -> list[Query]:
        """Return the windows; days after `today` belong to the first."""
        split = []
        pages = NEWEST_PAGES
        end = self._last
        left = self._count(self.whole)
        per_day = 0.0  # in the previous window, as an estimate for the next
        while left > pages * self._page_size:
            until = min(end or today, today)
            days = (until - self._first).days + 1
            wanted = pages * self._page_size
            length = max(1, int(wanted / max(per_day, left / days)))
            start, count, length = self._find_start(until, end, length, wanted)
            if start <= self._first:
                break
            split.append(self._window(start, end))
            left -= count
            per_day = count / length
            end = start - DAY
            pages = min(2 * pages, MOST_PAGES)
        return [*split, self._window(self._first, end)]

    def _find_start(self, until: date, end: date | None, length: int, wanted: int) -> tuple[date, int, int]:
        """Return the first day of a window of about `length` days, its count and its real length.

        Halve a window that holds far more than `wanted`.
        """
        while True:
            start = until - (length - 1) * DAY
            if start <= self._first:
                return start, 0, length
            count = self._count(self._window(start, end))
            if count <= 2 * wanted or length == 1:
                return start, count, length
            length //= 2

    def _window(self, start: date, end: date | None) -> Query:
        others = "&".join(
            part for part in str(self._query).split("&") if not part.startswith("date_received_")
        )
        until = f"&date_received_max={end}" if end else ""
        return parse_query(f"{others}&date_received_min={start}{until}")
