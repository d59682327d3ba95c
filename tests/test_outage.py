"""What a person is told of unattended runs: the beginning of an outage and its end, nothing between."""

from datetime import datetime, timedelta, timezone

import pytest

from luigi_etl.jobs import Memory
from luigi_etl.outage import LONGEST_ERROR, Ended, after_failure, after_success

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
RUN = timedelta(seconds=10)


def failed(memory: Memory, at: datetime, error: str = "no network") -> tuple[Memory, str]:
    told = after_failure(memory, Ended(at, at + RUN, 30, error), "StoreComplaints.all", "/srv/a.log")
    return told.memory, told.message


def succeeded(memory: Memory, at: datetime) -> tuple[Memory, str]:
    told = after_success(memory, Ended(at - RUN, at, 0), "StoreComplaints.all")
    return told.memory, told.message


def test_a_success_after_a_success_is_not_told() -> None:
    memory, message = succeeded(Memory(), NOON)
    assert (message, memory.last_success) == ("", NOON)


def test_the_first_failure_tells_what_failed_when_why_and_where_to_look() -> None:
    memory, message = failed(Memory(), NOON)
    assert message == (
        "StoreComplaints.all of 2026-11-22 12:00 UTC failed (exit code 30): no network; "
        "its log is /srv/a.log; the next message comes when it works again"
    )
    assert (memory.failures, memory.failing_since, memory.first_error) == (1, NOON, "no network")


def test_further_failures_are_counted_and_not_told_whatever_their_error() -> None:
    memory, _ = failed(Memory(), NOON)
    for minute in (1, 2):
        memory, message = failed(memory, NOON + timedelta(minutes=minute), "the disk is full")
        assert message == ""
    assert (memory.failures, memory.failing_since, memory.first_error) == (3, NOON, "no network")


@pytest.mark.parametrize(
    ("time", "lasted"),
    [
        (timedelta(seconds=61), "61 seconds"),
        (timedelta(minutes=48), "48 minutes"),
        (timedelta(hours=30), "30 hours"),
        (timedelta(days=9), "9 days"),
        (timedelta(minutes=-5), "an unknown time (the clock was set back meanwhile)"),
    ],
)
def test_the_end_of_an_outage_tells_how_long_it_lasted(time: timedelta, lasted: str) -> None:
    memory, _ = failed(failed(Memory(), NOON)[0], NOON + timedelta(seconds=30))
    memory, message = succeeded(memory, NOON + time)
    assert message.endswith(f", after {lasted}: 2 runs failed, the first of 2026-11-22 12:00 UTC: no network")
    assert (memory.failures, memory.failing_since, memory.first_error) == (0, None, "")


def test_the_end_of_an_outage_is_told_once() -> None:
    memory, _ = succeeded(failed(Memory(), NOON)[0], NOON + timedelta(minutes=1))
    assert succeeded(memory, NOON + timedelta(minutes=2))[1] == ""


def test_the_next_outage_is_told_again() -> None:
    memory, _ = succeeded(failed(Memory(), NOON)[0], NOON + timedelta(minutes=1))
    assert failed(memory, NOON + timedelta(minutes=2))[1] != ""


def test_an_endless_error_is_cut() -> None:
    _, message = failed(Memory(), NOON, "x" * 10_000)
    assert message.count("x") < LONGEST_ERROR + 10
