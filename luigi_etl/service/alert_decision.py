"""Which messages unattended runs send: one when a cause of failures appears, one a day while it lasts, one at
its end.

All jobs of a `[service]` folder share one list of causes: a full disk is reported once, not by each job.
"""

from dataclasses import dataclass

import msgspec

from luigi_etl.common.job_state import JobState
from luigi_etl.common.minutes import as_text
from luigi_etl.common.reason import LONGEST_REASON
from luigi_etl.service.alert_text import failed, fails_otherwise, still_fails, works_again
from luigi_etl.service.failure_causes import (
    DAY,
    MOST_JOBS,
    Cause,
    Causes,
    Who,
    cause_key,
    error_hash,
    is_within,
    newest,
    without,
)
from luigi_etl.service.run_result import Ended


@dataclass(frozen=True)
class Told:
    """What to remember, the message for a person, if any, and a line for the log where there is none."""

    memory: JobState
    causes: Causes
    message: str = ""
    note: str = ""


# --- a failure -----------------------------------------------------------------------------------


def after_failure(memory: JobState, causes: Causes, ended: Ended, who: Who) -> Told:
    """Take in a run that failed; report it unless its cause was reported within a day."""
    error = ended.error[:LONGEST_REASON]
    key = cause_key(error)
    ill = msgspec.structs.replace(
        memory,
        failures=memory.failures + 1,
        failing_since=memory.failing_since or ended.began,
        first_error=memory.first_error or error,
        cause=key,
    )
    over = causes.ended.get(key)
    if over and ended.began < over <= ended.at:
        return Told(ill, causes, note=f"already reported, and its end at {as_text(over)}")
    own, same = causes.of(who.mark), causes.by_key(key)
    left = without(own, who.mark) if own and own.key != key else None
    moved = left if left and not left.failing else None  # nobody else fails for the reason before
    remaining = [left] if left and left.failing else []
    if same and (same is own or same.is_fresh(ended.at)):
        cause, message = _known(same, moved, ended, who, error)
    else:
        cause, message = _new(key, moved, ended, who, error)
    note = "" if message else f"already reported, at {as_text(cause.reported)}"
    return Told(ill, causes.having(*remaining, cause, without=[moved]), message, note)


def _known(cause: Cause, moved: Cause | None, ended: Ended, who: Who, error: str) -> tuple[Cause, str]:
    """Add a failure to a cause that was reported; report it again after a day.

    It is reported again, too, where the job that was named works and this one's error is another:
    what was done for the first did not help the second.
    """
    joined = _joined(cause, moved, ended, who)
    is_left_over = (
        cause.reporter_works and ended.began >= cause.reporter_works and cause.text != error_hash(error)
    )
    if is_left_over:
        return _reported(joined, ended, who, error), failed(ended, who, error)
    if not is_within(DAY, ended.at, cause.reported):
        return _reported(joined, ended, who, error), still_fails(joined, who, error)
    return joined, ""


def _new(key: str, moved: Cause | None, ended: Ended, who: Who, error: str) -> tuple[Cause, str]:
    """Begin a cause and report it; one that replaces another at most once a day."""
    fresh = Cause(key=key, job=who.title, error=error, since=ended.began, reported=ended.at)
    if moved is None:
        cause = _reported(_joined(fresh, None, ended, who), ended, who, error)
        return cause, failed(ended, who, error)
    cause = msgspec.structs.replace(_joined(fresh, moved, ended, who), reported=moved.reported)
    if moved.changed and is_within(DAY, ended.at, moved.changed):
        return cause, ""
    cause = msgspec.structs.replace(_reported(cause, ended, who, error), changed=ended.at)
    return cause, fails_otherwise(cause, ended, who, error)


def _joined(cause: Cause, moved: Cause | None, ended: Ended, who: Who) -> Cause:
    """Return a cause with one more failure, and with all of a cause that only this job failed for before."""
    failing = newest({**cause.failing, who.mark: ended.at})
    recovered = [mark for mark in cause.recovered if mark != who.mark]
    joined = msgspec.structs.replace(cause, runs=cause.runs + 1, failing=failing, recovered=recovered)
    if moved is None:
        return joined
    earlier = min(cause, moved, key=lambda one: one.since)
    others = [mark for mark in moved.recovered if mark not in failing and mark not in recovered]
    return msgspec.structs.replace(
        joined,
        job=earlier.job,
        error=earlier.error,
        since=earlier.since,
        changed=max(filter(None, (cause.changed, moved.changed)), default=None),
        runs=joined.runs + moved.runs,
        recovered=[*recovered, *others][-MOST_JOBS:],
    )


def _reported(cause: Cause, ended: Ended, who: Who, error: str) -> Cause:
    return msgspec.structs.replace(
        cause, reported=ended.at, reporter=who.mark, reporter_works=None, text=error_hash(error)
    )


# --- a success -----------------------------------------------------------------------------------


def after_success(memory: JobState, causes: Causes, ended: Ended, who: Who) -> Told:
    """Take in a run that succeeded: report the end of a cause that no job fails for any more."""
    well = msgspec.structs.replace(
        memory, failures=0, failing_since=None, first_error="", cause="", last_success=ended.at
    )
    own = causes.of(who.mark)
    if own:
        causes = causes.having(_recovered(own, ended, who))
    over = [cause for cause in causes.active if cause.recovered and not cause.is_fresh(ended.at)]
    if own or over:
        messages = [works_again(cause, ended, who) for cause in over]
        note = "" if messages else "works again; other jobs still fail for the same reason"
        return Told(well, _ended(causes, over, ended), "; ".join(messages), note)
    if not memory.failures or memory.cause in causes.ended:
        return Told(well, causes)
    since = memory.failing_since or ended.began
    alone = Cause(
        key="", job=who.title, error=memory.first_error, since=since, reported=since, runs=memory.failures
    )
    return Told(well, causes, works_again(alone, ended, who))


def _recovered(cause: Cause, ended: Ended, who: Who) -> Cause:
    works = ended.at if cause.reporter == who.mark else cause.reporter_works
    return msgspec.structs.replace(
        without(cause, who.mark), recovered=[*cause.recovered, who.mark][-MOST_JOBS:], reporter_works=works
    )


def _ended(causes: Causes, over: list[Cause], ended: Ended) -> Causes:
    lately = {key: at for key, at in causes.ended.items() if is_within(DAY, ended.at, at)}
    lately |= {cause.key: ended.at for cause in over}
    left = causes.having(without=over)
    return msgspec.structs.replace(left, ended=dict(list(lately.items())[-MOST_JOBS:]))
