"""Merging of a snapshot in one transaction: new, changed, withdrawn and returned complaints."""

from collections.abc import Callable, Iterator
from itertools import chain, islice

from sqlalchemy import Connection

from luigi_etl.api.query import Query, parse_stored_query
from luigi_etl.common.errors import HeldBackError
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.database.batch_merge import BatchMerger
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import record_snapshot
from luigi_etl.database.observations import ALL_UNSET, Observation, read_observations, read_rejected_ids
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.snapshot_record import SnapshotToMerge, check_kind, register, update_record
from luigi_etl.database.sql_filter import has_stable_filters
from luigi_etl.database.withdrawals import mark_withdrawn
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.datapackage_reader import hash_of_file, read_facts
from luigi_etl.snapshot.guard import Guard
from luigi_etl.snapshot.parse import Summary, read_summary
from luigi_etl.snapshot.paths import SnapshotFiles

BATCH = 1000
_GUARD = Guard()


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
) -> None:
    """Merge the observations of a snapshot as `merge` does; an error that they raise undoes the merge."""

    def merge_rows(connection: Connection, ref: SnapshotRef) -> SnapshotToMerge:
        _merge_batches(connection, ref, observations, lambda done: report(done, snapshot.rows))
        return snapshot

    merge_in_transaction(database, snapshot, merge_rows, guard)


MergeRows = Callable[[Connection, SnapshotRef], SnapshotToMerge]


def merge_in_transaction(
    database: Database, snapshot: SnapshotToMerge, merge_rows: MergeRows, guard: Guard = _GUARD
) -> None:
    """Record a snapshot, merge its rows, and mark the complaints that it lacks, as `merge` does.

    `merge_rows` returns the snapshot with the facts that only the last row could show.
    """
    with database.writing() as connection:
        check_kind(connection, snapshot)
        ref = register(connection, snapshot)
        if ref is None:
            return
        merged = merge_rows(connection, ref)
        loss = mark_withdrawn(connection, ref._replace(is_complete=merged.is_complete), guard)
        if loss:  # later merges must not use the snapshot as proof of withdrawals
            merged = merged._replace(is_complete=False, is_whole=False)
        if merged != snapshot:
            update_record(connection, ref, merged)
        record_snapshot(connection, snapshot.timestamp, ref.query, snapshot.limit, is_whole=merged.is_whole)
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
    merger = BatchMerger(connection, snapshot)
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
