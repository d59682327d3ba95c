"""The status of one run, from the files of its snapshot."""

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.snapshot.datapackage_reader import read_counts
from luigi_etl.snapshot.listing import FoundSnapshot
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.run_record import Outcome, RunRecord, read_record

RunStatus = Outcome | Literal["running", "unfinished", "damaged"]
TROUBLE: frozenset[RunStatus] = frozenset({"failed", "unfinished", "damaged"})

MERGES = "MergeComplaints"
FAIL_WITH_FILES = ("StoreComplaints", MERGES)  # tasks that can fail after a snapshot is stored
ENDED_WELL = ("stored", "merged")
NOT_ENDED = "no end recorded: the run was killed, runs by hand, or had no room on the disk for its record"
PACKAGE_MISSING = "stored, but its Data Package is missing"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The run of a minute (naive UTC) and a query, which is the slug of its files.

    Outcomes:
    - `merged`: stored, and in the database. `synced`: the database is up to date.
    - `running`: its job is under way, at `attempt` of `attempts` after a failed attempt.
    - `unfinished`: there are files, but no end. `damaged`: the run ended, but its files can't be read.

    `rows`, `rejected`, `counts` (changes in the database) and `seconds` are None if they are unknown.
    `error` comes from files and may contain any character.
    `is_stored_only`: the snapshot was stored, but its merge failed.
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


def is_failed_merge(path: Path) -> bool:
    """Return whether the record at a path exists and is of a failed merge."""
    return _is_failed_merge(_read_record(path))


def has_stored(path: Path) -> bool:
    """Return whether the record at a path exists and is of a run that stored its snapshot."""
    record = _read_record(path)
    return record is not None and (record.outcome in ENDED_WELL or _is_failed_merge(record))


def read_run(found: FoundSnapshot) -> Run:
    """Return the run of a snapshot's minute; damaged files make a `damaged` run."""
    try:
        return _read_stored(found) if found.is_stored else _read_unstored(found)
    except DamagedFileError as error:
        return _make_run(found, "damaged", error=str(error))


def _read_stored(found: FoundSnapshot) -> Run:
    snapshot = read_counts(found.files.datapackage)
    record = _read_record(found.files.run)
    outcome: RunStatus = "merged" if found.is_merged else "stored"
    if record and _has_failed_since_stored(record, found.files):
        outcome = "failed"
    elif record and record.outcome not in ENDED_WELL:
        record = None  # from an earlier run of the minute
    run = _make_run(found, outcome, record, record.error if record else "")
    return msgspec.structs.replace(
        run,
        rows=snapshot.parsed,
        rejected=snapshot.rejected,
        is_stored_only=outcome == "failed" and not found.is_merged and _is_failed_merge(record),
    )


def _read_record(path: Path) -> RunRecord | None:
    """Return a record, or None if it is missing or damaged: the snapshot is complete without it."""
    with contextlib.suppress(DamagedFileError):
        return read_record(path)
    return None


def _has_failed_since_stored(record: RunRecord, files: SnapshotFiles) -> bool:
    """Return whether the run failed after its snapshot was stored; an earlier attempt does not count."""
    return (
        record.outcome == "failed"
        and record.task in FAIL_WITH_FILES
        and record.ended.timestamp() >= files.datapackage.stat().st_mtime
    )


def _is_failed_merge(record: RunRecord | None) -> bool:
    return record is not None and (record.outcome, record.task) == ("failed", MERGES)


def _read_unstored(found: FoundSnapshot) -> Run:
    if found.files.run not in found.paths:
        return _make_run(found, "unfinished", error=NOT_ENDED)
    record = read_record(found.files.run)
    if record.outcome in ENDED_WELL:
        return _make_run(found, "unfinished", error=PACKAGE_MISSING)
    return _make_run(found, record.outcome, record, record.error)


def _make_run(
    found: FoundSnapshot, outcome: RunStatus, record: RunRecord | None = None, error: str = ""
) -> Run:
    counts = record.counts if record else msgspec.UNSET
    return Run(
        minute=found.files.timestamp,
        query=found.files.slug,
        outcome=outcome,
        seconds=record.seconds if record else None,
        counts=None if counts is msgspec.UNSET else counts,
        error=error,
    )
