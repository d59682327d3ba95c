"""Windows: ranges of days that are read one by one, so that a failure costs one of them, the newest first."""

from collections.abc import Callable
from datetime import date, timedelta

from luigi_etl.api.query import Query, parse_query

NEWEST_PAGES = 2  # what is new is in the first window: it is read, and in the database, soonest
MOST_PAGES = 20  # a minute's requests
DAY = timedelta(days=1)

CountComplaints = Callable[[Query], int]


def windows(
    query: Query, since: date, today: date, page_size: int, total: int, count: CountComplaints
) -> list[Query]:
    """Split what matches a query and was received on a day since `since` into windows, the newest first.

    The newest, which has no end, should hold two pages, each further one twice as many, up to twenty.
    `count` is asked how many a window holds, once for most of them, and not at all where the `total` of the
    query is no more than two pages. Bounds of the query's own stay what they are.
    """
    given = dict(query.pairs)
    first = max(filter(None, (since, _day(given.get("date_received_min")))))
    last = _day(given.get("date_received_max"))
    if last and last < first:
        return []
    split = _Split(query, first, last, page_size, count)
    return split.made(max(today, first)) if total > NEWEST_PAGES * page_size else [split.whole]


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


class _Split:
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

    def made(self, today: date) -> list[Query]:
        """Return the windows; `today` is where days are counted to: what is later is in the first of them."""
        made = []
        pages = NEWEST_PAGES
        end = self._last
        left = self._count(self.whole)
        a_day = 0.0  # of the window before: the next one's days hold about as many
        while left > pages * self._page_size:
            until = min(end or today, today)
            days = (until - self._first).days + 1
            wanted = pages * self._page_size
            length = max(1, int(wanted / max(a_day, left / days)))
            start, held, length = self._fitting(until, end, length, wanted)
            if start <= self._first:
                break
            made.append(self._window(start, end))
            left -= held
            a_day = held / length
            end = start - DAY
            pages = min(2 * pages, MOST_PAGES)
        return [*made, self._window(self._first, end)]

    def _fitting(self, until: date, end: date | None, length: int, wanted: int) -> tuple[date, int, int]:
        """Return where a window of about so many days begins, what it holds, and how many days it has.

        Where it holds far more than it should it is halved.
        """
        while True:
            start = until - (length - 1) * DAY
            if start <= self._first:
                return start, 0, length
            held = self._count(self._window(start, end))
            if held <= 2 * wanted or length == 1:
                return start, held, length
            length //= 2

    def _window(self, start: date, end: date | None) -> Query:
        others = "&".join(
            part for part in str(self._query).split("&") if not part.startswith("date_received_")
        )
        until = f"&date_received_max={end}" if end else ""
        return parse_query(f"{others}&date_received_min={start}{until}")
