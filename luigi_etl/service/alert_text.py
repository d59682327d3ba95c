"""The text of alerts."""

from datetime import timedelta

from luigi_etl.common.minutes import as_text
from luigi_etl.common.terminal import counted
from luigi_etl.service.failure_causes import Cause, JobLabel
from luigi_etl.service.run_result import RunResult


def describe_failure(job: JobLabel, result: RunResult) -> str:
    """Return the message about the first failure for a cause."""
    return (
        f"{job.title} of {as_text(result.began)} failed (exit code {result.exit_code}): "
        f"{result.error}{_ending(job)}"
    )


def describe_reminder(job: JobLabel, result: RunResult, cause: Cause) -> str:
    """Return the daily message about a cause that lasts."""
    return (
        f"{job.title} still fails, since {as_text(cause.since)}, {_count_runs(cause)}: "
        f"{result.error}{_ending(job)}"
    )


def describe_change(job: JobLabel, result: RunResult, cause: Cause) -> str:
    """Return the message about another reason for failures that last."""
    return (
        f"{job.title} still fails, since {as_text(cause.since)}, now for another reason "
        f"(exit code {result.exit_code}): {result.error}{_ending(job)}"
    )


def describe_recovery(job: JobLabel, result: RunResult, cause: Cause) -> str:
    """Return the message about the end of a cause; the success of `job` ended it."""
    title = job.title if job.short_id in cause.recovered else cause.job
    first_job = "" if title == cause.job else f"{cause.job} "
    return (
        f"{title} works again since {as_text(result.began)}, after {_lasted(result.ended - cause.since)}: "
        f"{_count_runs(cause)} failed, the first {first_job}of {as_text(cause.since)}: {cause.error}"
    )


def _ending(job: JobLabel) -> str:
    log = f"; its log is {job.log}" if job.log else ""
    return f"{log}; the next message comes when it works again, or after a day"


def _count_runs(cause: Cause) -> str:
    runs = counted(cause.runs, "run")
    return f"{runs} of {counted(cause.job_count, 'job')}" if cause.job_count > 1 else runs


def _lasted(time: timedelta) -> str:
    """Return a duration in the largest unit that makes at least 2."""
    seconds = time.total_seconds()
    if seconds < 0:
        return "an unknown time (the clock was set back meanwhile)"
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
