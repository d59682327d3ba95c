"""Merge of observations, batch by batch: new complaints, changes, and the history."""

from collections.abc import Iterator

from sqlalchemy import Connection

from luigi_etl.database.late_arrivals import Comparison, LateMerger
from luigi_etl.database.observations import ALL_UNSET, Observation, as_history_text
from luigi_etl.database.rows import (
    Change,
    SnapshotRef,
    StoredComplaint,
    append_history,
    create_complaint,
    insert_complaints,
    load_complaints,
    replace_complaints,
    set_times,
)
from luigi_etl.database.schema import FIELDS
from luigi_etl.database.withdrawals import undo_withdrawals


class BatchMerger:
    """Merges a snapshot batch by batch."""

    def __init__(self, connection: Connection, snapshot: SnapshotRef) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._late = LateMerger(connection, snapshot)

    def merge(self, batch: list[Observation]) -> None:
        """Merge a batch of observations."""
        seen: dict[str, Observation] = {}
        for one in batch:
            seen.setdefault(one.complaint_id, one)  # rejected hits come last, so a valid one wins
        before = load_complaints(self._connection, seen.keys())
        known: list[Comparison] = [(before[number], one) for number, one in seen.items() if number in before]
        self._add(
            [one for one in seen.values() if one.complaint_id not in before and one.values is not ALL_UNSET]
        )
        self._update([pair for pair in known if pair[0].last_seen <= self._snapshot.timestamp])
        self._late.merge([pair for pair in known if pair[0].last_seen > self._snapshot.timestamp])

    def _add(self, new: list[Observation]) -> None:
        rows = [create_complaint(one, self._snapshot.timestamp) for one in new]
        insert_complaints(self._connection, rows, self._snapshot.id)

    def _update(self, pairs: list[Comparison]) -> None:
        minute = self._snapshot.timestamp
        seen = [(before, before.with_observation(one, minute)) for before, one in pairs]
        changed = [(before, after) for before, after in seen if before._replace(last_seen=minute) != after]
        replace_complaints(self._connection, [after for _, after in changed])
        append_history(self._connection, [line for pair in changed for line in self._changes(*pair)])
        changed_ids = {before.complaint_id for before, _ in changed}
        same = [before.complaint_id for before, _ in pairs if before.complaint_id not in changed_ids]
        set_times(self._connection, same, last_seen=minute)
        undo_withdrawals(self._connection, self._snapshot, [before for before, _ in pairs])

    def _changes(self, before: StoredComplaint, after: StoredComplaint) -> Iterator[Change]:
        for field, old, new in zip(FIELDS, before.values, after.values, strict=True):
            if old != new:
                yield Change(
                    before.complaint_id,
                    "changed",
                    self._snapshot.id,
                    field,
                    as_history_text(old),
                    as_history_text(new),
                )
