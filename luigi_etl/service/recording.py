"""Record the end of an unattended run, and remember it in the job's state."""

import contextlib
from datetime import datetime

import luigi
import msgspec

from luigi_etl.common.errors import DamagedFileError, EtlError
from luigi_etl.common.job_state import JobState
from luigi_etl.service.run_result import Ended
from luigi_etl.snapshot.parse import read_summary
from luigi_etl.snapshot.run_record import read_record
from luigi_etl.tasks.base import Recorded


def recorded(task: Recorded, memory: JobState, ended: Ended, began: datetime) -> JobState:
    """Put the end of a run that began then on record, and earlier failures for which there was no room.

    Return the memory with the run's counts, or with a failure that could not be put on record.
    """
    if ended.is_success:
        memory = _counted(task, memory)
    elif ended.is_failure and not _is_failure_on_record(task, ended.error, began):
        minutes = [*memory.unrecorded_minutes, task.timestamp]  # the disk is full, say
        memory = memory.with_unrecorded(minutes, ended.error)
    return _record_earlier(task, memory)


def _counted(task: Recorded, memory: JobState) -> JobState:
    """Remember what the snapshot holds and what changed in the database."""
    with contextlib.suppress(DamagedFileError):
        counts = read_record(task.files.run).counts
        memory = msgspec.structs.replace(memory, counts=None if counts is msgspec.UNSET else counts)
    with contextlib.suppress(DamagedFileError):
        summary = read_summary(task.files.summary)
        return msgspec.structs.replace(memory, rows=summary.parsed, rejected=summary.rejected)
    return memory


def _is_failure_on_record(task: Recorded, error: str, began: datetime) -> bool:
    """Put a failure on record that is not; what a run stored may be, and its merge have failed since.

    Return whether it is on record now.
    """
    if task.has_failed_since(began) or _is_complete(task):
        return True
    task.record("failed", error)
    return task.has_failed_since(began)


def _is_complete(task: luigi.Task) -> bool:
    try:
        return bool(task.complete())
    except Exception:  # a task of the user's own; the run has failed for the same reason
        return False


def _record_earlier(task: Recorded, memory: JobState) -> JobState:
    """Put earlier failures on record for which there was no room, as far as there is room now."""
    minutes = memory.unrecorded_minutes
    if not minutes:
        return memory
    with contextlib.suppress(EtlError):
        while minutes:
            task.record_earlier(minutes[0], memory.unrecorded_error)
            del minutes[0]
    return memory.with_unrecorded(minutes, memory.unrecorded_error if minutes else "")
