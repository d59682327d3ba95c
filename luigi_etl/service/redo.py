"""Redo of a snapshot: repeat the chain from a step on, and keep the original files until it succeeds."""

import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from luigi_etl.common.errors import PermanentError
from luigi_etl.common.files import storage_errors
from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import print_line
from luigi_etl.service.run_status import MERGES, is_failed_merge
from luigi_etl.snapshot.paths import ASIDE_SUFFIX, STAGES, SnapshotFiles, mark_in_use
from luigi_etl.snapshot.run_record import RunRecord, write_record
from luigi_etl.snapshot.store import publish


class NothingToRedoError(PermanentError):
    """The snapshot has no files, or the API must not be asked again."""


def redo(files: SnapshotFiles, stage: str, run: Callable[[], int]) -> int:
    """Move a snapshot's files from a stage on aside, and let `run` write them again; return its exit code.

    If `run` returns 0, the original files are deleted, otherwise restored. Earlier redos that were killed,
    at any step, are repaired first.

    Raises:
        StorageError: a file can't be moved.

    """
    _repair(files)
    mark_in_use(files)
    code = -1
    try:
        _move_aside(files.made_from(stage))
        code = run()
    finally:
        if code == 0:
            _delete_aside(files)
        elif _restore(files):
            sys.stderr.write("luigi-etl: redo failed; the original files were restored\n")
    return code


def check_exists(files: SnapshotFiles) -> None:
    """Check that the snapshot has files.

    Raises:
        NothingToRedoError: it has none.

    """
    if not any(path.exists() or _aside(path).exists() for path in files.all):
        raise NothingToRedoError(
            f"no run of {as_parameter(files.timestamp)} (UTC) of {files.slug} left a file: nothing to redo; "
            "list the runs with `luigi-etl runs --since DAY`, and choose one with --query and --limit"
        )


def check_not_merged(files: SnapshotFiles) -> None:
    """Check that the snapshot is not in the database: today's response must not replace an older one.

    Raises:
        NothingToRedoError: the snapshot is in the database.

    """
    if _was_merged(files):
        raise NothingToRedoError(
            f"the snapshot of {as_parameter(files.timestamp)} (UTC) of {files.slug} is in the database, and "
            "the API's response today differs from that of then: run MergeComplaints for a new snapshot, or "
            "redo this one --from parse"
        )


def needs_merge(files: SnapshotFiles) -> bool:
    """Return whether the snapshot is in the database, or failed to get there: a redo merges it again."""
    return _was_merged(files) or any(is_failed_merge(path) for path in (files.run, _aside(files.run)))


def _was_merged(files: SnapshotFiles) -> bool:
    return files.changes.exists() or _aside(files.changes).exists()


def _repair(files: SnapshotFiles) -> None:
    """Finish a killed redo: keep the new files if they are complete, else restore the original ones.

    A merged snapshot whose new files were not merged stays marked for a merge: its record names the failed
    merge, and its old changes stay aside.
    """
    aside = _paths_aside(files)
    if _awaits_merge(files, aside):
        return
    if _is_complete(files, aside):
        if needs_merge(files) and not files.changes.exists():
            _record_missing_merge(files)
            _delete_aside(files, besides=files.changes)
        else:
            _delete_aside(files)
    elif _restore(files):
        sys.stderr.write("luigi-etl: an earlier redo was killed; the original files were restored\n")


def _awaits_merge(files: SnapshotFiles, aside: list[Path]) -> bool:
    """Return whether only the changes of an older merge are aside, until the new files are merged."""
    return aside == [files.changes] and not files.changes.exists() and is_failed_merge(files.run)


def _is_complete(files: SnapshotFiles, aside: list[Path]) -> bool:
    """Return whether the snapshot is complete without its files aside, at any step of a killed redo.

    The last file is moved first and deleted first, so the files aside show the step. If they are only the
    changes or the record, the Data Package is still the original one.
    """
    if not files.datapackage.exists():
        return False
    if set(aside) - {files.changes, files.run}:
        return True
    if files.changes in aside:
        return files.changes.exists()
    return files.run.exists() or (files.changes.exists() and is_failed_merge(_aside(files.run)))


def _record_missing_merge(files: SnapshotFiles) -> None:
    ended = datetime.now(timezone.utc)
    error = "its redo was killed before the merge; merge it with `luigi-etl redo MINUTE --from merge`"
    write_record(files.run, RunRecord(outcome="failed", task=MERGES, ended=ended, seconds=0.0, error=error))


def _move_aside(paths: list[Path]) -> None:
    """Move files aside, the last first: without the last one the snapshot is incomplete."""
    existing = [path for path in paths if path.exists()]
    for path in reversed(existing):
        with storage_errors(path):
            path.rename(_aside(path))
    for path in existing:
        print_line(f"removed {path}")


def _restore(files: SnapshotFiles) -> bool:
    """Restore the files aside, and delete the newer ones; return whether any file was aside.

    New files go last first, and original ones return first first. After a kill in between, the next redo
    finds an incomplete snapshot and continues here.
    """
    aside = _paths_aside(files)
    if is_failed_merge(_aside(files.run)) and files.changes in aside:
        aside.remove(files.changes)  # of an older merge than these files
    if not aside:
        return False
    made = files.made_from(_stage_of(files, aside))
    for path in reversed(made[made.index(aside[0]) :]):
        with storage_errors(path):
            path.unlink(missing_ok=True)
    for path in aside:
        if path == files.datapackage and files.complaints.exists():
            publish(files.complaints, files.latest)  # the failed run may have published its CSV
        with storage_errors(path):
            _aside(path).rename(path)
        if path == files.extracted:
            with storage_errors(files.partial):
                files.partial.unlink(missing_ok=True)
    return True


def _stage_of(files: SnapshotFiles, aside: list[Path]) -> str:
    """Return the first stage that writes the first file aside."""
    return next(stage for stage in STAGES if aside[0] in files.made_from(stage))


def _paths_aside(files: SnapshotFiles) -> list[Path]:
    """Return the paths whose original files are aside, in the order in which a run writes them."""
    return [path for path in files.all if _aside(path).exists()]


def _delete_aside(files: SnapshotFiles, besides: Path | None = None) -> None:
    """Delete the original files, the last first; `_is_complete` depends on this order."""
    for path in reversed(files.all):
        if path != besides:
            with storage_errors(path):
                _aside(path).unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ASIDE_SUFFIX)
