"""Record the result of an unattended run, and keep its counts in the job's state."""

import contextlib
from datetime import datetime

import luigi
import msgspec

from luigi_etl.common.errors import DamagedFileError, EtlError
from luigi_etl.common.job_state import JobState
from luigi_etl.service.run_result import RunResult
from luigi_etl.snapshot.parse import read_summary
from luigi_etl.snapshot.run_record import read_record
from luigi_etl.tasks.base import Recorded


def record_result(task: Recorded, state: JobState, result: RunResult, began: datetime) -> JobState:
    """Record the result of a run that began at `began`, and earlier failures that had no room on the disk.

    Returns the state with the run's counts, or with a failure that can't be recorded.
    """
    if result.is_success:
        state = _add_counts(task, state)
    elif result.is_failure and not _record_failure(task, result.error, began):
        minutes = [*state.unrecorded_minutes, task.timestamp]  # for example, the disk is full
        state = state.with_unrecorded(minutes, result.error)
    return _record_earlier(task, state)


def _add_counts(task: Recorded, state: JobState) -> JobState:
    """Add the counts of the snapshot and of the changes in the database."""
    with contextlib.suppress(DamagedFileError):
        counts = read_record(task.files.run).counts
        state = msgspec.structs.replace(state, counts=None if counts is msgspec.UNSET else counts)
    with contextlib.suppress(DamagedFileError):
        summary = read_summary(task.files.summary)
        return msgspec.structs.replace(state, rows=summary.parsed, rejected=summary.rejected)
    return state


def _record_failure(task: Recorded, error: str, began: datetime) -> bool:
    """Record a failure unless the run has done so; return whether the record exists.

    A complete task keeps its record of success.
    """
    if task.has_failed_since(began) or _is_complete(task):
        return True
    task.record("failed", error)
    return task.has_failed_since(began)


def _is_complete(task: luigi.Task) -> bool:
    try:
        return bool(task.complete())
    except Exception:  # a user's task: the run failed for the same reason
        return False


def _record_earlier(task: Recorded, state: JobState) -> JobState:
    """Record earlier failures as far as the disk has room now."""
    minutes = state.unrecorded_minutes
    if not minutes:
        return state
    with contextlib.suppress(EtlError):
        while minutes:
            task.record_earlier(minutes[0], state.unrecorded_error)
            del minutes[0]
    return state.with_unrecorded(minutes, state.unrecorded_error if minutes else "")
