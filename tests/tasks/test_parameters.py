from datetime import date, datetime, timedelta, timezone
from typing import Any

import luigi
import pytest

from luigi_etl import SyncComplaints
from luigi_etl.common.errors import QueryError, SettingError
from luigi_etl.tasks.parameters import DayParameter, QueryParameter, TimestampParameter


class Example(luigi.Task):
    """A task with the parameters under test."""

    query = QueryParameter(default="")
    timestamp = TimestampParameter(default=datetime(2026, 1, 2, 3, 4))


@pytest.mark.parametrize(("given", "day"), [("", None), ("2026-01-02", date(2026, 1, 2))])
def test_day_is_parsed_and_serialized(given: str, day: date | None) -> None:
    parameter = DayParameter()

    assert parameter.normalize(given) == day
    assert parameter.serialize(day) == given


@pytest.mark.parametrize(
    "given", ["2026-02-30", "20260102", "2999-01-01", "yesterday", datetime(2026, 1, 2), 7]
)
def test_invalid_or_future_day_is_refused(given: Any) -> None:
    with pytest.raises(SettingError, match="since"):
        SyncComplaints(since=given)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 2, 3, 4, 59, 999),
        datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc),
        datetime(2026, 1, 1, 22, 4, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_timestamp_is_a_naive_utc_minute(moment: datetime) -> None:
    assert Example(timestamp=moment).timestamp == datetime(2026, 1, 2, 3, 4)


def test_text_from_python_is_refused_as_a_timestamp() -> None:
    with pytest.raises(SettingError, match="timestamp"):
        Example(timestamp="2026-01-02T0304")


def test_spellings_of_one_query_are_one_task() -> None:
    assert Example(query="state=NY&state=CA") is Example(query="?state=CA&state=NY&state=CA")


def test_invalid_query_from_python_is_a_query_error() -> None:
    with pytest.raises(QueryError):
        Example(query="prodct=Mortgage")
