"""Complaints that a complete snapshot lacks: unverified, withdrawn, or returned.

A complaint can leave a snapshot's query: its date, product, company or state changes. So only a snapshot of
all complaints or a lookup by id proves a withdrawal. Any other complete snapshot makes the complaints it
lacks *unverified*; `id_lookup` asks for them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    ScalarSelect,
    Table,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from luigi_etl.database.covered_days import parse_if_valid
from luigi_etl.database.losses import Loss, hold_back, is_held
from luigi_etl.database.rows import FILE_LAG, Change, SnapshotRef, StoredComplaint, append_history, set_times
from luigi_etl.database.schema import (
    ComplaintId,
    Minute,
    complaints,
    history,
    snapshots,
    stored_complaints,
    unverified,
)
from luigi_etl.database.sql_filter import has_stable_filters, proves_withdrawal, to_condition
from luigi_etl.snapshot.guard import Guard


def mark_withdrawn(connection: Connection, snapshot: SnapshotRef, guard: Guard | None = None) -> Loss | None:
    """Mark the complaints that a merged snapshot lacks; return the loss that `guard` holds back, if any.

    If the snapshot is merged late, later complete snapshots are already in the database. Also mark its
    complaints that those lack.
    """
    loss = _mark_missing(connection, snapshot, true(), guard) if snapshot.is_complete else None
    if later := _next_complete_snapshots(connection, snapshot):
        _SEEN_LATE.create(connection)
        last_seen = select(complaints.c.complaint_id).where(complaints.c.last_seen == snapshot.timestamp)
        if connection.execute(_SEEN_LATE.insert().from_select(["complaint_id"], last_seen)).rowcount:
            for one in later:
                _mark_missing(
                    connection, one, complaints.c.complaint_id.in_(select(_SEEN_LATE.c.complaint_id)), None
                )
        _SEEN_LATE.drop(connection)
    seen_since = exists().where(
        complaints.c.complaint_id == unverified.c.complaint_id, complaints.c.last_seen >= unverified.c.since
    )
    connection.execute(delete(unverified).where(seen_since))
    return loss


def undo_withdrawals(connection: Connection, snapshot: SnapshotRef, rows: Iterable[StoredComplaint]) -> None:
    """End the withdrawals of complaints that a snapshot holds; `rows` are from before its merge.

    Delete from the history a withdrawal that was never verified, or is of the same minute, or by a file that
    is too little newer than the snapshot to prove it.
    """
    withdrawn = {row.complaint_id: row.withdrawn for row in rows if row.withdrawn}
    if not withdrawn:
        return
    since = select(unverified.c.complaint_id, unverified.c.since)
    unverified_rows = connection.execute(since.where(unverified.c.complaint_id.in_(list(withdrawn))))
    # Leave out complaints that are unverified since a later minute: their withdrawal was proven.
    unproven = {row.complaint_id for row in unverified_rows if row.since <= withdrawn[row.complaint_id]}
    earlier = {one for one, minute in withdrawn.items() if minute < snapshot.timestamp}
    undone = {one for one, minute in withdrawn.items() if minute == snapshot.timestamp} | (earlier & unproven)
    undone |= _withdrawn_by_files(connection, snapshot, withdrawn)
    returned = earlier - undone
    lines = select(_newest_withdrawal_line()).where(complaints.c.complaint_id.in_(list(undone)))
    connection.execute(delete(history).where(history.c.id.in_(lines)))
    append_history(connection, [Change(one, "returned", snapshot.id) for one in sorted(returned)])
    set_times(connection, undone | returned, withdrawn=None)


def _withdrawn_by_files(
    connection: Connection, snapshot: SnapshotRef, withdrawn: Mapping[str, datetime]
) -> set[str]:
    """Return the complaints that a file withdrew at most `FILE_LAG` after a snapshot that is merged late."""
    since = snapshot.timestamp
    late = [one for one, minute in withdrawn.items() if since < minute <= since + FILE_LAG]
    if not late:
        return set()
    by_file = (
        select(complaints.c.complaint_id)
        .join(history, history.c.id == _newest_withdrawal_line())
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(complaints.c.complaint_id.in_(late), snapshots.c.source != "")
    )
    return set(connection.scalars(by_file))


_SEEN_LATE = Table(
    "seen_late", MetaData(), Column("complaint_id", ComplaintId, primary_key=True), prefixes=["TEMPORARY"]
)


def _mark_missing(
    connection: Connection, snapshot: SnapshotRef, condition: ColumnElement[bool], guard: Guard | None
) -> Loss | None:
    covered = to_condition(snapshot.query)
    missing = and_(covered, complaints.c.last_seen < snapshot.proves_absence_until, condition)
    if not proves_withdrawal(snapshot.query):
        _mark_unverified(connection, snapshot, missing)
        return None
    loss = None
    if guard:
        _mark_unverified(connection, snapshot, missing)
        loss = hold_back(connection, missing, covered, snapshot.timestamp, guard)
        held_ids = select(unverified.c.complaint_id).where(is_held(snapshot.timestamp))
        missing = and_(missing, complaints.c.complaint_id.not_in(held_ids))
    _withdraw(connection, snapshot, missing)
    return loss


def _withdraw(connection: Connection, snapshot: SnapshotRef, missing: ColumnElement[bool]) -> None:
    new = and_(missing, complaints.c.withdrawn.is_(None))
    later = and_(missing, complaints.c.withdrawn > snapshot.timestamp)
    columns = ["complaint_id", "change", "snapshot_id"]
    gone = select(complaints.c.complaint_id, literal("withdrawn"), literal(snapshot.id)).where(new)
    connection.execute(history.insert().from_select(columns, gone))
    lines = select(_newest_withdrawal_line()).where(later)
    connection.execute(update(history).where(history.c.id.in_(lines)).values(snapshot_id=snapshot.id))
    withdrawn = select(complaints.c.complaint_id).where(or_(new, later))
    last_seen = select(complaints.c.last_seen).where(
        complaints.c.complaint_id == stored_complaints.c.complaint_id
    )
    connection.execute(  # without its digest, so that a file that holds the complaint shows that it returned
        update(stored_complaints)
        .where(stored_complaints.c.complaint_id.in_(withdrawn))
        .values(withdrawn=snapshot.timestamp, last_seen=last_seen.scalar_subquery(), file_digest=None)
    )
    verified = select(complaints.c.complaint_id).where(missing)
    connection.execute(
        delete(unverified).where(
            unverified.c.since <= snapshot.timestamp, unverified.c.complaint_id.in_(verified)
        )
    )


def _mark_unverified(connection: Connection, snapshot: SnapshotRef, missing: ColumnElement[bool]) -> None:
    """Mark complaints as unverified since a snapshot, unless a later one did so."""
    lacking = select(complaints.c.complaint_id).where(missing, complaints.c.withdrawn.is_(None))
    known = select(unverified.c.complaint_id)
    connection.execute(
        update(unverified)
        .where(unverified.c.complaint_id.in_(lacking), unverified.c.since < snapshot.timestamp)
        .values(since=snapshot.timestamp)
    )
    added = lacking.where(complaints.c.complaint_id.not_in(known)).add_columns(
        literal(snapshot.timestamp, Minute)
    )
    connection.execute(unverified.insert().from_select(["complaint_id", "since"], added))


def _next_complete_snapshots(connection: Connection, snapshot: SnapshotRef) -> list[SnapshotRef]:
    """Return the first later complete snapshot of each query; later ones add no proof."""
    is_file = (snapshots.c.source != "").label("is_file")
    is_later = or_(
        and_(~is_file, snapshots.c.timestamp > snapshot.timestamp),
        and_(is_file, snapshots.c.timestamp > snapshot.timestamp + FILE_LAG),
    )
    first = func.min(snapshots.c.timestamp).label("timestamp")
    firsts = (
        select(snapshots.c.query, is_file, first)
        .where(is_later, snapshots.c.is_complete)
        .group_by(snapshots.c.query, is_file)
        .subquery()
    )
    same = and_(
        snapshots.c.query == firsts.c.query,
        is_file == firsts.c.is_file,
        snapshots.c.timestamp == firsts.c.timestamp,
    )
    found = connection.execute(
        select(snapshots.c.id, snapshots.c.timestamp, snapshots.c.query, is_file)
        .join(firsts, same)
        .where(snapshots.c.is_complete)
        .order_by(snapshots.c.timestamp)
    )
    queries = ((row, parse_if_valid(row.query)) for row in found)
    return [
        SnapshotRef(row.id, row.timestamp, query, is_complete=True, is_file=row.is_file)
        for row, query in queries
        if query and has_stable_filters(query)
    ]


def _newest_withdrawal_line() -> ScalarSelect[int]:
    """Select the line of the history that last withdrew a complaint.

    Correlated on purpose: for a join, PostgreSQL may read the whole history.
    """
    return (
        select(func.max(history.c.id))
        .where(history.c.change == "withdrawn", history.c.complaint_id == complaints.c.complaint_id)
        .correlate(complaints)
        .scalar_subquery()
    )
