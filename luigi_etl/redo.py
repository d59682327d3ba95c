"""Making a snapshot's files again, from a stage of the chain on."""

import sys
from collections.abc import Callable
from pathlib import Path

from luigi_etl.errors import PermanentError
from luigi_etl.files import storage_errors
from luigi_etl.lines import print_line
from luigi_etl.paths import ASIDE_SUFFIX, SnapshotFiles
from luigi_etl.runs import tells_of_failed_merge
from luigi_etl.store import publish


class NothingToRedoError(PermanentError):
    """A snapshot that has no files."""


def redo(files: SnapshotFiles, stage: str, run: Callable[[], int]) -> int:
    """Put a snapshot's files from a stage on aside, and make them again by `run`, which returns an exit code.

    They are removed for good when it returns 0, and put back otherwise, also where an earlier redo was
    killed. Returns the exit code.

    Raises:
        StorageError: a file can't be moved.

    """
    _settle(files)
    code = -1
    try:
        _put_aside(files.made_from(stage))
        code = run()
    finally:
        if code == 0:
            _remove_aside(files)
        elif _put_back(files):
            sys.stderr.write("luigi-etl: it did not come to its end: what was removed is back\n")
    return code


def check_there(files: SnapshotFiles) -> None:
    """See to it that there is something to redo.

    Raises:
        NothingToRedoError: the snapshot has no files.

    """
    if not any(path.exists() for path in files.all):
        raise NothingToRedoError(
            f"no run of {files.timestamp:%Y-%m-%dT%H%M} (UTC) of {files.slug} left a file: nothing to redo; "
            "`luigi-etl runs --since DAY` lists those that did, --query and --limit tell which of them"
        )


def check_may_be_asked_again(files: SnapshotFiles) -> None:
    """See to it that the API is not asked for what the database holds as of another minute.

    Raises:
        NothingToRedoError: the snapshot is in the database.

    """
    if _was_merged(files):
        raise NothingToRedoError(
            f"the snapshot of {files.timestamp:%Y-%m-%dT%H%M} (UTC) of {files.slug} is in the database; what "
            "the API answers today is not what it answered then: run MergeComplaints, which takes a new one, "
            "or redo this one --from parse"
        )


def is_to_be_merged(files: SnapshotFiles) -> bool:
    """Tell whether a snapshot is in the database, or was to be: what is made again belongs there, too."""
    return _was_merged(files) or any(tells_of_failed_merge(path) for path in (files.run, _aside(files.run)))


def _was_merged(files: SnapshotFiles) -> bool:
    return files.changes.exists() or _aside(files.changes).exists()


def _settle(files: SnapshotFiles) -> None:
    """Bring what an earlier redo left that was killed to the end it can have."""
    made_last = (files.datapackage, files.changes, files.run)
    first_aside = next((path for path in made_last if _aside(path).exists()), files.run)
    if files.datapackage.exists() and first_aside.exists():  # so the files were made again since
        _remove_aside(files)
    elif _put_back(files):
        sys.stderr.write("luigi-etl: what an earlier redo removed before it was killed is back\n")


def _put_aside(paths: list[Path]) -> None:
    """Put files aside, the last first: without what was made last nobody takes the rest for whole."""
    there = [path for path in paths if path.exists()]
    for path in reversed(there):
        with storage_errors(path):
            path.rename(_aside(path))
    for path in there:
        print_line(f"removed {path}")


def _put_back(files: SnapshotFiles) -> bool:
    """Give what was put aside its name again, in the place of what has it; tell whether there was any."""
    there = [path for path in files.all if _aside(path).exists()]
    for path in there:
        with storage_errors(path):
            _aside(path).replace(path)
    if files.extracted in there:
        with storage_errors(files.partial):
            files.partial.unlink(missing_ok=True)  # of pages that are not needed any more
    if files.datapackage in there and files.complaints.exists():
        publish(files.complaints, files.latest)  # the run may have published its own
    return bool(there)


def _remove_aside(files: SnapshotFiles) -> None:
    for path in files.all:
        with storage_errors(path):
            _aside(path).unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ASIDE_SUFFIX)
