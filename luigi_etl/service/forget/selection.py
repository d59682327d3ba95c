"""The complaints and syncs that a later snapshot touched."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, func, or_, select

from luigi_etl.database.schema import complaints, history, snapshots, syncs


def touched_after(after: datetime) -> Any:
    """Select the complaints that a later snapshot touched."""
    by_row = select(complaints.c.complaint_id).where(
        or_(complaints.c.last_seen > after, complaints.c.withdrawn > after)
    )
    by_line = (
        select(history.c.complaint_id)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(snapshots.c.timestamp > after)
    )
    return by_row.union(by_line)


class _Window(msgspec.Struct, frozen=True):
    timestamp: datetime
    query: str


def later_syncs(connection: Connection, after: datetime) -> list[int]:
    """Return the syncs that began later or read a window later, or once the first later one was merged.

    Of these the history may hold too little. Without them the next sync reads the same days again.
    """
    first = select(func.min(snapshots.c.id)).where(snapshots.c.timestamp > after).scalar_subquery()
    since = connection.execute(
        select(snapshots.c.timestamp, snapshots.c.query).where(snapshots.c.id >= first)
    )
    windows = {_Window(*row) for row in since}
    found = connection.execute(select(syncs.c.id, syncs.c.timestamp, syncs.c.windows, syncs.c.lookups))
    return [
        row.id
        for row in found
        if row.timestamp > after
        or any(
            one.timestamp > after or one in windows
            for text in (row.windows, row.lookups)
            for one in _windows(text)
        )
    ]


def _windows(text: str | None) -> list[_Window]:
    return msgspec.json.decode(text, type=list[_Window]) if text else []
