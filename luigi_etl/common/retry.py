"""Trying again after failures that pass."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, TypeVar

from luigi_etl.common.errors import TransientError
from luigi_etl.common.minutes import as_time
from luigi_etl.common.reason import reason

T = TypeVar("T")
LONGEST_WAIT = 3600.0  # a server that asks for more is left alone: a later run may ask again


class FailedAttempt(NamedTuple):
    """A try that failed and will be followed by another, `wait` seconds later, at `next` (UTC)."""

    attempt: int
    attempts: int
    error: TransientError
    wait: float
    next: datetime

    def __str__(self) -> str:
        told = f"attempt {self.attempt} of {self.attempts}: {reason(self.error)}"
        return f"{told}; next at {as_time(self.next)}, in {self.wait:g} s"

    @property
    def status(self) -> str:
        """The same for a narrow box: the next attempt first."""
        following = f"next attempt {self.attempt + 1} of {self.attempts}"
        return f"{following} at {as_time(self.next)}: {reason(self.error)}"


def with_retries(
    action: Callable[[], T], retries: int, delay: float, announce: Callable[[FailedAttempt], None]
) -> T:
    """Do `action` and return what it does, again up to `retries` times after failures that pass.

    It is done again `delay` seconds after the failure. A server that asked to wait longer is given that
    long, up to an hour. `announce` hears of each failure that is followed by another try.

    Raises:
        TransientError: the last try failed too, or the server asked to wait longer than an hour.
        PermanentError: at once.

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
