"""The causes of failures, which all jobs of a `[service]` folder share.

A full disk makes every job fail. It is one cause, so it is reported once.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from luigi_etl.common.state_file import Record

DAY = timedelta(days=1)
STALE = timedelta(hours=1)  # an older failure no longer keeps a cause active: the job may be gone
MOST_CAUSES = 8  # 8 causes, each with 32 jobs and the longest errors, fit into ROOM
MOST_JOBS = 32
ROOM = 32_768  # bytes

# Errors of the machine: each job reports them with another path.
_MACHINE_ERRORS = {
    "full": "No space left on device|Disk quota exceeded|no room on the disk|disk is full|disk I/O error",
    "read-only": "Read-only file system",
    "no access": "Permission denied|Operation not permitted",
    "disk fails": "Input/output error|Stale file handle|Transport endpoint is not connected",
    "too many files": "Too many open files",
}
_VARIABLE = re.compile(r"0x[0-9a-f]+|\d+|(?<=reference )[^\s)]+")


@dataclass(frozen=True)
class JobLabel:
    """A job's name, its title in messages, and the path of its log if the file exists."""

    name: str
    title: str
    log: str = ""

    @property
    def short_id(self) -> str:
        """A short hash of the name."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """A cause of failures and its jobs, by the hashes of their names; times are aware UTC.

    - `since`, `job` (its title), `error`: the first failure. `runs`: the number of failures.
    - `reported`, `reporter` (a job), `text` (hash of the error): the last message.
    - `reporter_works`: the first success of `reporter` after that message.
    - `changed`: when a message last reported that the reason had changed.
    - `failing`: jobs with their last failure. `recovered`: jobs that succeeded after their last failure.
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
    def job_count(self) -> int:
        """The number of jobs that failed."""
        return len(self.failing.keys() | set(self.recovered))

    def is_fresh(self, now: datetime) -> bool:
        """Return whether a job still fails, with a failure in the last hour."""
        return any(is_within(STALE, now, last) for last in self.failing.values())

    def with_failure(self, job: JobLabel, at: datetime) -> "Cause":
        """Return the cause after another failure of a job."""
        failing = sorted({**self.failing, job.short_id: at}.items(), key=lambda item: item[1])
        return msgspec.structs.replace(
            self,
            runs=self.runs + 1,
            failing=dict(failing[-MOST_JOBS:]),
            recovered=[other for other in self.recovered if other != job.short_id],
        )

    def with_success(self, job: JobLabel, at: datetime) -> "Cause":
        """Return the cause after a success of a job that failed."""
        return msgspec.structs.replace(
            self.without_job(job),
            recovered=[*self.recovered, job.short_id][-MOST_JOBS:],
            reporter_works=at if self.reporter == job.short_id else self.reporter_works,
        )

    def with_message(self, job: JobLabel, error: str, at: datetime) -> "Cause":
        """Return the cause after a message about a job's error."""
        return msgspec.structs.replace(
            self, reported=at, reporter=job.short_id, reporter_works=None, text=hash_error(error)
        )

    def without_job(self, job: JobLabel) -> "Cause":
        """Return the cause after a job failed for another reason, or succeeded."""
        failing = {other: last for other, last in self.failing.items() if other != job.short_id}
        return msgspec.structs.replace(self, failing=failing)

    def replacing(self, previous: "Cause") -> "Cause":
        """Return the cause with the history of a previous cause of the same job."""
        first = min(self, previous, key=lambda cause: cause.since)
        known = {*self.failing, *self.recovered}
        others = [job for job in previous.recovered if job not in known]
        return msgspec.structs.replace(
            self,
            job=first.job,
            error=first.error,
            since=first.since,
            changed=max(filter(None, (self.changed, previous.changed)), default=None),
            runs=self.runs + previous.runs,
            recovered=[*self.recovered, *others][-MOST_JOBS:],
        )


class Causes(Record, frozen=True, kw_only=True):
    """The active causes, and by key the end of those that are over."""

    active: tuple[Cause, ...] = ()
    ended: dict[str, datetime] = msgspec.field(default_factory=dict)

    def of_job(self, job: JobLabel) -> Cause | None:
        """Return the active cause of a job that fails."""
        return next((cause for cause in self.active if job.short_id in cause.failing), None)

    def by_key(self, key: str) -> Cause | None:
        """Return the active cause with a key."""
        return next((cause for cause in self.active if cause.key == key), None)

    def with_causes(self, *causes: Cause, without: Iterable[Cause | None] = ()) -> "Causes":
        """Return the causes after additions, replacements (same key) and removals."""
        changed = {cause.key for cause in (*causes, *without) if cause}
        kept = [cause for cause in self.active if cause.key not in changed]
        return msgspec.structs.replace(self, active=(*kept, *causes)[-MOST_CAUSES:])

    def with_ended(self, causes: Sequence[Cause], at: datetime) -> "Causes":
        """Return the causes after the end of some; an end is kept for a day."""
        ends = {key: end for key, end in self.ended.items() if is_within(DAY, at, end)}
        ends |= {cause.key: at for cause in causes}
        left = self.with_causes(without=causes)
        return msgspec.structs.replace(left, ended=dict(list(ends.items())[-MOST_JOBS:]))


def is_within(time: timedelta, now: datetime, moment: datetime) -> bool:
    """Return whether a moment is near; one far ahead comes from a clock that has been set back."""
    return abs(now - moment) < time


def cause_key(error: str) -> str:
    """Return a key that failures of one cause share, for every job and minute."""
    of_machine = (name for name, pattern in _MACHINE_ERRORS.items() if re.search(pattern, error))
    return next(of_machine, None) or hash_error(error)


def hash_error(error: str) -> str:
    """Return a hash of an error without its task, attempt and numbers."""
    text = re.sub(r"^\w+: ", "", error)
    text = re.sub(r"attempt \d+ of \d+: ", "", text)
    return hashlib.sha256(_VARIABLE.sub("0", text).encode()).hexdigest()[:16]
