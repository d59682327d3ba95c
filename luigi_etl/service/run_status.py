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
from luigi_etl.snapshot.run_record import RunRecord, read_record

RunStatus = Literal["stored", "merged", "synced", "failed", "skipped", "running", "unfinished", "damaged"]
TROUBLE: frozenset[RunStatus] = frozenset({"failed", "unfinished", "damaged"})

MERGES = "MergeComplaints"
FAIL_WITH_FILES = ("StoreComplaints", MERGES)  # tasks that can fail after a snapshot is stored
ENDED_WELL = ("stored", "merged")
NOT_ENDED = "no end on record: killed, run by hand and still running, or no room on the disk to say so"
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


def tells_of_failed_merge(path: Path) -> bool:
    """Tell whether a record, if there is one, is of a run that ended where its snapshot was to be merged."""
    return _is_of_failed_merge(_record(path))


def has_stored(path: Path) -> bool:
    """Return whether a record, if there is one, is of a run that stored its snapshot."""
    record = _record(path)
    return record is not None and (record.outcome in ENDED_WELL or _is_of_failed_merge(record))


def read_run(found: FoundSnapshot) -> Run:
    """Return the run of a snapshot's minute; damaged files make a `damaged` run."""
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
