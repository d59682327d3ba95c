"""Making a snapshot's files again, from a stage of the chain on."""

import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from luigi_etl.common.errors import PermanentError
from luigi_etl.common.files import storage_errors
from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import print_line
from luigi_etl.service.run_history import MERGES, tells_of_failed_merge
from luigi_etl.snapshot.paths import ASIDE_SUFFIX, STAGES, SnapshotFiles, mark_in_use
from luigi_etl.snapshot.run_record import RunRecord, write_record
from luigi_etl.snapshot.store import publish


class NothingToRedoError(PermanentError):
    """A snapshot that has no files."""


def redo(files: SnapshotFiles, stage: str, run: Callable[[], int]) -> int:
    """Put a snapshot's files from a stage on aside, and make them again by `run`, which returns an exit code.

    They are removed for good when it returns 0, and put back otherwise. Redos that were killed before, in
    whatever step, are settled first. Returns the exit code.

    Raises:
        StorageError: a file can't be moved.

    """
    _settle(files)
    mark_in_use(files)
    code = -1
    try:
        _put_aside(files.made_from(stage))
        code = run()
    finally:
        if code == 0:
            _remove_aside(files)
        elif _put_back(files):
            sys.stderr.write("luigi-etl: redo failed; the original files were restored\n")
    return code


def check_there(files: SnapshotFiles) -> None:
    """See to it that there is something to redo.

    Raises:
        NothingToRedoError: the snapshot has no files.

    """
    if not any(path.exists() or _aside(path).exists() for path in files.all):
        raise NothingToRedoError(
            f"no run of {as_parameter(files.timestamp)} (UTC) of {files.slug} left a file: nothing to redo; "
            "`luigi-etl runs --since DAY` lists those that did, --query and --limit tell which of them"
        )


def check_may_be_asked_again(files: SnapshotFiles) -> None:
    """See to it that the API is not asked for what the database holds as of another minute.

    Raises:
        NothingToRedoError: the snapshot is in the database.

    """
    if _was_merged(files):
        raise NothingToRedoError(
            f"the snapshot of {as_parameter(files.timestamp)} (UTC) of {files.slug} is in the database; what "
            "the API answers today is not what it answered then: run MergeComplaints, which takes a new one, "
            "or redo this one --from parse"
        )


def is_to_be_merged(files: SnapshotFiles) -> bool:
    """Tell whether a snapshot is in the database, or was to be: what is made again belongs there, too."""
    return _was_merged(files) or any(tells_of_failed_merge(path) for path in (files.run, _aside(files.run)))


def _was_merged(files: SnapshotFiles) -> bool:
    return files.changes.exists() or _aside(files.changes).exists()


def _settle(files: SnapshotFiles) -> None:
    """Finish what a killed redo left: keep the new files if they are whole, else restore the original ones.

    A snapshot that was merged once, and has new files since that were not, stays marked as to be merged: its
    record says that the merge failed, and its old changes stay aside.
    """
    there = _put_aside_before(files)
    if _awaits_merge(files, there):
        return
    if _is_made_again(files, there):
        if is_to_be_merged(files) and not files.changes.exists():
            _record_missing_merge(files)
            _remove_aside(files, besides=files.changes)
        else:
            _remove_aside(files)
    elif _put_back(files):
        sys.stderr.write("luigi-etl: an earlier redo was killed; the original files were restored\n")


def _awaits_merge(files: SnapshotFiles, there: list[Path]) -> bool:
    """Return whether only the changes of an older merge are aside, until the new files are merged."""
    return there == [files.changes] and not files.changes.exists() and tells_of_failed_merge(files.run)


def _is_made_again(files: SnapshotFiles, there: list[Path]) -> bool:
    """Return whether the snapshot is whole without the files put aside, in whatever step a redo was killed.

    Files are put aside last first and removed last first, so what is aside shows the step: where it is only
    the changes or the record, the Data Package is still the original one.
    """
    if not files.datapackage.exists():
        return False
    if set(there) - {files.changes, files.run}:
        return True
    if files.changes in there:
        return files.changes.exists()
    return files.run.exists() or (files.changes.exists() and tells_of_failed_merge(_aside(files.run)))


def _record_missing_merge(files: SnapshotFiles) -> None:
    ended = datetime.now(timezone.utc)
    error = "its redo was killed before the merge; merge it with `luigi-etl redo MINUTE --from merge`"
    write_record(files.run, RunRecord(outcome="failed", task=MERGES, ended=ended, seconds=0.0, error=error))


def _put_aside(paths: list[Path]) -> None:
    """Put files aside, the last first: without what was made last nobody takes the rest for whole."""
    there = [path for path in paths if path.exists()]
    for path in reversed(there):
        with storage_errors(path):
            path.rename(_aside(path))
    for path in there:
        print_line(f"removed {path}")


def _put_back(files: SnapshotFiles) -> bool:
    """Restore the files that were put aside, and remove those made since; return whether there were any.

    New files go last first and original ones come back first first, so a kill in between loses nothing: the
    next redo finds no whole snapshot and continues here.
    """
    there = _put_aside_before(files)
    if tells_of_failed_merge(_aside(files.run)) and files.changes in there:
        there.remove(files.changes)  # of an older merge than these files
    if not there:
        return False
    made = files.made_from(_stage_of(files, there))
    for path in reversed(made[made.index(there[0]) :]):
        with storage_errors(path):
            path.unlink(missing_ok=True)
    for path in there:
        if path == files.datapackage and files.complaints.exists():
            publish(files.complaints, files.latest)  # the run may have published its own
        with storage_errors(path):
            _aside(path).rename(path)
        if path == files.extracted:
            with storage_errors(files.partial):
                files.partial.unlink(missing_ok=True)  # its pages are not needed any more
    return True


def _stage_of(files: SnapshotFiles, there: list[Path]) -> str:
    """Return the stage whose files were put aside; of a redo killed meanwhile, one that made the first."""
    return next(stage for stage in STAGES if there[0] in files.made_from(stage))


def _put_aside_before(files: SnapshotFiles) -> list[Path]:
    """Return the paths of which an original file is aside, in the order in which a run makes them."""
    return [path for path in files.all if _aside(path).exists()]


def _remove_aside(files: SnapshotFiles, besides: Path | None = None) -> None:
    """Remove the original files, the last first, as `_is_made_again` needs it."""
    for path in reversed(files.all):
        if path != besides:
            with storage_errors(path):
                _aside(path).unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ASIDE_SUFFIX)
