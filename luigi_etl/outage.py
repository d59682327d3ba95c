"""What a person is told of runs nobody watches: when an outage begins, and when it ends; nothing between."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from luigi_etl.jobs import Memory

LONGEST_ERROR = 500  # characters: in the worst case half of the room there is to remember


@dataclass(frozen=True)
class Ended:
    """When a run began and ended (aware UTC), its exit code, and of a failed one why, in one line."""

    began: datetime
    at: datetime
    code: int
    error: str = ""


@dataclass(frozen=True)
class Told:
    """What to remember, and the message for a person, if any."""

    memory: Memory
    message: str = ""


def after_success(memory: Memory, ended: Ended, job: str) -> Told:
    """Take in a run that succeeded: the outage, if there was one, is over."""
    well = msgspec.structs.replace(
        memory, failures=0, failing_since=None, first_error="", last_success=ended.at
    )
    if not memory.failures:
        return Told(well)
    since = memory.failing_since or ended.began
    runs = "1 run" if memory.failures == 1 else f"{memory.failures:,} runs"
    message = (
        f"{job} works again since {_minute(ended.began)}, after {_lasted(ended.at - since)}: "
        f"{runs} failed, the first of {_minute(since)}: {memory.first_error}"
    )
    return Told(well, message)


def after_failure(memory: Memory, ended: Ended, job: str, log: str) -> Told:
    """Take in a run that failed: told only if the one before did not."""
    if memory.failures:
        return Told(msgspec.structs.replace(memory, failures=memory.failures + 1))
    error = ended.error[:LONGEST_ERROR]
    ill = msgspec.structs.replace(memory, failures=1, failing_since=ended.began, first_error=error)
    message = (
        f"{job} of {_minute(ended.began)} failed (exit code {ended.code}): {error}; its log is {log}; "
        "the next message comes when it works again"
    )
    return Told(ill, message)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _lasted(time: timedelta) -> str:
    """Say how long, in the largest unit that tells something."""
    seconds = time.total_seconds()
    if seconds < 0:
        return "an unknown time (the clock was set back meanwhile)"
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
