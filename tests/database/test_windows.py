"""Windows of a sync."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from luigi_etl.api.query import Query, parse_query
from luigi_etl.database.windows import plan_windows

TODAY = date(2026, 11, 22)
SINCE = date(2026, 8, 24)
PAGE = 100
DAY = timedelta(days=1)


class Api:
    """Counts complaints and the requests for a count."""

    def __init__(self, by_day: dict[date, int]) -> None:
        self.by_day = by_day
        self.requests = 0

    def count(self, query: Query) -> int:
        self.requests += 1
        return self.size(query)

    def size(self, query: Query) -> int:
        first, last = bounds(query)
        return sum(
            number for day, number in self.by_day.items() if first <= day and (last is None or day <= last)
        )


def bounds(query: Query) -> tuple[date, date | None]:
    given = dict(query.pairs)
    last = given.get("date_received_max")
    return date.fromisoformat(given["date_received_min"]), date.fromisoformat(last) if last else None


def split(api: Api, query: str = "", since: date = SINCE, total: int = 10**6) -> list[str]:
    return list(map(str, plan_windows(parse_query(query), since, TODAY, PAGE, total, api.count)))


def uniform(number: int) -> Api:
    return Api({SINCE + at * DAY: number for at in range(91)})


def test_two_pages_are_one_window_without_a_count() -> None:
    api = uniform(2)
    assert split(api, "state=CA", total=200) == ["date_received_min=2026-08-24&state=CA"]
    assert api.requests == 0


def test_two_pages_of_a_large_query_are_one_window() -> None:
    api = uniform(2)
    assert split(api, total=10**6) == ["date_received_min=2026-08-24"]
    assert api.requests == 1


def test_newest_window_is_first_open_and_two_pages_long() -> None:
    api = uniform(50)
    first = plan_windows(parse_query(""), SINCE, TODAY, PAGE, 10**6, api.count)[0]
    assert bounds(first) == (TODAY - 3 * DAY, None)
    assert api.size(first) == 2 * PAGE


def test_windows_double_up_to_twenty_pages() -> None:
    api = uniform(100)
    held = [
        api.size(window) for window in plan_windows(parse_query(""), SINCE, TODAY, PAGE, 10**6, api.count)
    ]
    assert held[:5] == [200, 400, 800, 1600, 2000]
    assert sum(held) == 9100


def test_large_day_is_a_separate_window() -> None:
    api = Api({TODAY: 10, TODAY - DAY: 5000, TODAY - 2 * DAY: 10})
    assert split(api, since=TODAY - 2 * DAY) == [
        "date_received_min=2026-11-22",
        "date_received_max=2026-11-21&date_received_min=2026-11-21",
        "date_received_max=2026-11-20&date_received_min=2026-11-20",
    ]


def test_bounds_of_the_query_are_kept() -> None:
    api = uniform(1)
    assert split(api, "date_received_min=2026-09-10&date_received_max=2026-09-20") == [
        "date_received_max=2026-09-20&date_received_min=2026-09-10"
    ]


def test_days_before_since_are_not_read() -> None:
    assert split(uniform(1), "date_received_min=2020-01-01") == ["date_received_min=2026-08-24"]


def test_query_before_since_has_no_window() -> None:
    assert split(uniform(1), "date_received_max=2026-08-23") == []


def test_query_of_future_days_is_one_window() -> None:
    assert split(Api({}), "date_received_min=2026-12-24") == ["date_received_min=2026-12-24"]


def test_values_are_not_changed() -> None:
    query = "company=A%26B%3D%25&company=date_received_min"
    assert split(uniform(1), query) == [f"{query}&date_received_min=2026-08-24"]


@given(st.lists(st.integers(0, 900), min_size=1, max_size=120), st.booleans())
def test_windows_cover_each_day_once_and_are_small(numbers: list[int], has_end: bool) -> None:
    since = TODAY - (len(numbers) - 1) * DAY
    api = Api({since + at * DAY: number for at, number in enumerate(numbers)})
    query = parse_query("date_received_max=2026-11-22" if has_end else "")
    split_windows = plan_windows(query, since, TODAY, PAGE, 10**6, api.count)
    days: Counter[Any] = Counter()
    for window in split_windows:
        first, last = bounds(window)
        days.update(first + at * DAY for at in range(((last or TODAY) - first).days + 1))
        assert api.size(window) <= 40 * PAGE or first == last
    assert days == Counter(api.by_day.keys())
    assert [bounds(window)[0] for window in split_windows] == sorted(
        (bounds(one)[0] for one in split_windows), reverse=True
    )
    assert api.requests <= 1 + 8 * len(split_windows)
