"""The newest CSV of a query: a run that holds implausibly less than the one before leaves it as it is."""

import contextlib
import csv
from datetime import datetime, timezone

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.snapshot.datapackage_reader import read_counts
from luigi_etl.snapshot.guard import RELEASE, Guard, is_confirmed
from luigi_etl.snapshot.listing import days, snapshots
from luigi_etl.snapshot.parse import Summary
from luigi_etl.snapshot.paths import SnapshotFiles


def find_reason_to_keep(files: SnapshotFiles, summary: Summary, guard: Guard) -> str:
    """Return why the newest CSV must not be replaced by a snapshot yet, in one line; nothing if it may be.

    A loss is believed where a snapshot of an earlier day shows it already. Data that the CFPB flags must not
    replace more of it, and confirms nothing. An older snapshot than the newest never replaces it.
    """
    try:
        newest = _minute_of_newest(files)
        before = _rows_of_newest(files, newest)
    except FileNotFoundError:
        return ""
    if newest >= files.timestamp:
        return ""
    lost = before - summary.parsed
    is_held_back = guard.holds_back(lost, before) or (summary.is_flagged and lost > 0 and not guard.accept)
    if not is_held_back or (not summary.is_flagged and _is_confirmed(files, newest, summary.parsed, guard)):
        return ""
    flagged = ", and the CFPB flags its data as stale or faulty" if summary.is_flagged else ""
    return (
        f"held back: {summary.parsed:,} complaints, but {files.latest} has {before:,} and stays{flagged}; "
        f"{RELEASE}"
    )


def _minute_of_newest(files: SnapshotFiles) -> datetime:
    return datetime.fromtimestamp(files.latest.stat().st_mtime, timezone.utc).replace(tzinfo=None)


def _rows_of_newest(files: SnapshotFiles, minute: datetime) -> int:
    """Return how many complaints the newest CSV holds: by its description or, without one, by its rows."""
    try:
        return read_counts(SnapshotFiles(files.root, files.slug, minute).datapackage).parsed
    except DamagedFileError:
        with files.latest.open(encoding="utf-8", newline="") as stream:
            return max(0, sum(1 for _ in csv.reader(stream)) - 1)


def _is_confirmed(files: SnapshotFiles, newest: datetime, rows: int, guard: Guard) -> bool:
    """Return whether a snapshot since the newest CSV, of an earlier day than this one, was as small."""
    for day in days(files.root, files.slug):
        if day < newest.date():
            break
        for found in snapshots(files.root, files.slug, day):
            minute = found.files.timestamp
            if found.is_stored and newest < minute and is_confirmed(minute, files.timestamp):
                with contextlib.suppress(DamagedFileError):
                    earlier = read_counts(found.files.datapackage)
                    if not earlier.is_flagged:
                        return not guard.is_implausible(earlier.parsed - rows, earlier.parsed)
    return False
