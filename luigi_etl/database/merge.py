"""A snapshot into the database, in one transaction: what is new, changed, gone, or back."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import chain, islice
from typing import NamedTuple

from sqlalchemy import Connection, select, update

from luigi_etl.api.query import Query, parse_stored_query
from luigi_etl.common.errors import DatabaseError, HeldBackError
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import record_snapshot
from luigi_etl.database.late_arrivals import Comparison, OlderMerge
from luigi_etl.database.observations import (
    ALL_UNSET,
    Observation,
    as_text,
    read_observations,
    read_rejected_ids,
)
from luigi_etl.database.rows import (
    Change,
    SnapshotRef,
    StoredComplaint,
    append_history,
    first_seen,
    insert_complaints,
    load_complaints,
    replace_complaints,
    set_times,
)
from luigi_etl.database.schema import FIELDS, snapshots
from luigi_etl.database.sql_filter import is_lasting
from luigi_etl.database.withdrawals import mark_withdrawn, undo_withdrawals
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.datapackage import hash_of_file, read_facts
from luigi_etl.snapshot.guard import Guard
from luigi_etl.snapshot.parse import Summary, read_summary
from luigi_etl.snapshot.paths import SnapshotFiles

BATCH = 1000
_GUARD = Guard()


class SnapshotToMerge(NamedTuple):
    """A snapshot to be merged: what was asked and answered, and whether a complaint it lacks is gone.

    `timestamp` is naive UTC, `limit` 0 is every complaint, `content_hash` tells it from another one of the
    same minute, query and limit.
    """

    timestamp: datetime
    query: str
    limit: int
    rows: int
    last_indexed: str | None
    is_complete: bool
    is_sandbox: bool
    content_hash: str
    is_whole: bool = False  # all that match were merged, none was rejected


def merge(
    database: Database,
    files: SnapshotFiles,
    report: ProgressCallback = ignore_progress,
    guard: Guard = _GUARD,
) -> None:
    """Merge a stored snapshot into the database; one that is in it already changes nothing.

    Values of later snapshots are never replaced by those of earlier ones, whatever the order in which they
    are merged. A field that was not sent says nothing; null says that there is no value. `report` hears of
    each batch.

    Raises:
        DamagedFileError: a file of the snapshot is not what its task wrote.
        DatabaseError: the database can't be used, or holds complaints of another kind.
        DatabaseUnavailableError, StorageError: as `Database` raises them; the database is as it was before.
        HeldBackError: the snapshot is merged, but lacks implausibly many complaints; none is withdrawn.

    """
    facts = read_facts(files.datapackage, files.complaints, redo_command(files, "store"))
    taken = SnapshotToMerge(
        files.timestamp,
        facts.query,
        facts.limit,
        rows=facts.parsed,
        last_indexed=facts.last_indexed,
        is_complete=facts.limit == 0
        and not facts.is_flagged
        and facts.parsed + facts.rejected == facts.hits_total
        and _names_all(files, parse_stored_query(facts.query)),
        is_sandbox=bool(facts.sandbox),
        content_hash=facts.parsed_hash,
        is_whole=facts.limit == 0 and not facts.is_flagged and facts.parsed == facts.hits_total,
    )
    merge_observations(database, taken, _seen(files, facts.parsed_hash), report, guard)


def merge_window(
    database: Database, files: SnapshotFiles, query: Query, report: ProgressCallback = ignore_progress
) -> None:
    """Merge a window of a sync, of which there is no more than the parsed complaints, as `merge` does."""
    summary = read_summary(files.summary)
    content_hash = hash_of_file(files.parsed)
    taken = SnapshotToMerge(
        files.timestamp,
        str(query),
        0,
        rows=summary.parsed,
        last_indexed=summary.last_indexed,
        is_complete=_is_whole(summary) and _names_all(files, query),
        is_sandbox=bool(summary.sandbox),
        content_hash=content_hash,
        is_whole=not summary.is_flagged and summary.parsed == summary.hits_total,
    )
    merge_observations(database, taken, _seen(files, content_hash), report)


def merge_observations(
    database: Database,
    taken: SnapshotToMerge,
    seen: Iterator[Observation],
    report: ProgressCallback = ignore_progress,
    guard: Guard = _GUARD,
) -> None:
    """Merge what was seen of complaints as `merge` does, and raise the same; what `seen` raises undoes it."""
    with database.writing() as connection:
        _check_kind(connection, taken)
        snapshot = _enter(connection, taken)
        if snapshot is None:
            return
        _take_all(connection, snapshot, seen, lambda done: report(done, taken.rows))
        held = mark_withdrawn(connection, snapshot, guard)
        if held:  # a snapshot that is not complete proves nothing when others are merged
            incomplete = update(snapshots).where(snapshots.c.id == snapshot.id).values(is_complete=False)
            connection.execute(incomplete)
        record_snapshot(
            connection, taken.timestamp, snapshot.query, taken.limit, is_whole=taken.is_whole and not held
        )
    if held:
        raise HeldBackError(held.describe(snapshot.query))


def merge_again(connection: Connection, snapshot: SnapshotRef, seen: Iterator[Observation]) -> None:
    """Merge what a snapshot that the database knows saw of complaints."""
    _take_all(connection, snapshot, seen, lambda _: None)
    mark_withdrawn(connection, snapshot)


def _take_all(
    connection: Connection,
    snapshot: SnapshotRef,
    seen: Iterator[Observation],
    report: Callable[[int], object],
) -> None:
    """Merge the values of what was seen; `report` gets the count so far."""
    batches = _Batches(connection, snapshot)
    done = 0
    while batch := list(islice(seen, BATCH)):
        batches.take(batch)
        done += len(batch)
        report(done)


def _is_whole(summary: Summary) -> bool:
    return not summary.is_flagged and summary.parsed + summary.rejected == summary.hits_total


def _names_all(files: SnapshotFiles, query: Query) -> bool:
    """Return whether each hit has an id, and complaints do not leave the query by growing older."""
    return is_lasting(query) and None not in read_rejected_ids(files.rejected)


def _seen(files: SnapshotFiles, parsed_hash: str) -> Iterator[Observation]:
    rejected = (Observation(one, ALL_UNSET) for one in read_rejected_ids(files.rejected) if one)
    return chain(read_observations(files.parsed, parsed_hash), rejected)


def _check_kind(connection: Connection, taken: SnapshotToMerge) -> None:
    if connection.scalar(select(1).where(snapshots.c.is_sandbox != taken.is_sandbox).limit(1)):
        ours, theirs = ("sandbox", "CFPB") if taken.is_sandbox else ("CFPB", "sandbox")
        raise DatabaseError(
            f"the snapshot is of the {ours}, what the database holds is of the {theirs}; "
            "set [storage] database to another"
        )


def _enter(connection: Connection, taken: SnapshotToMerge) -> SnapshotRef | None:
    """Return the snapshot as the database knows it from now on, or None if it was merged as it is."""
    key = {"timestamp": taken.timestamp, "query": taken.query, "row_limit": taken.limit}
    known = connection.execute(
        select(snapshots.c.id, snapshots.c.content_hash, snapshots.c.is_complete).filter_by(**key)
    ).one_or_none()
    if known and (known.content_hash, known.is_complete) == (taken.content_hash, taken.is_complete):
        return None
    told = {
        "rows": taken.rows,
        "last_indexed": taken.last_indexed,
        "is_complete": taken.is_complete,
        "is_sandbox": taken.is_sandbox,
        "content_hash": taken.content_hash,
    }
    if known:
        number = known.id
        connection.execute(update(snapshots).where(snapshots.c.id == number).values(told))
    else:
        number = connection.scalar(snapshots.insert().values(**key, **told).returning(snapshots.c.id))
    return SnapshotRef(number, taken.timestamp, parse_stored_query(taken.query), taken.is_complete)


class _Batches:
    """Merges a snapshot batch by batch."""

    def __init__(self, connection: Connection, snapshot: SnapshotRef) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._older = OlderMerge(connection, snapshot)

    def take(self, batch: list[Observation]) -> None:
        """Merge some read_observations."""
        seen: dict[str, Observation] = {}
        for one in batch:
            seen.setdefault(one.complaint_id, one)  # what could not be read comes last
        before = load_complaints(self._connection, seen.keys())
        known: list[Comparison] = [(before[one], sighting) for one, sighting in seen.items() if one in before]
        self._add(
            [one for one in seen.values() if one.complaint_id not in before and one.values is not ALL_UNSET]
        )
        self._update([pair for pair in known if pair[0].last_seen <= self._snapshot.timestamp])
        self._older.take([pair for pair in known if pair[0].last_seen > self._snapshot.timestamp])

    def _add(self, new: list[Observation]) -> None:
        insert_complaints(self._connection, [first_seen(one, self._snapshot.timestamp) for one in new])
        append_history(self._connection, [Change(one.complaint_id, "new", self._snapshot.id) for one in new])

    def _update(self, pairs: list[Comparison]) -> None:
        minute = self._snapshot.timestamp
        seen = [(before, before.seen(sighting, minute)) for before, sighting in pairs]
        other = [(before, after) for before, after in seen if before._replace(last_seen=minute) != after]
        replace_complaints(self._connection, [after for _, after in other])
        append_history(self._connection, [line for pair in other for line in self._changes(*pair)])
        others = {before.complaint_id for before, _ in other}
        same = [before.complaint_id for before, _ in pairs if before.complaint_id not in others]
        set_times(self._connection, same, last_seen=minute)
        undo_withdrawals(self._connection, self._snapshot, [before for before, _ in pairs])

    def _changes(self, before: StoredComplaint, after: StoredComplaint) -> Iterator[Change]:
        for field, old, new in zip(FIELDS, before.values, after.values, strict=True):
            if old != new:
                yield Change(
                    before.complaint_id, "changed", self._snapshot.id, field, as_text(old), as_text(new)
                )
