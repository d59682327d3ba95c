"""The text of alerts."""

from datetime import timedelta

from luigi_etl.common.minutes import as_text
from luigi_etl.common.terminal import counted
from luigi_etl.service.failure_causes import Cause, Who
from luigi_etl.service.run_result import Ended


def failed(ended: Ended, who: Who, error: str) -> str:
    """Return the message about a new cause."""
    return f"{who.title} of {as_text(ended.began)} failed (exit code {ended.code}): {error}{_end(who)}"


def still_fails(cause: Cause, who: Who, error: str) -> str:
    """Return the reminder of a cause."""
    return f"{who.title} still fails, since {as_text(cause.since)}, {_runs(cause)}: {error}{_end(who)}"


def fails_otherwise(cause: Cause, ended: Ended, who: Who, error: str) -> str:
    """Return the message about a changed reason."""
    return (
        f"{who.title} still fails, since {as_text(cause.since)}, now for another reason "
        f"(exit code {ended.code}): {error}{_end(who)}"
    )


def _end(who: Who) -> str:
    log = f"; its log is {who.log}" if who.log else ""
    return f"{log}; the next message comes when it works again, or after a day"


def works_again(cause: Cause, ended: Ended, who: Who) -> str:
    """Return the message about the end of a cause."""
    title = who.title if who.mark in cause.recovered else cause.job
    job = "" if title == cause.job else f"{cause.job} "
    first = f"the first {job}of {as_text(cause.since)}"
    return (
        f"{title} works again since {as_text(ended.began)}, after {_lasted(ended.at - cause.since)}: "
        f"{_runs(cause)} failed, {first}: {cause.error}"
    )


def _runs(cause: Cause) -> str:
    runs = counted(cause.runs, "run")
    return f"{runs} of {counted(cause.jobs, 'job')}" if cause.jobs > 1 else runs


def _lasted(time: timedelta) -> str:
    """Say how long, in the largest unit that tells something."""
    seconds = time.total_seconds()
    if seconds < 0:
        return "an unknown time (the clock was set back meanwhile)"
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
