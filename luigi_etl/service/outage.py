"""Which messages unattended runs send: one when a cause of failures appears, one a day while it lasts, one at
its end.

All jobs of a `[service]` folder share one list of causes: a full disk is reported once, not by each job.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from luigi_etl.common.job_state import JobState
from luigi_etl.common.minutes import as_text
from luigi_etl.common.reason import LONGEST_REASON
from luigi_etl.common.state_file import Record
from luigi_etl.common.terminal import counted

DAY = timedelta(days=1)
STALE = timedelta(hours=1)  # a job that has not failed for so long does not keep an outage open
MOST_CAUSES = 8  # with MOST_JOBS each and the longest errors: less than ROOM
MOST_JOBS = 32
ROOM = 32_768  # bytes

# Errors of the machine, which jobs meet at different paths.
_SHARED = {
    "full": "No space left on device|Disk quota exceeded|no room on the disk|disk is full|disk I/O error",
    "read-only": "Read-only file system",
    "no access": "Permission denied|Operation not permitted",
    "disk fails": "Input/output error|Stale file handle|Transport endpoint is not connected",
    "too many files": "Too many open files",
}
_VARIABLE = re.compile(r"0x[0-9a-f]+|\d+|(?<=reference )[^\s)]+")


@dataclass(frozen=True)
class Ended:
    """When a run began and ended (aware UTC), its exit code, and of a failed one why, in one line.

    `is_skipped`: another run is at it.
    """

    began: datetime
    at: datetime
    code: int
    error: str = ""
    is_skipped: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the run did what it was to do."""
        return self.code == 0

    @property
    def is_failure(self) -> bool:
        """Whether the run failed, and no other is at it."""
        return not (self.is_success or self.is_skipped)


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why jobs fail: since when, how many runs did, and which jobs do or did; times are aware UTC.

    `job` and `error` are those of the first failure; `reported` is the time of the last message, `changed` of
    the last one about another reason. `reporter` is the job, and `text` the error, of the last message;
    `reporter_works` since then. Jobs are kept as hashes of their names: `failing` with their last failure.
    """

    key: str
    job: str
    error: str
    since: datetime
    reported: datetime
    changed: datetime | None = None
    reporter: str = ""
    reporter_works: datetime | None = None
    text: str = ""
    runs: int = 0
    failing: dict[str, datetime] = {}
    recovered: list[str] = []

    @property
    def jobs(self) -> int:
        """The number of jobs that failed."""
        return len(self.failing.keys() | set(self.recovered))

    def is_fresh(self, now: datetime) -> bool:
        """Return whether a job failed lately and has not succeeded since."""
        return any(_is_within(STALE, now, last) for last in self.failing.values())


class Causes(Record, frozen=True, kw_only=True):
    """The causes of the present outages, and when those that are over ended, by key."""

    active: tuple[Cause, ...] = ()
    ended: dict[str, datetime] = msgspec.field(default_factory=dict)

    def of(self, mark: str) -> Cause | None:
        """Return the cause a job fails for."""
        return next((cause for cause in self.active if mark in cause.failing), None)

    def by_key(self, key: str) -> Cause | None:
        """Return an active cause."""
        return next((cause for cause in self.active if cause.key == key), None)

    def having(self, *causes: Cause, without: Iterable[Cause | None] = ()) -> "Causes":
        """Return the causes with some added, or put in the place of those of the same key."""
        gone = {cause.key for cause in (*causes, *without) if cause}
        kept = [cause for cause in self.active if cause.key not in gone]
        return msgspec.structs.replace(self, active=(*kept, *causes)[-MOST_CAUSES:])


@dataclass(frozen=True)
class Told:
    """What to remember, the message for a person, if any, and a line for the log where there is none."""

    memory: JobState
    causes: Causes
    message: str = ""
    note: str = ""


@dataclass(frozen=True)
class Who:
    """A job by its name, the title it has in messages, and its log, if there is one."""

    name: str
    title: str
    log: str = ""

    @property
    def mark(self) -> str:
        """A short name, the same for each run."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]


def _is_within(time: timedelta, now: datetime, moment: datetime) -> bool:
    """Return whether a moment is near; one far ahead is of a clock that was set back since."""
    return abs(now - moment) < time


# --- a failure -----------------------------------------------------------------------------------


def after_failure(memory: JobState, causes: Causes, ended: Ended, who: Who) -> Told:
    """Take in a run that failed; report it unless its cause was reported within a day."""
    error = ended.error[:LONGEST_REASON]
    key = _key(error)
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
    left = _without(own, who.mark) if own and own.key != key else None
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
        cause.reporter_works and ended.began >= cause.reporter_works and cause.text != _loosely(error)
    )
    if is_left_over:
        return _reported(joined, ended, who, error), _failed(ended, who, error)
    if not _is_within(DAY, ended.at, cause.reported):
        return _reported(joined, ended, who, error), _still_fails(joined, who, error)
    return joined, ""


def _new(key: str, moved: Cause | None, ended: Ended, who: Who, error: str) -> tuple[Cause, str]:
    """Begin a cause and report it; one that replaces another at most once a day."""
    fresh = Cause(key=key, job=who.title, error=error, since=ended.began, reported=ended.at)
    if moved is None:
        cause = _reported(_joined(fresh, None, ended, who), ended, who, error)
        return cause, _failed(ended, who, error)
    cause = msgspec.structs.replace(_joined(fresh, moved, ended, who), reported=moved.reported)
    if moved.changed and _is_within(DAY, ended.at, moved.changed):
        return cause, ""
    cause = msgspec.structs.replace(_reported(cause, ended, who, error), changed=ended.at)
    return cause, _fails_otherwise(cause, ended, who, error)


def _joined(cause: Cause, moved: Cause | None, ended: Ended, who: Who) -> Cause:
    """Return a cause with one more failure, and with all of a cause that only this job failed for before."""
    failing = _newest({**cause.failing, who.mark: ended.at})
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


def _newest(failing: dict[str, datetime]) -> dict[str, datetime]:
    return dict(sorted(failing.items(), key=lambda one: one[1])[-MOST_JOBS:])


def _without(cause: Cause, mark: str) -> Cause:
    return msgspec.structs.replace(
        cause, failing={other: last for other, last in cause.failing.items() if other != mark}
    )


def _reported(cause: Cause, ended: Ended, who: Who, error: str) -> Cause:
    return msgspec.structs.replace(
        cause, reported=ended.at, reporter=who.mark, reporter_works=None, text=_loosely(error)
    )


def _key(error: str) -> str:
    """Return what failures of one cause have in common, whichever job and minute they are of."""
    shared = next((name for name, pattern in _SHARED.items() if re.search(pattern, error)), None)
    return shared or _loosely(error)


def _loosely(error: str) -> str:
    """Return a hash of an error without the task, the attempt, and numbers."""
    text = re.sub(r"^\w+: ", "", error)
    text = re.sub(r"attempt \d+ of \d+: ", "", text)
    return hashlib.sha256(_VARIABLE.sub("0", text).encode()).hexdigest()[:16]


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
        messages = [_works_again(cause, ended, who) for cause in over]
        note = "" if messages else "works again; other jobs still fail for the same reason"
        return Told(well, _ended(causes, over, ended), "; ".join(messages), note)
    if not memory.failures or memory.cause in causes.ended:
        return Told(well, causes)
    since = memory.failing_since or ended.began
    alone = Cause(
        key="", job=who.title, error=memory.first_error, since=since, reported=since, runs=memory.failures
    )
    return Told(well, causes, _works_again(alone, ended, who))


def _recovered(cause: Cause, ended: Ended, who: Who) -> Cause:
    works = ended.at if cause.reporter == who.mark else cause.reporter_works
    return msgspec.structs.replace(
        _without(cause, who.mark), recovered=[*cause.recovered, who.mark][-MOST_JOBS:], reporter_works=works
    )


def _ended(causes: Causes, over: list[Cause], ended: Ended) -> Causes:
    lately = {key: at for key, at in causes.ended.items() if _is_within(DAY, ended.at, at)}
    lately |= {cause.key: ended.at for cause in over}
    left = causes.having(without=over)
    return msgspec.structs.replace(left, ended=dict(list(lately.items())[-MOST_JOBS:]))


# --- the messages --------------------------------------------------------------------------------


def _failed(ended: Ended, who: Who, error: str) -> str:
    return f"{who.title} of {as_text(ended.began)} failed (exit code {ended.code}): {error}{_end(who)}"


def _still_fails(cause: Cause, who: Who, error: str) -> str:
    return f"{who.title} still fails, since {as_text(cause.since)}, {_runs(cause)}: {error}{_end(who)}"


def _fails_otherwise(cause: Cause, ended: Ended, who: Who, error: str) -> str:
    return (
        f"{who.title} still fails, since {as_text(cause.since)}, now for another reason "
        f"(exit code {ended.code}): {error}{_end(who)}"
    )


def _end(who: Who) -> str:
    log = f"; its log is {who.log}" if who.log else ""
    return f"{log}; the next message comes when it works again, or after a day"


def _works_again(cause: Cause, ended: Ended, who: Who) -> str:
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
