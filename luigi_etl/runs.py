"""The runs on record: what became of each minute, from what is on the disk; of the days asked for alone."""

import contextlib
import heapq
from collections.abc import Collection, Iterator
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from luigi_etl.errors import DamagedFileError
from luigi_etl.paths import Found, SnapshotFiles, days, slugs, snapshots
from luigi_etl.record import RunRecord, read_record

Outcome = Literal["stored", "merged", "synced", "failed", "skipped", "unfinished", "damaged"]
TROUBLE: frozenset[Outcome] = frozenset({"failed", "unfinished", "damaged"})

MERGES = "MergeComplaints"  # the task that may fail after a snapshot is stored
ENDED_WELL = ("stored", "merged")
NOT_ENDED = "no end on record: killed, still running, or no room on the disk to say so"
NOT_STORED_ANY_MORE = "stored once, but its Data Package is gone"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a minute (naive UTC) of a query, named as its files are.

    `merged`: stored, and in the database, too; `synced`: the database was brought up to date.
    `unfinished`: there are files, but the run neither ended nor failed; `damaged`: it ended, and what it left
    can't be read. `rows`, `rejected` and `seconds` are None where they are not known, `error` is empty
    where there is none; it holds what files held, so it may hold any character.
    """

    minute: datetime
    query: str
    outcome: Outcome
    rows: int | None = None
    rejected: int | None = None
    seconds: float | None = None
    error: str = ""

    @property
    def is_stored_only(self) -> bool:
        """Tell whether the snapshot was stored, and then failed to get into the database."""
        return self.outcome == "failed" and self.rows is not None


def runs_since(root: Path, since: datetime) -> Iterator[Run]:
    """Give the runs of `since` (naive UTC) and after, of all queries, the newest first, as they are read.

    A file that is damaged makes a `damaged` run.

    Raises:
        OSError: a folder can't be read.

    """
    of_each = [_runs_since(root, slug, since) for slug in slugs(root)]
    return heapq.merge(*of_each, key=attrgetter("minute"), reverse=True)


def newest_run(root: Path, slug: str, besides: Collection[Outcome] = ()) -> Run | None:
    """Return a query's newest run, or None; only the newest day that holds one is read.

    `besides` are the outcomes that do not count: a minute that was `skipped`, say, as a run was under way.

    Raises:
        OSError: a folder can't be read.

    """
    runs = _runs_since(root, slug, datetime.min)
    return next((run for run in runs if run.outcome not in besides), None)


def newest_of_each(root: Path, besides: Collection[Outcome] = ()) -> list[Run]:
    """Return the newest run of each query, as `newest_run` does.

    Raises:
        OSError: a folder can't be read.

    """
    return [run for slug in slugs(root) if (run := newest_run(root, slug, besides))]


def newest_of_all(root: Path) -> Run | None:
    """Return the newest run of all queries, or None.

    Raises:
        OSError: a folder can't be read.

    """
    return max(newest_of_each(root), key=attrgetter("minute"), default=None)


def count_rows(files: SnapshotFiles) -> int:
    """Return how many complaints a stored snapshot holds, by its description.

    Raises:
        DamagedFileError: the description is missing or damaged.

    """
    return _read_package(files.datapackage).snapshot.parsed


def tells_of_failed_merge(path: Path) -> bool:
    """Tell whether a record, if there is one, is of a run that ended where its snapshot was to be merged."""
    return _is_of_failed_merge(_record(path))


def _runs_since(root: Path, slug: str, since: datetime) -> Iterator[Run]:
    for day in days(root, slug):
        if day < since.date():
            return
        for found in snapshots(root, slug, day):
            if found.files.timestamp >= since:
                yield _run(found)


def _run(found: Found) -> Run:
    try:
        return _stored(found) if found.is_stored else _not_stored(found)
    except DamagedFileError as error:
        return _made(found, "damaged", error=str(error))


def _stored(found: Found) -> Run:
    snapshot = _read_package(found.files.datapackage).snapshot
    record = _record(found.files.run)
    outcome: Outcome = "merged" if found.is_merged else "stored"
    seconds, error = None, ""
    if record and record.outcome == "failed":
        outcome, seconds, error = "failed", record.seconds, record.error
    elif record and record.outcome in ENDED_WELL:
        seconds = record.seconds
    return _made(
        found, outcome, rows=snapshot.parsed, rejected=snapshot.rejected, seconds=seconds, error=error
    )


def _record(path: Path) -> RunRecord | None:
    """Return the record of a snapshot that is whole without one: it may be missing or damaged."""
    with contextlib.suppress(DamagedFileError):
        return read_record(path)
    return None


def _is_of_failed_merge(record: RunRecord | None) -> bool:
    return record is not None and (record.outcome, record.task) == ("failed", MERGES)


def _not_stored(found: Found) -> Run:
    if found.files.run not in found.paths:
        return _made(found, "unfinished", error=NOT_ENDED)
    record = read_record(found.files.run)
    if record.outcome in ENDED_WELL:
        return _made(found, "unfinished", error=NOT_STORED_ANY_MORE)
    return _made(found, record.outcome, seconds=record.seconds, error=record.error)


def _made(
    found: Found,
    outcome: Outcome,
    *,
    rows: int | None = None,
    rejected: int | None = None,
    seconds: float | None = None,
    error: str = "",
) -> Run:
    return Run(
        minute=found.files.timestamp,
        query=found.files.slug,
        outcome=outcome,
        rows=rows,
        rejected=rejected,
        seconds=seconds,
        error=error,
    )


_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Numbers(msgspec.Struct):
    parsed: _Count
    rejected: _Count


class _Package(msgspec.Struct):
    """Of a Data Package what is listed; the rest is skipped unread."""

    snapshot: _Numbers


_packages = msgspec.json.Decoder(_Package)


def _read_package(path: Path) -> _Package:
    try:
        return _packages.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged ({error})") from error
