"""The files of later snapshots."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from luigi_etl.common.files import storage_errors
from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import counted
from luigi_etl.snapshot.listing import FoundSnapshot, list_days, list_entries, list_slugs
from luigi_etl.snapshot.listing import list_snapshots as on_disk
from luigi_etl.snapshot.paths import SnapshotFiles, latest_folder
from luigi_etl.snapshot.store import publish
from luigi_etl.tasks.future_minutes import read_minute


def find_later_files(root: Path, after: datetime) -> Iterator[FoundSnapshot]:
    """Yield the later snapshots on the disk."""
    for slug in list_slugs(root):
        for day in list_days(root, slug):
            if day >= after.date():
                yield from (one for one in on_disk(root, slug, day) if one.files.timestamp > after)


def describe_later_files(root: Path, after: datetime) -> list[str]:
    """Return a line for each query: the number of later minutes with files, and the first and last."""
    minutes: dict[str, list[datetime]] = {}
    for found in find_later_files(root, after):
        minutes.setdefault(found.files.slug, []).append(found.files.timestamp)
    return [
        f"files of {counted(len(found), 'minute')} of {slug}: "
        f"{as_parameter(min(found))} to {as_parameter(max(found))}"
        for slug, found in sorted(minutes.items())
    ]


def remove_files(root: Path, after: datetime) -> int:
    """Remove the later snapshots' files, and publish the newest remaining ones as `latest`.

    The last file goes first, so a snapshot is never taken for complete. Returns the number of files.
    """
    count = 0
    for found in list(find_later_files(root, after)):
        for path in reversed(found.paths):
            with storage_errors(path):
                path.unlink(missing_ok=True)
            count += 1
        with contextlib.suppress(OSError):  # not empty
            found.files.folder.rmdir()
    published = {
        Path(entry.name).stem for entry in list_entries(latest_folder(root)) if entry.name.endswith(".csv")
    }
    for slug in sorted(published.union(list_slugs(root))):
        _restore_latest(SnapshotFiles(root, slug, after))
    return count


def _restore_latest(files: SnapshotFiles) -> None:
    """Publish the newest remaining snapshot of a query as `latest`, also after a killed call."""
    with storage_errors(files.latest):
        minute = read_minute(files.latest)
        if minute and minute <= files.timestamp:
            return
        files.latest.unlink(missing_ok=True)
    remaining = (
        one for day in list_days(files.root, files.slug) for one in on_disk(files.root, files.slug, day)
    )
    newest = next((one for one in remaining if one.is_stored), None)
    if newest:
        publish(newest.files.complaints, newest.files.latest)
