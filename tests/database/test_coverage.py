"""Coverage of the database."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, NullPool, create_engine, text

from luigi_etl import SyncComplaints
from luigi_etl.database.coverage import (
    confirm_coverage,
    is_confirmation_due,
    read_coverage,
    rebuild_coverage,
    record_snapshot,
)
from luigi_etl.database.covered_days import CoverageRow, join_ranges
from luigi_etl.database.migration import create_or_migrate
from tests.conftest import Beside, Pipeline, Serve
from tests.database.conftest import COVERAGE_OF_OLDER, NOW, VIEW, Merges, at, complaint, days, query, row

SYNCED = datetime(2026, 9, 26, 12, 0)  # the sandbox's current time
DAY = timedelta(days=1)


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Give a connection to an SQLite database in memory, with tables."""
    with in_memory() as connection:
        yield connection


def in_memory() -> Connection:
    connection = create_engine("sqlite://", poolclass=NullPool).connect()
    create_or_migrate(connection)
    return connection


def record(connection: Connection, minute: datetime, *parts: str, limit: int = 0, whole: bool = True) -> None:
    record_snapshot(connection, minute, query(*parts), limit, is_whole=whole)


# --- recording -----------------------------------------------------------------------------------


def test_complete_snapshot_covers_its_query(merges: Merges) -> None:
    merges.merge(NOW, complaint(1), query="state=CA&date_received_min=2026-10-01")

    assert merges.view() == [
        ("state=CA", "2026-10-01", None, "2026-11-27 09:26", "2026-11-27 09:26", True, None)
    ]


@pytest.mark.slow
def test_limited_snapshot_covers_the_newest(merges: Merges) -> None:
    merges.merge(NOW, complaint(1), limit=1, total=40)

    assert merges.view() == [("", None, None, "2026-11-27 09:26", "2026-11-27 09:26", False, 1)]


def test_rejected_complaint_is_not_covered(merges: Merges) -> None:
    merges.merge(NOW, complaint(1), complaint(2, date_received="never"))

    assert merges.covered() == []


def test_failed_merge_records_nothing(merges: Merges) -> None:
    merges.merge(at(1), complaint(1), query="state=CA")

    with pytest.raises(RuntimeError), merges.database.writing() as connection:
        record(connection, at(2), "state=NY")
        raise RuntimeError

    assert merges.covered() == [row("state=CA", None, None, at(1))]


def test_adjoining_windows_are_one_row(connection: Connection) -> None:
    for first, last in [("2026-11-20", None), ("2026-11-10", "2026-11-19"), ("2026-11-01", "2026-11-09")]:
        record(connection, NOW, f"date_received_min={first}", (last and f"date_received_max={last}") or "")

    assert read_coverage(connection) == [row("", "2026-11-01", None)]


def test_newer_observation_replaces_the_days_it_contains(connection: Connection) -> None:
    record(connection, at(1), "state=CA")
    record(connection, at(5), "state=CA&date_received_min=2026-11-01")

    assert read_coverage(connection) == [
        row("state=CA", None, "2026-10-31", at(1)),
        row("state=CA", "2026-11-01", None, at(5)),
    ]


def test_newest_few_are_implied_by_all(connection: Connection) -> None:
    record(connection, at(1), limit=10, whole=False)
    record(connection, at(5))

    assert read_coverage(connection) == [row("", None, None, at(5))]


def test_newest_few_are_kept_once(connection: Connection) -> None:
    record(connection, at(5), limit=10, whole=False)
    record(connection, at(7), limit=10, whole=False)
    record(connection, at(6), limit=10, whole=False)

    assert read_coverage(connection) == [row("", None, None, at(7), 10)]


def test_months_of_syncs_are_one_row_of_the_view(connection: Connection) -> None:
    start = NOW - 100 * DAY
    for number in range(101):
        today = start + number * DAY
        record(connection, today, days((today - 90 * DAY).date()))

    (only,) = connection.execute(text(VIEW))

    first = (start - 90 * DAY).date()
    assert (only.first_day, only.last_day) == (str(first), None)
    assert (only.as_of, only.newest_as_of) == (f"{start:%Y-%m-%d %H:%M}", f"{NOW:%Y-%m-%d %H:%M}")


def test_view_and_ranges_agree(connection: Connection) -> None:
    record(connection, at(1), "state=CA&date_received_max=2026-10-31")
    record(connection, at(2), "state=CA&date_received_min=2026-11-01")
    record(connection, at(3), "state=CA", limit=7, whole=False)
    record(connection, at(3), "state=CA&date_received_max=2026-11-20", limit=7, whole=False)
    record(connection, at(4), "date_received_min=2026-11-01&date_received_max=2026-11-05")
    record(connection, at(4), "date_received_min=2026-11-09")

    found = {
        (one.query, one.first_day, one.last_day, one.as_of, one.newest_as_of, one.newest or 0)
        for one in connection.execute(text(VIEW))
    }

    assert found == {
        (
            one.query,
            one.first_day and str(one.first_day),
            one.last_day and str(one.last_day),
            f"{one.as_of:%Y-%m-%d %H:%M}",
            f"{one.newest_as_of:%Y-%m-%d %H:%M}",
            one.row_limit,
        )
        for one in join_ranges(read_coverage(connection))
    }


BOUND = st.none() | st.dates(date(2026, 11, 1), date(2026, 11, 8))
OBSERVATION = st.tuples(BOUND, BOUND, st.integers(0, 5), st.sampled_from([0, 0, 0, 10]))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(OBSERVATION, max_size=6), st.randoms(use_true_random=False))
def test_order_of_observations_does_not_matter(seen: list[Any], random: Any) -> None:
    seen = [one for one in seen if not (one[0] and one[1]) or one[0] <= one[1]]
    shuffled = random.sample(seen, len(seen))
    held = []
    for observations in (seen, shuffled):
        with in_memory() as connection:
            for first, last, minute, limit in observations:
                record(connection, at(minute), days(first, last), limit=limit, whole=not limit)
            held.append(read_coverage(connection))

    assert held[0] == held[1]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(OBSERVATION, max_size=6))
def test_newest_observation_of_each_day_counts(seen: list[Any]) -> None:
    seen = [one for one in seen if not one[3] and (not (one[0] and one[1]) or one[0] <= one[1])]
    with in_memory() as connection:
        for first, last, minute, _ in seen:
            record(connection, at(minute), days(first, last))
        rows = read_coverage(connection)

    for day in (date(2026, 10, 31) + number * DAY for number in range(10)):
        expected = [at(one[2]) for one in seen if (one[0] or day) <= day <= (one[1] or day)]
        held = [one.as_of for one in rows if (one.first_day or day) <= day <= (one.last_day or day)]
        assert held == [max(expected)] if expected else held == []


# --- confirmation by syncs -----------------------------------------------------------------------


def test_unchanged_index_confirms_the_days_of_a_sync(connection: Connection) -> None:
    synced = NOW - 3 * DAY
    record(connection, synced - 9 * DAY, "state=CA")
    record(connection, synced, "state=CA&date_received_min=2026-09-01")

    assert is_confirmation_due(connection, NOW, query("state=CA"), synced)
    confirm_coverage(connection, NOW, query("state=CA"), synced)

    assert read_coverage(connection) == [
        row("state=CA", None, "2026-08-31", synced - 9 * DAY),
        row("state=CA", "2026-09-01", None),
    ]


@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=5), DAY])
def test_confirmation_is_due_once_a_day(connection: Connection, age: timedelta) -> None:
    record(connection, NOW - age)

    assert not is_confirmation_due(connection, NOW, query(), NOW - age)


@pytest.mark.slow
def test_sync_covers_its_days_in_one_row(pipeline: Pipeline, served: Serve) -> None:
    pipeline.configure("ccdb", url=served(200).url, page_size=20, retries=0)

    assert pipeline.run(SyncComplaints, timestamp=SYNCED, query="state=CA", since=date(2026, 6, 1))

    assert _covered(pipeline) == [row("state=CA", "2026-06-01", None, SYNCED)]


@pytest.mark.slow
def test_sync_of_an_unchanged_index_confirms_coverage(pipeline: Pipeline, served: Serve) -> None:
    pipeline.configure("ccdb", url=served(200).url, page_size=20, retries=0)
    pipeline.run(SyncComplaints, timestamp=SYNCED, since=date(2026, 6, 1))
    later = SYNCED + 3 * DAY

    assert pipeline.run(SyncComplaints, timestamp=later, since=date(2026, 6, 1))

    assert _covered(pipeline) == [row("", "2026-06-01", None, later)]


def _covered(pipeline: Pipeline) -> list[CoverageRow]:
    with pipeline.database.reading() as connection:
        return read_coverage(connection)


# --- version 1 -----------------------------------------------------------------------------------


def test_coverage_of_an_older_version_is_derived(older: Merges) -> None:
    assert older.covered() == COVERAGE_OF_OLDER


def test_migration_fills_the_coverage_table(older: Merges, beside: Beside) -> None:
    with older.database.writing():
        pass

    assert beside("SELECT count(*) FROM coverage") == [(3,)]
    assert older.covered() == COVERAGE_OF_OLDER


def test_rebuild_drops_later_snapshots(merges: Merges) -> None:
    merges.merge(at(1), complaint(1), query="state=CA")
    merges.merge(at(2), complaint(1), query="tags=Servicemember")
    merges.merge(at(5), complaint(1), query="state=CA&date_received_min=2026-10-01")

    with merges.database.writing() as connection:
        connection.execute(text("DELETE FROM history"))
        connection.execute(text("DELETE FROM snapshots WHERE query LIKE '%date_received_min%'"))
        rebuild_coverage(connection, until=at(2))

    assert merges.covered() == [
        row("state=CA", None, None, at(1)),
        row("tags=Servicemember", None, None, at(2)),
    ]
