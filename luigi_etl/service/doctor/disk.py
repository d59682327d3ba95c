"""Check the folders and the temporary files."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import counted
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.doctor.runs import DAY
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.leftovers import find_killed_redos, find_leftovers
from luigi_etl.tasks.config import service, storage

MINIMUM_FREE_BYTES = 1_000_000_000
MINIMUM_FREE_FILES = 100_000  # inodes: a week of one query's minutes


def check_folders() -> Iterator[Finding]:
    """Check that the folders can be written and have room."""
    yield _check_folder("[storage] root", storage().path.absolute())
    yield _check_folder("[service] folder", service().path.absolute())


def _check_folder(setting: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    problem = _problem_of(existing)
    if problem:
        return failed(f"{setting}, {folder}: {problem}")
    free = shutil.disk_usage(existing).free / 1e9
    return passed(f"{setting}, {folder}: can be written, {free:,.0f} GB free")


def _problem_of(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        free, status = shutil.disk_usage(folder).free, os.statvfs(folder)
    except OSError as error:
        return f"can't be written ({error.strerror}): give access to it, or set another folder"
    if free < MINIMUM_FREE_BYTES:
        return f"{free / 1e6:,.0f} MB free: make room, or lower [PruneSnapshots] keep_days"
    if status.f_files and status.f_favail < MINIMUM_FREE_FILES:
        return f"room for only {status.f_favail:,} files: remove some, or lower [PruneSnapshots] keep_days"
    return ""


def check_temporary_files() -> Iterator[Finding]:
    """Check for old temporary files and killed redos."""
    root = storage().path
    unreadable: dict[Path, OSError] = {}
    old = len(list(find_leftovers(root, unreadable.setdefault)))
    for folder, error in unreadable.items():
        yield failed(f"{folder.absolute()} can't be read ({error.strerror}): give access to it")
    if old:
        yield failed(
            f"{counted(old, 'temporary file')} older than a day: run `luigi --module luigi_etl "
            "PruneSnapshots --local-scheduler`"
        )
    elif not unreadable:
        yield passed("no temporary file is older than a day")
    for killed in find_killed_redos(root, time.time() - DAY.total_seconds()):
        minute = as_parameter(killed.timestamp)
        command = redo_command(killed, "store")
        yield failed(f"a redo of {minute} UTC of {killed.slug} was killed: `{command}` repairs it")
