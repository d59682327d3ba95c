"""The protection of a query's newest CSV from snapshots with implausibly few complaints."""

import contextlib
import csv
from datetime import datetime, timezone

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.snapshot.datapackage_reader import read_counts
from luigi_etl.snapshot.guard import HELD_BACK_REMEDY, Guard, is_confirmed
from luigi_etl.snapshot.listing import list_days, list_snapshots
from luigi_etl.snapshot.parse import Summary
from luigi_etl.snapshot.paths import SnapshotFiles


def find_reason_to_keep(files: SnapshotFiles, summary: Summary, guard: Guard) -> str:
    """Return the reason to keep the newest CSV for now, in one line; "" if the snapshot may replace it.

    A snapshot of an earlier day confirms a loss. Data that the CFPB flags never replaces more data and
    confirms nothing.
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
        f"{HELD_BACK_REMEDY}"
    )


def _minute_of_newest(files: SnapshotFiles) -> datetime:
    return datetime.fromtimestamp(files.latest.stat().st_mtime, timezone.utc).replace(tzinfo=None)


def _rows_of_newest(files: SnapshotFiles, minute: datetime) -> int:
    """Return the number of complaints in the newest CSV, from its description or else from its rows."""
    try:
        return read_counts(SnapshotFiles(files.root, files.slug, minute).datapackage).parsed
    except DamagedFileError:
        with files.latest.open(encoding="utf-8", newline="") as stream:
            return max(0, sum(1 for _ in csv.reader(stream)) - 1)


def _is_confirmed(files: SnapshotFiles, newest: datetime, rows: int, guard: Guard) -> bool:
    """Return whether a snapshot of an earlier day, but newer than the newest CSV, had the same loss."""
    for day in list_days(files.root, files.slug):
        if day < newest.date():
            break
        for found in list_snapshots(files.root, files.slug, day):
            minute = found.files.timestamp
            if found.is_stored and newest < minute and is_confirmed(minute, files.timestamp):
                with contextlib.suppress(DamagedFileError):
                    earlier = read_counts(found.files.datapackage)
                    if not earlier.is_flagged:
                        return not guard.is_implausible(earlier.parsed - rows, earlier.parsed)
    return False
