"""The database, compared with a snapshot."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from msgspec import UNSET
from sqlalchemy import Connection, select

from luigi_etl.api.query import Query, parse_stored_query
from luigi_etl.common.errors import DamagedFileError, EtlError, NoDatabaseError
from luigi_etl.common.terminal import brief
from luigi_etl.database.connection import Database
from luigi_etl.database.observations import Observation, ObservedValue, as_history_text, read_observations
from luigi_etl.database.rows import StoredComplaint, load_complaints
from luigi_etl.database.schema import FIELDS, complaints, history, unverified
from luigi_etl.database.schema import snapshots as merged_snapshots
from luigi_etl.database.sql_filter import to_condition
from luigi_etl.service.verify.verdict import LONGEST_DIFFERENCE, Verdict
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.datapackage_reader import read_description
from luigi_etl.snapshot.listing import FoundSnapshot
from luigi_etl.snapshot.paths import SnapshotFiles

BATCH = 500  # complaints for each look-up


class _DifferenceError(EtlError):
    """A difference between the database and a snapshot."""


def verify_database(database: Database, snapshots: Iterable[FoundSnapshot]) -> Verdict | None:
    """Compare the database with the newest complete, merged snapshot; `snapshots` begins with the newest."""
    try:
        with database.reading() as connection:
            for found in snapshots:
                if found.is_stored and found.is_merged:
                    verdict = _compare_snapshot(connection, found.files)
                    if verdict:
                        return verdict
    except NoDatabaseError:
        pass
    return None


def _compare_snapshot(connection: Connection, files: SnapshotFiles) -> Verdict | None:
    """Compare a snapshot with the database; return None if it is incomplete, damaged or not merged."""
    rows, difference = 0, ""
    try:
        facts = read_description(files.datapackage, files.complaints, redo_command(files, "store")).snapshot
        merged = connection.execute(
            select(merged_snapshots.c.content_hash, merged_snapshots.c.is_complete).filter_by(
                timestamp=files.timestamp, query=facts.query, row_limit=facts.limit, source=""
            )
        ).one_or_none()
        if merged is None or not merged.is_complete:
            return None
        _compare_hash(files, merged.content_hash, facts.parsed_hash)
        observations = read_observations(files.parsed, facts.parsed_hash)
        while batch := list(islice(observations, BATCH)):
            _compare_batch(connection, batch, files.timestamp)
            rows += len(batch)
        _check_other_complaints(connection, parse_stored_query(facts.query), files.timestamp)
    except DamagedFileError:
        return None  # the snapshot's own verdict reports it
    except _DifferenceError as error:
        rows, difference = 0, brief(error, LONGEST_DIFFERENCE)
    return Verdict(files.timestamp, files.slug, "database", rows, difference)


def _compare_hash(files: SnapshotFiles, merged: str, stored: str) -> None:
    if merged != stored:
        raise _DifferenceError(
            f"{files.parsed} differs from the merged file; merge it with `luigi-etl redo MINUTE --from merge`"
        )


def _compare_batch(connection: Connection, batch: list[Observation], minute: datetime) -> None:
    complaints_by_id = load_complaints(connection, [one.complaint_id for one in batch])
    for observation in batch:
        complaint = complaints_by_id.get(observation.complaint_id)
        if complaint is None:
            raise _DifferenceError(f"the database has no complaint {observation.complaint_id}")
        _compare_times(complaint, minute)
        _compare_values(connection, complaint, observation, minute)


def _compare_times(complaint: StoredComplaint, minute: datetime) -> None:
    name = f"complaint {complaint.complaint_id}"
    if complaint.last_seen < minute or complaint.first_seen > minute:
        raise _DifferenceError(f"{name}: the database has no observation of it in this snapshot")
    if complaint.withdrawn and complaint.withdrawn <= complaint.last_seen:
        raise _DifferenceError(f"{name} is withdrawn in the database")


def _compare_values(
    connection: Connection, complaint: StoredComplaint, observation: Observation, minute: datetime
) -> None:
    for field, stored, seen in zip(FIELDS, complaint.values, observation.values, strict=True):
        if seen is UNSET or seen == stored:
            continue
        if not _has_changed(connection, complaint.complaint_id, field, seen, minute):
            raise _DifferenceError(
                f"complaint {complaint.complaint_id}: {field} is {brief(stored, 80)} in the database, "
                f"{brief(seen, 80)} in the snapshot"
            )


def _check_other_complaints(connection: Connection, query: Query, minute: datetime) -> None:
    """Check that a complaint missing from the snapshot is withdrawn, unverified, or was seen later."""
    unexplained = (
        to_condition(query),
        complaints.c.last_seen < minute,
        complaints.c.withdrawn.is_(None),
        complaints.c.complaint_id.not_in(select(unverified.c.complaint_id)),
    )
    first = connection.scalar(select(complaints.c.complaint_id).where(*unexplained).limit(1))
    if first is not None:
        raise _DifferenceError(
            f"complaint {first} of the database is not in this snapshot, and neither withdrawn nor unverified"
        )


def _has_changed(
    connection: Connection, complaint_id: str, field: str, seen: ObservedValue, minute: datetime
) -> bool:
    """Return whether a later snapshot changed a field from the observed value."""
    assert not isinstance(seen, type(UNSET))  # noqa: S101  # for mypy
    change = connection.execute(
        select(history.c.old)
        .join(merged_snapshots, merged_snapshots.c.id == history.c.snapshot_id)
        .where(
            history.c.complaint_id == complaint_id,
            history.c.change == "changed",
            history.c.field == field,
            merged_snapshots.c.timestamp > minute,
        )
        .order_by(merged_snapshots.c.timestamp, history.c.id)
        .limit(1)
    ).one_or_none()
    return change is not None and change.old == as_history_text(seen)
