"""The complaints and syncs that a later snapshot touched."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, or_, select

from luigi_etl.database.schema import complaints, history, snapshots, syncs
from luigi_etl.database.sync_table import SyncWindow, decode_windows


def select_touched(after: datetime) -> Any:
    """Return a SELECT of the complaints that a later snapshot touched."""
    by_row = select(complaints.c.complaint_id).where(
        or_(complaints.c.last_seen > after, complaints.c.withdrawn > after)
    )
    by_history = (
        select(history.c.complaint_id)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(snapshots.c.timestamp > after)
    )
    return by_row.union(by_history)


def find_later_syncs(connection: Connection, after: datetime) -> list[int]:
    """Return the ids of the syncs that are later, or read a window later or after a later merge.

    The history may be incomplete for their windows. Without these syncs, the next one reads the days again.
    """
    first = select(func.min(snapshots.c.id)).where(snapshots.c.timestamp > after).scalar_subquery()
    merged_since = connection.execute(
        select(snapshots.c.timestamp, snapshots.c.query).where(snapshots.c.id >= first)
    )
    merged_windows = {SyncWindow(*row) for row in merged_since}
    rows = connection.execute(select(syncs.c.id, syncs.c.timestamp, syncs.c.windows, syncs.c.lookups))
    return [
        row.id
        for row in rows
        if row.timestamp > after
        or any(
            window.timestamp > after or window in merged_windows
            for text in (row.windows, row.lookups)
            for window in decode_windows(text)
        )
    ]
