"""Which days are read together."""

from collections import Counter
from datetime import date, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from luigi_etl.api.query import Query, parse_query
from luigi_etl.database.windows import windows

TODAY = date(2026, 11, 22)
SINCE = date(2026, 8, 24)
PAGE = 100
DAY = timedelta(days=1)


class Api:
    """Counts complaints, and how often it is asked."""

    def __init__(self, by_day: dict[date, int]) -> None:
        self.by_day = by_day
        self.asked = 0

    def count(self, query: Query) -> int:
        self.asked += 1
        return self.held(query)

    def held(self, query: Query) -> int:
        first, last = bounds(query)
        return sum(
            number for day, number in self.by_day.items() if first <= day and (last is None or day <= last)
        )


def bounds(query: Query) -> tuple[date, date | None]:
    given = dict(query.pairs)
    last = given.get("date_received_max")
    return date.fromisoformat(given["date_received_min"]), date.fromisoformat(last) if last else None


def split(api: Api, query: str = "", since: date = SINCE, total: int = 10**6) -> list[str]:
    return list(map(str, windows(parse_query(query), since, TODAY, PAGE, total, api.count)))


def evenly(number: int) -> Api:
    return Api({SINCE + at * DAY: number for at in range(91)})


def test_what_fits_two_pages_is_one_window_and_needs_no_count() -> None:
    api = evenly(2)
    assert split(api, "state=CA", total=200) == ["date_received_min=2026-08-24&state=CA"]
    assert api.asked == 0


def test_a_large_query_whose_days_fit_two_pages_is_one_window_too() -> None:
    api = evenly(2)
    assert split(api, total=10**6) == ["date_received_min=2026-08-24"]
    assert api.asked == 1


def test_the_newest_window_comes_first_has_no_end_and_holds_two_pages() -> None:
    api = evenly(50)
    first = windows(parse_query(""), SINCE, TODAY, PAGE, 10**6, api.count)[0]
    assert bounds(first) == (TODAY - 3 * DAY, None)
    assert api.held(first) == 2 * PAGE


def test_each_window_is_twice_the_one_before_up_to_twenty_pages() -> None:
    api = evenly(100)
    held = [api.held(window) for window in windows(parse_query(""), SINCE, TODAY, PAGE, 10**6, api.count)]
    assert held[:5] == [200, 400, 800, 1600, 2000]
    assert sum(held) == 9100


def test_a_day_that_holds_more_is_a_window_of_its_own() -> None:
    api = Api({TODAY: 10, TODAY - DAY: 5000, TODAY - 2 * DAY: 10})
    assert split(api, since=TODAY - 2 * DAY) == [
        "date_received_min=2026-11-22",
        "date_received_max=2026-11-21&date_received_min=2026-11-21",
        "date_received_max=2026-11-20&date_received_min=2026-11-20",
    ]


def test_a_query_keeps_its_own_bounds() -> None:
    api = evenly(1)
    assert split(api, "date_received_min=2026-09-10&date_received_max=2026-09-20") == [
        "date_received_max=2026-09-20&date_received_min=2026-09-10"
    ]


def test_only_the_days_asked_for_are_read_of_a_query_that_begins_earlier() -> None:
    assert split(evenly(1), "date_received_min=2020-01-01") == ["date_received_min=2026-08-24"]


def test_a_query_of_days_long_past_needs_no_window() -> None:
    assert split(evenly(1), "date_received_max=2026-08-23") == []


def test_a_query_of_days_to_come_is_one_window() -> None:
    assert split(Api({}), "date_received_min=2026-12-24") == ["date_received_min=2026-12-24"]


def test_values_are_kept_as_they_are() -> None:
    query = "company=A%26B%3D%25&company=date_received_min"
    assert split(evenly(1), query) == [f"{query}&date_received_min=2026-08-24"]


@given(st.lists(st.integers(0, 900), min_size=1, max_size=120), st.booleans())
def test_the_windows_are_all_days_each_once_and_none_is_large_but_a_day(
    numbers: list[int], has_end: bool
) -> None:
    since = TODAY - (len(numbers) - 1) * DAY
    api = Api({since + at * DAY: number for at, number in enumerate(numbers)})
    query = parse_query("date_received_max=2026-11-22" if has_end else "")
    made = windows(query, since, TODAY, PAGE, 10**6, api.count)
    days: Counter[Any] = Counter()
    for window in made:
        first, last = bounds(window)
        days.update(first + at * DAY for at in range(((last or TODAY) - first).days + 1))
        assert api.held(window) <= 40 * PAGE or first == last
    assert days == Counter(api.by_day.keys())
    assert [bounds(window)[0] for window in made] == sorted((bounds(one)[0] for one in made), reverse=True)
    assert api.asked <= 1 + 8 * len(made)
