"""What an older snapshot tells of a complaint that was seen later: not its present, but how it came to be.

Between two read_observations the history is as fine as the snapshots merged; one that comes late puts its own
line where it belongs, and mends the line after it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET
from sqlalchemy import Connection, delete, func, select, update

from luigi_etl.database.observations import Observation, Value, as_text
from luigi_etl.database.rows import Change, SnapshotRef, StoredComplaint, append_history, replace_complaints
from luigi_etl.database.schema import FIELDS, complaints, history, snapshots

Comparison = tuple[StoredComplaint, Observation]


class HistoryLine(NamedTuple):
    """A line of the history with its place in time."""

    id: int
    complaint_id: str
    field: str
    old: str | None
    new: str | None
    timestamp: datetime


class OlderMerge:
    """Merges read_observations of complaints that were seen in later snapshots, too."""

    def __init__(self, connection: Connection, snapshot: SnapshotRef) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._minutes: dict[datetime, int] = {}

    def take(self, pairs: Sequence[Comparison]) -> None:
        """Merge the read_observations of a batch."""
        if not pairs:
            return
        lines = self._lines([one.complaint_id for one, _ in pairs])
        merged = [self._merged(one, sighting, lines.get(one.complaint_id, [])) for one, sighting in pairs]
        replace_complaints(
            self._connection,
            [after for (before, _), after in zip(pairs, merged, strict=True) if before != after],
        )
        self._see_first([one.complaint_id for one, _ in pairs if one.first_seen > self._snapshot.timestamp])
        self._date_last_changes([one.complaint_id for one, _ in pairs])

    def _merged(
        self, held: StoredComplaint, sighting: Observation, lines: Iterable[HistoryLine]
    ) -> StoredComplaint:
        """Return the complaint as it is to be held, its history being mended."""
        after = held._replace(first_seen=min(held.first_seen, self._snapshot.timestamp))
        for at, (field, seen) in enumerate(zip(FIELDS, sighting.values, strict=True)):
            if seen is UNSET:
                continue
            newest = held.observed(at)
            if newest is None or newest <= self._snapshot.timestamp:
                self._learn(held, at, seen, is_first=newest is None)
                after = after.with_value(at, seen, self._snapshot.timestamp)
            else:
                of_field = [line for line in lines if line.field == field]
                self._place(held, at, as_text(seen), of_field, newest)
        return after

    def _learn(self, held: StoredComplaint, at: int, seen: Value, *, is_first: bool) -> None:
        """Remember that a field has another value since this snapshot, or that it always had."""
        is_from_the_start = is_first and self._snapshot.timestamp < held.first_seen
        if held.values[at] != seen and not is_from_the_start:
            self._add(held, self._snapshot.id, FIELDS[at], as_text(held.values[at]), as_text(seen))

    def _place(
        self, held: StoredComplaint, at: int, seen: str | None, lines: list[HistoryLine], newest: datetime
    ) -> None:
        """Put into the history that a field had this value, which was another one later."""
        field, present = FIELDS[at], as_text(held.values[at])
        before = [line for line in lines if line.timestamp <= self._snapshot.timestamp]
        after = lines[len(before) :]
        known = before[-1].new if before else after[0].old if after else present
        if seen == known:
            return
        if self._snapshot.timestamp < held.first_seen:
            self._add(held, self._snapshot_of(held.first_seen), field, seen, known)
            return
        self._add(held, self._snapshot.id, field, known, seen)
        if not after:
            self._add(held, self._snapshot_of(newest), field, seen, present)
        elif after[0].new == seen:
            self._connection.execute(delete(history).where(history.c.id == after[0].id))
        else:
            self._connection.execute(update(history).where(history.c.id == after[0].id).values(old=seen))

    def _add(
        self, held: StoredComplaint, snapshot_id: int, field: str, old: str | None, new: str | None
    ) -> None:
        append_history(self._connection, [Change(held.complaint_id, "changed", snapshot_id, field, old, new)])

    def _snapshot_of(self, minute: datetime) -> int:
        """Return a snapshot of a minute in which something was seen."""
        if minute not in self._minutes:
            found = select(func.min(snapshots.c.id)).where(snapshots.c.timestamp == minute)
            self._minutes[minute] = self._connection.scalar(found) or self._snapshot.id
        return self._minutes[minute]

    def _lines(self, complaint_ids: list[str]) -> dict[str, list[HistoryLine]]:
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

    def _see_first(self, complaint_ids: list[str]) -> None:
        """Let complaints be new in this snapshot rather than in the one that was merged before it."""
        new = (history.c.complaint_id.in_(complaint_ids), history.c.change == "new")
        self._connection.execute(update(history).where(*new).values(snapshot_id=self._snapshot.id))

    def _date_last_changes(self, complaint_ids: list[str]) -> None:
        newest = (
            select(func.max(snapshots.c.timestamp))
            .join(history, snapshots.c.id == history.c.snapshot_id)
            .where(history.c.complaint_id == complaints.c.complaint_id, history.c.change == "changed")
            .scalar_subquery()
        )
        self._connection.execute(
            update(complaints)
            .where(complaints.c.complaint_id.in_(complaint_ids))
            .values(last_changed=func.coalesce(newest, complaints.c.first_seen))
        )
