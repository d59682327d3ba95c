import time
from itertools import pairwise

import pytest

from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.common.retry import FailedAttempt, with_retries


class Flaky:
    """Fails so many times."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or TransientError("away")
        self.times: list[float] = []

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        if len(self.times) <= self.failures:
            raise self.error


def test_a_passing_failure_is_tried_ten_more_times() -> None:
    flaky, heard = Flaky(11), list[FailedAttempt]()
    with pytest.raises(TransientError, match=r"^attempt 11 of 11: away; gave up$"):
        with_retries(flaky, 10, 0.0, heard.append)
    assert len(flaky.times) == 11
    assert [failed.attempt for failed in heard] == list(range(1, 11))


def test_tries_are_the_delay_apart() -> None:
    flaky = Flaky(3)
    with_retries(flaky, 10, 0.1, lambda _: None)
    gaps = [after - before for before, after in pairwise(flaky.times)]
    assert all(0.1 <= gap < 0.6 for gap in gaps)


def test_a_server_that_asks_for_more_time_gets_it() -> None:
    flaky, heard = Flaky(1, TransientError("busy", 0.2)), list[FailedAttempt]()
    with_retries(flaky, 1, 0.0, heard.append)
    assert heard[0].wait == 0.2
    assert flaky.times[1] - flaky.times[0] >= 0.2


def test_a_permanent_failure_is_not_tried_again() -> None:
    flaky = Flaky(1, RefusedError("no"))
    with pytest.raises(RefusedError):
        with_retries(flaky, 10, 0.0, lambda _: None)
    assert len(flaky.times) == 1


def test_a_bug_is_not_tried_again() -> None:
    flaky = Flaky(1, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        with_retries(flaky, 10, 0.0, lambda _: None)


def test_success_ends_the_tries() -> None:
    flaky = Flaky(0)
    with_retries(flaky, 10, 0.0, lambda _: None)
    assert len(flaky.times) == 1


def test_a_failed_try_says_which_why_and_when_next() -> None:
    heard = list[FailedAttempt]()
    with_retries(Flaky(1), 10, 0.01, heard.append)
    assert str(heard[0]).startswith("attempt 1 of 11: away; next at ")
    assert str(heard[0]).endswith(f"{heard[0].next:%H:%M:%S} UTC, in 0.01 s")


def test_a_server_that_asks_for_more_than_an_hour_is_left_alone() -> None:
    flaky = Flaky(1, TransientError("busy", 86_400))
    with pytest.raises(
        TransientError, match="attempt 1 of 11: busy; the server asks to wait 86,400 s; gave up"
    ):
        with_retries(flaky, 10, 0.0, lambda _: None)


def test_the_status_of_a_failed_try_begins_with_the_next_attempt() -> None:
    heard = list[FailedAttempt]()

    with_retries(Flaky(2), 10, 0.01, heard.append)

    assert heard[1].status == f"next attempt 3 of 11 at {heard[1].next:%H:%M:%S} UTC: away"
