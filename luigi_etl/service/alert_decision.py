"""The decision whether the result of a run needs a message.

A cause of failures has one message at its beginning, one a day while it lasts, and one at its end.
"""

import dataclasses
from dataclasses import dataclass

import msgspec

from luigi_etl.common.job_state import JobState
from luigi_etl.common.minutes import as_text
from luigi_etl.common.reason import LONGEST_REASON
from luigi_etl.service.alert_text import (
    describe_change,
    describe_failure,
    describe_recovery,
    describe_reminder,
)
from luigi_etl.service.failure_causes import DAY, Cause, Causes, JobLabel, cause_key, hash_error, is_within
from luigi_etl.service.run_result import RunResult


@dataclass(frozen=True)
class AlertDecision:
    """The new states of the job and the causes, and a message or a line for the log."""

    state: JobState
    causes: Causes
    message: str = ""
    note: str = ""


def decide(job: JobLabel, state: JobState, causes: Causes, result: RunResult) -> AlertDecision:
    """Decide whether the result of a job's run needs a message."""
    if result.is_skipped:
        return AlertDecision(state, causes)
    if result.is_success:
        return _after_success(job, state, causes, result)
    return _after_failure(
        job, state, causes, dataclasses.replace(result, error=result.error[:LONGEST_REASON])
    )


# --- after a failure -----------------------------------------------------------------------------


def _after_failure(job: JobLabel, state: JobState, causes: Causes, result: RunResult) -> AlertDecision:
    """Report a failure unless its cause was reported within a day."""
    key = cause_key(result.error)
    state = msgspec.structs.replace(
        state,
        failures=state.failures + 1,
        failing_since=state.failing_since or result.began,
        first_error=state.first_error or result.error,
        cause=key,
    )
    end = causes.ended.get(key)
    if end and result.began < end <= result.ended:
        return AlertDecision(state, causes, note=f"already reported, and its end at {as_text(end)}")
    current, same = causes.of_job(job), causes.by_key(key)
    left = current.without_job(job) if current and current.key != key else None
    previous = left if left and not left.failing else None  # no other job fails for it
    remaining = [left] if left and left.failing else []
    if same and (same is current or same.is_fresh(result.ended)):
        cause, message = _continue_cause(same, previous, job, result)
    else:
        cause, message = _begin_cause(key, previous, job, result)
    note = "" if message else f"already reported, at {as_text(cause.reported)}"
    return AlertDecision(state, causes.with_causes(*remaining, cause, without=[previous]), message, note)


def _continue_cause(
    cause: Cause, previous: Cause | None, job: JobLabel, result: RunResult
) -> tuple[Cause, str]:
    """Add a failure to a reported cause, and return a message if one is due."""
    joined = _add_failure(cause, previous, job, result)
    # The job of the last message works again: its remedy did not help this one.
    is_left_over = (
        cause.reporter_works
        and result.began >= cause.reporter_works
        and cause.text != hash_error(result.error)
    )
    if is_left_over:
        message = describe_failure(job, result)
    elif not is_within(DAY, result.ended, cause.reported):
        message = describe_reminder(job, result, joined)
    else:
        return joined, ""
    return joined.with_message(job, result.error, result.ended), message


def _begin_cause(key: str, previous: Cause | None, job: JobLabel, result: RunResult) -> tuple[Cause, str]:
    """Begin a cause and report it; one that replaces another is reported at most once a day."""
    new = Cause(key=key, job=job.title, error=result.error, since=result.began, reported=result.ended)
    cause = _add_failure(new, previous, job, result)
    reported = cause.with_message(job, result.error, result.ended)
    if previous is None:
        return reported, describe_failure(job, result)
    if previous.changed and is_within(DAY, result.ended, previous.changed):
        return msgspec.structs.replace(cause, reported=previous.reported), ""
    return msgspec.structs.replace(reported, changed=result.ended), describe_change(job, result, cause)


def _add_failure(cause: Cause, previous: Cause | None, job: JobLabel, result: RunResult) -> Cause:
    joined = cause.with_failure(job, result.ended)
    return joined.replacing(previous) if previous else joined


# --- after a success -----------------------------------------------------------------------------


def _after_success(job: JobLabel, state: JobState, causes: Causes, result: RunResult) -> AlertDecision:
    """Report the end of each cause for which no job fails any more."""
    works = msgspec.structs.replace(
        state, failures=0, failing_since=None, first_error="", cause="", last_success=result.ended
    )
    current = causes.of_job(job)
    if current:
        causes = causes.with_causes(current.with_success(job, result.ended))
    over = [cause for cause in causes.active if cause.recovered and not cause.is_fresh(result.ended)]
    if current or over:
        message = "; ".join(describe_recovery(job, result, cause) for cause in over)
        note = "" if message else "works again; other jobs still fail for the same reason"
        return AlertDecision(works, causes.with_ended(over, result.ended), message, note)
    if not state.failures or state.cause in causes.ended:
        return AlertDecision(works, causes)
    return AlertDecision(works, causes, describe_recovery(job, result, _lost_cause(job, state, result)))


def _lost_cause(job: JobLabel, state: JobState, result: RunResult) -> Cause:
    """Return the cause of failures that only the job's own state knows."""
    since = state.failing_since or result.began
    return Cause(
        key="", job=job.title, error=state.first_error, since=since, reported=since, runs=state.failures
    )
