"""The causes of failures, which all jobs of a `[service]` folder share."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from luigi_etl.common.state_file import Record

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
        return any(is_within(STALE, now, last) for last in self.failing.values())


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
class Who:
    """A job by its name, the title it has in messages, and its log, if there is one."""

    name: str
    title: str
    log: str = ""

    @property
    def mark(self) -> str:
        """A short name, the same for each run."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]


def is_within(time: timedelta, now: datetime, moment: datetime) -> bool:
    """Return whether a moment is near; one far ahead is of a clock that was set back since."""
    return abs(now - moment) < time


def newest(failing: dict[str, datetime]) -> dict[str, datetime]:
    """Return the last failures of jobs, the newest ones if they are too many."""
    return dict(sorted(failing.items(), key=lambda one: one[1])[-MOST_JOBS:])


def without(cause: Cause, mark: str) -> Cause:
    """Return the cause after a job left it."""
    return msgspec.structs.replace(
        cause, failing={other: last for other, last in cause.failing.items() if other != mark}
    )


def cause_key(error: str) -> str:
    """Return what failures of one cause have in common, whichever job and minute they are of."""
    shared = next((name for name, pattern in _SHARED.items() if re.search(pattern, error)), None)
    return shared or error_hash(error)


def error_hash(error: str) -> str:
    """Return a hash of an error without the task, the attempt, and numbers."""
    text = re.sub(r"^\w+: ", "", error)
    text = re.sub(r"attempt \d+ of \d+: ", "", text)
    return hashlib.sha256(_VARIABLE.sub("0", text).encode()).hexdigest()[:16]
