"""The runs on record: what became of each minute, from what is on the disk; of the days asked for alone."""

import contextlib
import heapq
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Literal

import msgspec

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.job_state import known_jobs
from luigi_etl.snapshot.command_options import options_for, query_of_slug
from luigi_etl.snapshot.datapackage_reader import read_counts
from luigi_etl.snapshot.listing import FoundSnapshot, days, slugs, snapshots
from luigi_etl.snapshot.paths import SnapshotFiles, sync_slug
from luigi_etl.snapshot.run_record import RunRecord, read_record

RunStatus = Literal["stored", "merged", "synced", "failed", "skipped", "running", "unfinished", "damaged"]
TROUBLE: frozenset[RunStatus] = frozenset({"failed", "unfinished", "damaged"})

MERGES = "MergeComplaints"
FAIL_WITH_FILES = ("StoreComplaints", MERGES)  # tasks that can fail after a snapshot is stored
ENDED_WELL = ("stored", "merged")
NOT_ENDED = "no end on record: killed, run by hand and still running, or no room on the disk to say so"
_BY_MINUTE = attrgetter("minute")
NOT_STORED_ANY_MORE = "stored once, but its Data Package is gone"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a minute (naive UTC) of a query, named as its files are.

    `merged`: stored, and in the database, too; `synced`: the database was brought up to date.
    `running`: its job is under way, at `attempt` of `attempts` if it had to try again. `unfinished`: there
    are files, but the run neither ended nor failed; `damaged`: it ended, and what it left can't be read.
    `rows`, `rejected`, `counts` (of changes in the database) and `seconds` are None where they are not known,
    `error` is empty where there is none; it holds what files held, so it may hold any character.
    `is_stored_only`: the snapshot was stored, and then failed to get into the database.
    """

    minute: datetime
    query: str
    outcome: RunStatus
    rows: int | None = None
    rejected: int | None = None
    seconds: float | None = None
    counts: dict[str, int] | None = None
    attempt: int | None = None
    attempts: int | None = None
    error: str = ""
    is_stored_only: bool = False


def runs_since(root: Path, since: datetime, remembered: Iterable[Run] = ()) -> Iterator[Run]:
    """Give the runs of `since` (naive UTC) and after, of all queries, the newest first, as they are read.

    A file that is damaged makes a `damaged` run. `remembered` are runs that jobs know of (`of_jobs`).

    Raises:
        OSError: a folder can't be read.

    """
    of_each = [_runs_since(root, slug, since) for slug in slugs(root)]
    of_jobs = sorted((run for run in remembered if run.minute >= since), key=_BY_MINUTE, reverse=True)
    merged = heapq.merge(*of_each, of_jobs, key=_BY_MINUTE, reverse=True)
    for _, of_minute in groupby(merged, key=_BY_MINUTE):
        found: dict[str, Run] = {}
        for run in of_minute:
            found[run.query] = _better_known(found[run.query], run) if run.query in found else run
        yield from found.values()


def of_jobs(folder: Path) -> Iterator[Run]:
    """Give the runs that the jobs of a `[service]` folder know of.

    They are those under way, and those that failed while no record could be written.
    """
    for job in known_jobs(folder):
        memory = job.read_state()
        for minute in memory.unrecorded_minutes:
            yield Run(minute=minute, query=memory.slug, outcome="failed", error=memory.unrecorded_error)
        if memory.minute and job.is_under_way():
            yield Run(
                minute=memory.minute,
                query=memory.slug,
                outcome="running",
                attempt=memory.attempt or None,
                attempts=memory.attempts or None,
            )


def _better_known(on_disk: Run, of_job: Run) -> Run:
    is_known = on_disk.outcome != "unfinished"
    return on_disk if of_job.outcome == "failed" and is_known else of_job


def query_of(root: Path, slug: str) -> tuple[str, int] | None:
    """Return the query and the limit that files are named for, as `--query` and `--limit` take them.

    A name that was cut does not hold them; then a Data Package does, if there is one.
    """
    return query_of_slug(slug) or _of_package(root, slug.removesuffix(sync_slug("")))


def options_of(root: Path, slug: str) -> str:
    """Return the options by which a command line names a query and its limit, quoted for a shell."""
    return options_for(slug, query_of(root, slug))


def _of_package(root: Path, slug: str) -> tuple[str, int] | None:
    for day in days(root, slug):
        for found in snapshots(root, slug, day):
            with contextlib.suppress(DamagedFileError):
                asked = read_counts(found.files.datapackage)
                if asked.query:
                    return asked.query, asked.limit
    return None


def newest_run(root: Path, slug: str, besides: Collection[RunStatus] = ()) -> Run | None:
    """Return a query's newest run, or None; only the newest day that holds one is read.

    `besides` are the outcomes that do not count: a minute that was `skipped`, say, as a run was under way.

    Raises:
        OSError: a folder can't be read.

    """
    runs = _runs_since(root, slug, datetime.min)
    return next((run for run in runs if run.outcome not in besides), None)


def newest_of_each(root: Path, besides: Collection[RunStatus] = ()) -> list[Run]:
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


def tells_of_failed_merge(path: Path) -> bool:
    """Tell whether a record, if there is one, is of a run that ended where its snapshot was to be merged."""
    return _is_of_failed_merge(_record(path))


def has_stored(path: Path) -> bool:
    """Return whether a record, if there is one, is of a run that stored its snapshot."""
    record = _record(path)
    return record is not None and (record.outcome in ENDED_WELL or _is_of_failed_merge(record))


def _runs_since(root: Path, slug: str, since: datetime) -> Iterator[Run]:
    for day in days(root, slug):
        if day < since.date():
            return
        for found in snapshots(root, slug, day):
            if found.files.timestamp >= since:
                yield _run(found)


def _run(found: FoundSnapshot) -> Run:
    try:
        return _stored(found) if found.is_stored else _not_stored(found)
    except DamagedFileError as error:
        return _made(found, "damaged", error=str(error))


def _stored(found: FoundSnapshot) -> Run:
    snapshot = read_counts(found.files.datapackage)
    record = _record(found.files.run)
    outcome: RunStatus = "merged" if found.is_merged else "stored"
    if record and _has_failed_since_stored(record, found.files):
        outcome = "failed"
    elif record and record.outcome not in ENDED_WELL:
        record = None  # of an earlier run of the minute
    made = _made(found, outcome, record, record.error if record else "")
    return msgspec.structs.replace(
        made,
        rows=snapshot.parsed,
        rejected=snapshot.rejected,
        is_stored_only=outcome == "failed" and not found.is_merged and _is_of_failed_merge(record),
    )


def _record(path: Path) -> RunRecord | None:
    """Return the record of a snapshot that is whole without one: it may be missing or damaged."""
    with contextlib.suppress(DamagedFileError):
        return read_record(path)
    return None


def _has_failed_since_stored(record: RunRecord, files: SnapshotFiles) -> bool:
    """Return whether a record is of a failure after the snapshot was stored, not of an earlier attempt."""
    return (
        record.outcome == "failed"
        and record.task in FAIL_WITH_FILES
        and record.ended.timestamp() >= files.datapackage.stat().st_mtime
    )


def _is_of_failed_merge(record: RunRecord | None) -> bool:
    return record is not None and (record.outcome, record.task) == ("failed", MERGES)


def _not_stored(found: FoundSnapshot) -> Run:
    if found.files.run not in found.paths:
        return _made(found, "unfinished", error=NOT_ENDED)
    record = read_record(found.files.run)
    if record.outcome in ENDED_WELL:
        return _made(found, "unfinished", error=NOT_STORED_ANY_MORE)
    return _made(found, record.outcome, record, record.error)


def _made(found: FoundSnapshot, outcome: RunStatus, record: RunRecord | None = None, error: str = "") -> Run:
    counts = record.counts if record else msgspec.UNSET
    return Run(
        minute=found.files.timestamp,
        query=found.files.slug,
        outcome=outcome,
        seconds=record.seconds if record else None,
        counts=None if counts is msgspec.UNSET else counts,
        error=error,
    )
