"""Late-arriving observations: extend the history, keep current values.

A late observation adds its own line to the history and corrects the line after it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET
from sqlalchemy import Connection, delete, func, select, update

from luigi_etl.database.observations import Observation, Value, as_history_text
from luigi_etl.database.rows import (
    Change,
    SnapshotRef,
    StoredComplaint,
    append_history,
    move_first_snapshot,
    replace_older_values,
    set_times,
)
from luigi_etl.database.schema import FIELDS, digested_file, history, snapshots, stored_complaints

Comparison = tuple[StoredComplaint, Observation]


class HistoryLine(NamedTuple):
    """A line of the history, with its minute."""

    id: int
    complaint_id: str
    field: str
    old: str | None
    new: str | None
    timestamp: datetime


class LateMerger:
    """Merges observations of complaints that later snapshots also hold."""

    def __init__(self, connection: Connection, snapshot: SnapshotRef) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._minutes: dict[datetime, int] = {}
        self._digested: datetime | None = None

    def merge(self, pairs: Sequence[Comparison]) -> None:
        """Merge a batch of late observations."""
        if not pairs:
            return
        if self._is_newer_than_digests():  # then the line of the digested file may be a change
            set_times(self._connection, [one.complaint_id for one, _ in pairs], file_digest=None)
        lines = self._load_history([one.complaint_id for one, _ in pairs])
        merged = [
            self._merge_one(one, observation, lines.get(one.complaint_id, [])) for one, observation in pairs
        ]
        replace_older_values(
            self._connection,
            [after for (before, _), after in zip(pairs, merged, strict=True) if before != after],
        )
        earlier = [one.complaint_id for one, _ in pairs if one.first_seen > self._snapshot.timestamp]
        move_first_snapshot(self._connection, earlier, self._snapshot.id)
        self._update_last_changed([one.complaint_id for one, _ in pairs])

    def _merge_one(
        self, stored: StoredComplaint, observation: Observation, lines: Iterable[HistoryLine]
    ) -> StoredComplaint:
        """Correct the history; return the complaint to store."""
        after = stored
        for at, (field, seen) in enumerate(zip(FIELDS, observation.values, strict=True)):
            if seen is UNSET:
                continue
            newest = stored.last_sent_at(at)
            if newest is None or newest <= self._snapshot.timestamp:
                self._record_newer_value(stored, at, seen, is_first=newest is None)
                after = after.with_value(at, seen, self._snapshot.timestamp)
            else:
                of_field = [line for line in lines if line.field == field]
                self._insert_into_history(stored, at, as_history_text(seen), of_field, newest)
        return after

    def _record_newer_value(self, stored: StoredComplaint, at: int, seen: Value, *, is_first: bool) -> None:
        """Record a change in this snapshot, unless the value holds from the first snapshot on."""
        is_from_the_start = is_first and self._snapshot.timestamp < stored.first_seen
        if stored.values[at] != seen and not is_from_the_start:
            self._append_change(
                stored,
                self._snapshot.id,
                FIELDS[at],
                as_history_text(stored.values[at]),
                as_history_text(seen),
            )

    def _insert_into_history(
        self, stored: StoredComplaint, at: int, seen: str | None, lines: list[HistoryLine], newest: datetime
    ) -> None:
        """Insert a value that a later one replaced, and correct the line after it."""
        field, present = FIELDS[at], as_history_text(stored.values[at])
        before = [line for line in lines if line.timestamp <= self._snapshot.timestamp]
        after = lines[len(before) :]
        known = before[-1].new if before else after[0].old if after else present
        if seen == known:
            return
        if self._snapshot.timestamp < stored.first_seen:
            self._append_change(stored, self._snapshot_of(stored.first_seen), field, seen, known)
            return
        self._append_change(stored, self._snapshot.id, field, known, seen)
        if not after:
            self._append_change(stored, self._snapshot_of(newest), field, seen, present)
        elif after[0].new == seen:
            self._connection.execute(delete(history).where(history.c.id == after[0].id))
        else:
            self._connection.execute(update(history).where(history.c.id == after[0].id).values(old=seen))

    def _append_change(
        self, stored: StoredComplaint, snapshot_id: int, field: str, old: str | None, new: str | None
    ) -> None:
        append_history(
            self._connection, [Change(stored.complaint_id, "changed", snapshot_id, field, old, new)]
        )

    def _snapshot_of(self, minute: datetime) -> int:
        """Return the first snapshot of a minute."""
        if minute not in self._minutes:
            found = select(func.min(snapshots.c.id)).where(snapshots.c.timestamp == minute)
            self._minutes[minute] = self._connection.scalar(found) or self._snapshot.id
        return self._minutes[minute]

    def _is_newer_than_digests(self) -> bool:
        if self._digested is None:
            self._digested = self._connection.scalar(select(digested_file.c.as_of)) or datetime.max
        return self._snapshot.timestamp > self._digested

    def _load_history(self, complaint_ids: list[str]) -> dict[str, list[HistoryLine]]:
        found = self._connection.execute(
            select(
                history.c.id,
                history.c.complaint_id,
                history.c.field,
                history.c.old,
                history.c.new,
                snapshots.c.timestamp,
            )
            .join(snapshots, snapshots.c.id == history.c.snapshot_id)
            .where(history.c.complaint_id.in_(complaint_ids), history.c.change == "changed")
            .order_by(snapshots.c.timestamp, history.c.id)
        )
        lines: dict[str, list[HistoryLine]] = {}
        for row in found:
            lines.setdefault(row.complaint_id, []).append(HistoryLine(*row))
        return lines

    def _update_last_changed(self, complaint_ids: list[str]) -> None:
        newest = (
            select(func.max(snapshots.c.timestamp))
            .join(history, snapshots.c.id == history.c.snapshot_id)
            .where(history.c.complaint_id == stored_complaints.c.complaint_id, history.c.change == "changed")
            .scalar_subquery()
        )
        self._connection.execute(
            update(stored_complaints)
            .where(stored_complaints.c.complaint_id.in_(complaint_ids))
            .values(last_changed=newest)
        )
