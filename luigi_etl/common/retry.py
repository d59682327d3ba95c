"""Retries after temporary failures."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, TypeVar

from luigi_etl.common.errors import TransientError
from luigi_etl.common.minutes import as_time
from luigi_etl.common.reason import reason

T = TypeVar("T")
LONGEST_WAIT = 3600.0  # seconds; if a server asks for more, give up: a later run tries again


class FailedAttempt(NamedTuple):
    """A failed attempt; the next one follows `wait` seconds later, at `next` (UTC)."""

    attempt: int
    attempts: int
    error: TransientError
    wait: float
    next: datetime

    def __str__(self) -> str:
        failure = f"attempt {self.attempt} of {self.attempts}: {reason(self.error)}"
        return f"{failure}; next at {as_time(self.next)}, in {self.wait:g} s"

    @property
    def status(self) -> str:
        """The same text for luigid's narrow box, with the next attempt first."""
        following = f"next attempt {self.attempt + 1} of {self.attempts}"
        return f"{following} at {as_time(self.next)}: {reason(self.error)}"


def with_retries(
    action: Callable[[], T], retries: int, delay: float, announce: Callable[[FailedAttempt], None]
) -> T:
    """Call `action` and return its result; retry up to `retries` times after temporary failures.

    Each retry waits `delay` seconds, or longer if the server asks for it, up to an hour. `announce` receives
    each failure that a retry follows.

    Raises:
        TransientError: the last attempt failed, or the server asks to wait longer than an hour.
        PermanentError: an attempt failed with it; no retry follows.

    """
    attempts = retries + 1
    for attempt in range(1, attempts):
        try:
            return action()
        except TransientError as error:
            if error.retry_after > LONGEST_WAIT:
                asked = f"the server asks to wait {error.retry_after:,.0f} s"
                raise TransientError(f"attempt {attempt} of {attempts}: {error}; {asked}; gave up") from error
            wait = max(delay, error.retry_after)
            then = datetime.now(timezone.utc) + timedelta(seconds=wait)
            failed = FailedAttempt(attempt, attempts, error, wait, then)
        announce(failed)
        time.sleep(failed.wait)
    try:
        return action()
    except TransientError as error:
        raise TransientError(f"attempt {attempts} of {attempts}: {error}; gave up") from error
