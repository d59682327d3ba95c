"""The database, compared with a snapshot."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from msgspec import UNSET
from sqlalchemy import Connection, inspect, select

from luigi_etl.api.query import Query, parse_stored_query
from luigi_etl.common.errors import DamagedFileError, EtlError, NoDatabaseError
from luigi_etl.common.terminal import brief
from luigi_etl.database.connection import Database
from luigi_etl.database.observations import Observation, ObservedValue, as_text, read_observations
from luigi_etl.database.rows import StoredComplaint, load_complaints
from luigi_etl.database.schema import FIELDS, complaints, history, unverified
from luigi_etl.database.schema import snapshots as merged_snapshots
from luigi_etl.database.sql_filter import condition
from luigi_etl.service.verify.verdict import Verdict
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.datapackage_reader import read_description
from luigi_etl.snapshot.listing import FoundSnapshot
from luigi_etl.snapshot.paths import SnapshotFiles

BATCH = 500  # complaints that are looked up together


def verify_database(database: Database, snapshots: Iterable[FoundSnapshot]) -> Verdict | None:
    """Compare the newest complete snapshot of a query that was merged with the database."""
    try:
        with database.reading() as connection:
            for found in snapshots:
                if found.is_stored and found.is_merged:
                    verdict = _merged_verdict(connection, found.files)
                    if verdict:
                        return verdict
    except NoDatabaseError:
        pass
    return None


def _merged_verdict(connection: Connection, files: SnapshotFiles) -> Verdict | None:
    """Compare a snapshot with the database; return None if it was not complete, or is not there."""
    rows = 0
    try:
        facts = read_description(files.datapackage, files.complaints, redo_command(files, "store")).snapshot
        known = connection.execute(
            select(merged_snapshots.c.content_hash, merged_snapshots.c.is_complete).filter_by(
                timestamp=files.timestamp, query=facts.query, row_limit=facts.limit
            )
        ).one_or_none()
        if known is None or not known.is_complete:
            return None
        _compare_hash(files, known.content_hash, facts.parsed_hash)
        seen = read_observations(files.parsed, facts.parsed_hash)
        while batch := list(islice(seen, BATCH)):
            _compare(connection, batch, files.timestamp)
            rows += len(batch)
        _compare_others(connection, parse_stored_query(facts.query), files.timestamp)
    except DamagedFileError:
        return None  # the verdict on the snapshot says so
    except _DifferenceError as error:
        return Verdict(files.timestamp, files.slug, "database", 0, brief(error, 500))
    return Verdict(files.timestamp, files.slug, "database", rows)


class _DifferenceError(EtlError):
    """The database does not hold what a snapshot saw."""


def _compare_hash(files: SnapshotFiles, merged: str, stored: str) -> None:
    if merged != stored:
        raise _DifferenceError(f"{files.parsed} is not what was merged; redo it --from merge")


def _compare(connection: Connection, batch: list[Observation], minute: datetime) -> None:
    known = load_complaints(connection, [one.complaint_id for one in batch])
    for one in batch:
        found = known.get(one.complaint_id)
        if found is None:
            raise _DifferenceError(f"the database lacks complaint {one.complaint_id}")
        if found.last_seen < minute or found.first_seen > minute:
            raise _DifferenceError(f"the database did not see complaint {one.complaint_id} in this snapshot")
        if found.withdrawn and found.withdrawn <= found.last_seen:
            raise _DifferenceError(f"the database holds complaint {one.complaint_id} as withdrawn")
        for at, (value, seen) in enumerate(zip(found.values, one.values, strict=True)):
            if seen is not UNSET and seen != value and not _has_changed(connection, found, at, seen, minute):
                field, has = FIELDS[at], brief(value, 80)
                raise _DifferenceError(
                    f"complaint {one.complaint_id}: {field} is {has} in the database, {brief(seen, 80)} here"
                )


def _compare_others(connection: Connection, query: Query, minute: datetime) -> None:
    """Check that a complaint the snapshot lacks is withdrawn, unverified, or was seen since."""
    if not inspect(connection).has_table(unverified.name):  # of version 1
        return
    unexplained = (
        condition(query),
        complaints.c.last_seen < minute,
        complaints.c.withdrawn.is_(None),
        complaints.c.complaint_id.not_in(select(unverified.c.complaint_id)),
    )
    first = connection.scalar(select(complaints.c.complaint_id).where(*unexplained).limit(1))
    if first is not None:
        raise _DifferenceError(
            f"the database holds complaint {first}, which is not in this snapshot, as neither withdrawn "
            "nor unverified"
        )


def _has_changed(
    connection: Connection, found: StoredComplaint, at: int, seen: ObservedValue, minute: datetime
) -> bool:
    """Return whether a later snapshot changed a field from the value that was seen."""
    assert not isinstance(seen, type(UNSET))  # noqa: S101  # for mypy: the caller saw to that
    line = connection.execute(
        select(history.c.old)
        .join(merged_snapshots, merged_snapshots.c.id == history.c.snapshot_id)
        .where(
            history.c.complaint_id == found.complaint_id,
            history.c.change == "changed",
            history.c.field == FIELDS[at],
            merged_snapshots.c.timestamp > minute,
        )
        .order_by(merged_snapshots.c.timestamp, history.c.id)
        .limit(1)
    ).one_or_none()
    return line is not None and line.old == as_text(seen)
