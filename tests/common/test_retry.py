import time
from itertools import pairwise

import pytest

from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.common.retry import FailedAttempt, with_retries


class Flaky:
    """An action that fails a number of times."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or TransientError("away")
        self.times: list[float] = []

    def __call__(self) -> None:
        self.times.append(time.monotonic())
        if len(self.times) <= self.failures:
            raise self.error


def test_temporary_failure_is_retried_ten_times() -> None:
    flaky, announced = Flaky(11), list[FailedAttempt]()

    with pytest.raises(TransientError, match=r"^attempt 11 of 11: away; gave up$"):
        with_retries(flaky, 10, 0.0, announced.append)

    assert len(flaky.times) == 11
    assert [failed.attempt for failed in announced] == list(range(1, 11))


def test_retries_wait_for_the_delay() -> None:
    flaky = Flaky(3)

    with_retries(flaky, 10, 0.1, lambda _: None)

    gaps = [after - before for before, after in pairwise(flaky.times)]
    assert all(0.1 <= gap < 0.6 for gap in gaps)


def test_retry_waits_as_long_as_the_server_asks() -> None:
    flaky, announced = Flaky(1, TransientError("busy", 0.2)), list[FailedAttempt]()

    with_retries(flaky, 1, 0.0, announced.append)

    assert announced[0].wait == 0.2
    assert flaky.times[1] - flaky.times[0] >= 0.2


def test_permanent_failure_is_not_retried() -> None:
    flaky = Flaky(1, RefusedError("no"))

    with pytest.raises(RefusedError):
        with_retries(flaky, 10, 0.0, lambda _: None)

    assert len(flaky.times) == 1


def test_bug_is_not_retried() -> None:
    flaky = Flaky(1, ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        with_retries(flaky, 10, 0.0, lambda _: None)


def test_success_is_not_repeated() -> None:
    flaky = Flaky(0)

    with_retries(flaky, 10, 0.0, lambda _: None)

    assert len(flaky.times) == 1


def test_failed_attempt_has_number_reason_and_next_time() -> None:
    announced = list[FailedAttempt]()

    with_retries(Flaky(1), 10, 0.01, announced.append)

    assert str(announced[0]).startswith("attempt 1 of 11: away; next at ")
    assert str(announced[0]).endswith(f"{announced[0].next:%H:%M:%S} UTC, in 0.01 s")


def test_wait_of_over_an_hour_ends_the_retries() -> None:
    flaky = Flaky(1, TransientError("busy", 86_400))

    with pytest.raises(
        TransientError, match="attempt 1 of 11: busy; the server asks to wait 86,400 s; gave up"
    ):
        with_retries(flaky, 10, 0.0, lambda _: None)


def test_status_begins_with_the_next_attempt() -> None:
    announced = list[FailedAttempt]()

    with_retries(Flaky(2), 10, 0.01, announced.append)

    assert announced[1].status == f"next attempt 3 of 11 at {announced[1].next:%H:%M:%S} UTC: away"
