"""Merging of a snapshot in one transaction: new, changed, withdrawn and returned complaints."""

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
from luigi_etl.database.late_arrivals import Comparison, LateMerger
from luigi_etl.database.observations import (
    ALL_UNSET,
    Observation,
    as_history_text,
    read_observations,
    read_rejected_ids,
)
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
from luigi_etl.database.schema import FIELDS, snapshots
from luigi_etl.database.sql_filter import has_stable_filters
from luigi_etl.database.withdrawals import mark_withdrawn, undo_withdrawals
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.datapackage_reader import hash_of_file, read_facts
from luigi_etl.snapshot.guard import Guard
from luigi_etl.snapshot.parse import Summary, read_summary
from luigi_etl.snapshot.paths import SnapshotFiles

BATCH = 1000
_GUARD = Guard()


class SnapshotToMerge(NamedTuple):
    """A snapshot to merge: its query, its counts, and whether it proves that a complaint is absent.

    `timestamp` is naive UTC. `limit` 0 means every complaint. `content_hash` distinguishes two versions of
    the same minute, query and limit.
    """

    timestamp: datetime
    query: str
    limit: int
    rows: int
    last_indexed: str | None
    is_complete: bool
    is_sandbox: bool
    content_hash: str
    is_whole: bool = False  # it holds every match, and none was rejected
    source: str = ""  # the hash of a complaint file's content; empty: the API


def merge(
    database: Database,
    files: SnapshotFiles,
    report: ProgressCallback = ignore_progress,
    guard: Guard = _GUARD,
) -> None:
    """Merge a stored snapshot into the database; merging it again changes nothing.

    The order of merges does not matter: an earlier snapshot never replaces a later value. An unset field is
    no information; null means that there is no value. `report` is called after each batch.

    Raises:
        DamagedFileError: a file of the snapshot was changed after its task wrote it.
        DatabaseError: the database can't be used, or holds complaints of the other kind, sandbox or CFPB.
        DatabaseUnavailableError, StorageError: see `Database`; the database did not change.
        HeldBackError: the snapshot is merged, but lacks implausibly many complaints; none is withdrawn.

    """
    facts = read_facts(files.datapackage, files.complaints, redo_command(files, "store"))
    snapshot = SnapshotToMerge(
        files.timestamp,
        facts.query,
        facts.limit,
        rows=facts.parsed,
        last_indexed=facts.last_indexed,
        is_complete=facts.limit == 0
        and not facts.is_flagged
        and facts.parsed + facts.rejected == facts.hits_total
        and _can_prove_absence(files, parse_stored_query(facts.query)),
        is_sandbox=bool(facts.sandbox),
        content_hash=facts.parsed_hash,
        is_whole=facts.limit == 0 and not facts.is_flagged and facts.parsed == facts.hits_total,
    )
    merge_observations(database, snapshot, _all_observations(files, facts.parsed_hash), report, guard)


def merge_window(
    database: Database, files: SnapshotFiles, query: Query, report: ProgressCallback = ignore_progress
) -> None:
    """Merge a window of a sync as `merge` does; a window has no CSV and no Data Package."""
    summary = read_summary(files.summary)
    content_hash = hash_of_file(files.parsed)
    snapshot = SnapshotToMerge(
        files.timestamp,
        str(query),
        0,
        rows=summary.parsed,
        last_indexed=summary.last_indexed,
        is_complete=_has_every_hit(summary) and _can_prove_absence(files, query),
        is_sandbox=bool(summary.sandbox),
        content_hash=content_hash,
        is_whole=not summary.is_flagged and summary.parsed == summary.hits_total,
    )
    merge_observations(database, snapshot, _all_observations(files, content_hash), report)


def merge_observations(
    database: Database,
    snapshot: SnapshotToMerge,
    observations: Iterator[Observation],
    report: ProgressCallback = ignore_progress,
    guard: Guard = _GUARD,
    settle: Callable[[SnapshotToMerge], SnapshotToMerge] = lambda snapshot: snapshot,
) -> None:
    """Merge the observations of a snapshot as `merge` does; an error that they raise undoes the merge.

    After the last observation, `settle` returns the snapshot with the facts that only they could show.
    """
    with database.writing() as connection:
        _check_kind(connection, snapshot)
        ref = _register(connection, snapshot)
        if ref is None:
            return
        _merge_batches(connection, ref, observations, lambda done: report(done, snapshot.rows))
        settled = settle(snapshot)
        loss = mark_withdrawn(connection, ref._replace(is_complete=settled.is_complete), guard)
        if loss:  # later merges must not use the snapshot as proof of withdrawals
            settled = settled._replace(is_complete=False, is_whole=False)
        if settled != snapshot:
            values = {"rows": settled.rows, "is_complete": settled.is_complete}
            connection.execute(update(snapshots).where(snapshots.c.id == ref.id).values(values))
        record_snapshot(connection, snapshot.timestamp, ref.query, snapshot.limit, is_whole=settled.is_whole)
    if loss:
        raise HeldBackError(loss.describe(ref.query))


def merge_again(connection: Connection, snapshot: SnapshotRef, observations: Iterator[Observation]) -> None:
    """Merge observations of a snapshot that is on record."""
    _merge_batches(connection, snapshot, observations, lambda _: None)
    mark_withdrawn(connection, snapshot)


def _merge_batches(
    connection: Connection,
    snapshot: SnapshotRef,
    observations: Iterator[Observation],
    report: Callable[[int], object],
) -> None:
    """Merge values batch by batch; `report` gets the count so far."""
    merger = _BatchMerger(connection, snapshot)
    done = 0
    while batch := list(islice(observations, BATCH)):
        merger.merge(batch)
        done += len(batch)
        report(done)


def _has_every_hit(summary: Summary) -> bool:
    return not summary.is_flagged and summary.parsed + summary.rejected == summary.hits_total


def _can_prove_absence(files: SnapshotFiles, query: Query) -> bool:
    """Return whether each hit has an id and complaints stay in the query as they grow older."""
    return has_stable_filters(query) and None not in read_rejected_ids(files.rejected)


def _all_observations(files: SnapshotFiles, parsed_hash: str) -> Iterator[Observation]:
    rejected = (Observation(one, ALL_UNSET) for one in read_rejected_ids(files.rejected) if one)
    return chain(read_observations(files.parsed, parsed_hash), rejected)


def _check_kind(connection: Connection, snapshot: SnapshotToMerge) -> None:
    if connection.scalar(select(1).where(snapshots.c.is_sandbox != snapshot.is_sandbox).limit(1)):
        new, stored = ("sandbox", "CFPB") if snapshot.is_sandbox else ("CFPB", "sandbox")
        raise DatabaseError(
            f"the snapshot is of the {new}, but the database holds complaints of the {stored}; "
            "set [storage] database to another"
        )


def _register(connection: Connection, snapshot: SnapshotToMerge) -> SnapshotRef | None:
    """Put a snapshot on record; return None if exactly this one is already merged."""
    key = {
        "timestamp": snapshot.timestamp,
        "query": snapshot.query,
        "row_limit": snapshot.limit,
        "source": snapshot.source,
    }
    identity = {"source": snapshot.source} if snapshot.source else key  # a file counts once, at any minute
    known = connection.execute(
        select(snapshots.c.id, snapshots.c.content_hash, snapshots.c.is_complete).filter_by(**identity)
    ).one_or_none()
    if known and (known.content_hash, known.is_complete) == (snapshot.content_hash, snapshot.is_complete):
        return None
    values = {
        "rows": snapshot.rows,
        "last_indexed": snapshot.last_indexed,
        "is_complete": snapshot.is_complete,
        "is_sandbox": snapshot.is_sandbox,
        "content_hash": snapshot.content_hash,
    }
    if known:
        number = known.id
        connection.execute(update(snapshots).where(snapshots.c.id == number).values(values))
    else:
        number = connection.scalar(snapshots.insert().values(**key, **values).returning(snapshots.c.id))
    query = parse_stored_query(snapshot.query)
    return SnapshotRef(number, snapshot.timestamp, query, snapshot.is_complete, bool(snapshot.source))


class _BatchMerger:
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
        insert_complaints(self._connection, [create_complaint(one, self._snapshot.timestamp) for one in new])
        append_history(self._connection, [Change(one.complaint_id, "new", self._snapshot.id) for one in new])

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
