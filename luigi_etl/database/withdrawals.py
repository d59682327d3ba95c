"""Complaints that a complete snapshot lacks: unverified, withdrawn, or back.

A complaint can move out of a snapshot's query: its date, product, company or state changes. So only a
snapshot of all complaints, and a lookup by id, prove that one is withdrawn. Every other complete snapshot
makes the complaints it lacks *unverified*; `lookups` asks for them.
"""

from collections.abc import Iterable

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    ScalarSelect,
    Table,
    Text,
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

from luigi_etl.database.covered_days import parsed
from luigi_etl.database.losses import Loss, hold_back, is_held
from luigi_etl.database.rows import Change, SnapshotRef, StoredComplaint, append_history, set_times
from luigi_etl.database.schema import Minute, complaints, history, snapshots, unverified
from luigi_etl.database.sql_filter import condition, is_lasting, proves_withdrawal
from luigi_etl.snapshot.guard import Guard


def mark_withdrawn(connection: Connection, snapshot: SnapshotRef, guard: Guard | None = None) -> Loss | None:
    """Draw the conclusions of a merged snapshot: from what it lacks, and from what later ones lacked.

    Complete snapshots of later minutes may have been merged before it: the complaints it holds and they lack
    are withdrawn or unverified, too. Return the loss that `guard` holds back, if any.
    """
    held = _conclude(connection, snapshot, true(), guard) if snapshot.is_complete else None
    if later := _complete_after(connection, snapshot):
        _LATE.create(connection)
        last_seen = select(complaints.c.complaint_id).where(complaints.c.last_seen == snapshot.timestamp)
        if connection.execute(_LATE.insert().from_select(["complaint_id"], last_seen)).rowcount:
            for one in later:
                _conclude(connection, one, complaints.c.complaint_id.in_(select(_LATE.c.complaint_id)), None)
        _LATE.drop(connection)
    seen_since = exists().where(
        complaints.c.complaint_id == unverified.c.complaint_id, complaints.c.last_seen >= unverified.c.since
    )
    connection.execute(delete(unverified).where(seen_since))
    return held


def undo_withdrawals(connection: Connection, snapshot: SnapshotRef, rows: Iterable[StoredComplaint]) -> None:
    """End the withdrawals of complaints that a snapshot holds; `rows` are as they were before it.

    One that was never verified, or of the same minute, is deleted from the history: it was none.
    """
    withdrawn = {row.complaint_id: row.withdrawn for row in rows if row.withdrawn}
    if not withdrawn:
        return
    since = select(unverified.c.complaint_id, unverified.c.since)
    doubted = connection.execute(since.where(unverified.c.complaint_id.in_(list(withdrawn))))
    # Since a later minute it is only missing once more: the withdrawal itself was proven.
    doubtful = {row.complaint_id for row in doubted if row.since <= withdrawn[row.complaint_id]}
    earlier = {one for one, minute in withdrawn.items() if minute < snapshot.timestamp}
    undone = {one for one, minute in withdrawn.items() if minute == snapshot.timestamp} | (earlier & doubtful)
    returned = earlier - undone
    lines = select(_newest_line_of_each()).where(complaints.c.complaint_id.in_(list(undone)))
    connection.execute(delete(history).where(history.c.id.in_(lines)))
    append_history(connection, [Change(one, "returned", snapshot.id) for one in sorted(returned)])
    set_times(connection, undone | returned, withdrawn=None)


_LATE = Table("seen_late", MetaData(), Column("complaint_id", Text, primary_key=True), prefixes=["TEMPORARY"])


def _conclude(
    connection: Connection, by: SnapshotRef, among: ColumnElement[bool], guard: Guard | None
) -> Loss | None:
    covered = condition(by.query)
    expected = and_(covered, complaints.c.last_seen < by.timestamp, among)
    if not proves_withdrawal(by.query):
        _doubt(connection, by, expected)
        return None
    held = None
    if guard:
        _doubt(connection, by, expected)
        held = hold_back(connection, expected, covered, by.timestamp, guard)
        held_ids = select(unverified.c.complaint_id).where(is_held(by.timestamp))
        expected = and_(expected, complaints.c.complaint_id.not_in(held_ids))
    _withdraw(connection, by, expected)
    return held


def _withdraw(connection: Connection, by: SnapshotRef, expected: ColumnElement[bool]) -> None:
    first = and_(expected, complaints.c.withdrawn.is_(None))
    earlier = and_(expected, complaints.c.withdrawn > by.timestamp)
    columns = ["complaint_id", "change", "snapshot_id"]
    gone = select(complaints.c.complaint_id, literal("withdrawn"), literal(by.id)).where(first)
    connection.execute(history.insert().from_select(columns, gone))
    lines = select(_newest_line_of_each()).where(earlier)
    connection.execute(update(history).where(history.c.id.in_(lines)).values(snapshot_id=by.id))
    connection.execute(update(complaints).where(or_(first, earlier)).values(withdrawn=by.timestamp))
    verified = select(complaints.c.complaint_id).where(expected)
    connection.execute(
        delete(unverified).where(unverified.c.since <= by.timestamp, unverified.c.complaint_id.in_(verified))
    )


def _doubt(connection: Connection, by: SnapshotRef, expected: ColumnElement[bool]) -> None:
    """Let complaints be unverified since a snapshot, unless they are since a later one."""
    lacking = select(complaints.c.complaint_id).where(expected, complaints.c.withdrawn.is_(None))
    known = select(unverified.c.complaint_id)
    connection.execute(
        update(unverified)
        .where(unverified.c.complaint_id.in_(lacking), unverified.c.since < by.timestamp)
        .values(since=by.timestamp)
    )
    added = lacking.where(complaints.c.complaint_id.not_in(known)).add_columns(literal(by.timestamp, Minute))
    connection.execute(unverified.insert().from_select(["complaint_id", "since"], added))


def _complete_after(connection: Connection, snapshot: SnapshotRef) -> list[SnapshotRef]:
    """Return of each query the first complete snapshot after this one: what it lacks, the others do."""
    is_later = (snapshots.c.timestamp > snapshot.timestamp, snapshots.c.is_complete)
    first = func.min(snapshots.c.timestamp).label("timestamp")
    firsts = select(snapshots.c.query, first).where(*is_later).group_by(snapshots.c.query).subquery()
    same = and_(snapshots.c.query == firsts.c.query, snapshots.c.timestamp == firsts.c.timestamp)
    found = connection.execute(
        select(snapshots.c.id, snapshots.c.timestamp, snapshots.c.query)
        .join(firsts, same)
        .where(snapshots.c.is_complete)
        .order_by(snapshots.c.timestamp)
    )
    queries = ((row, parsed(row.query)) for row in found)
    return [
        SnapshotRef(row.id, row.timestamp, query, is_complete=True)
        for row, query in queries
        if query and is_lasting(query)
    ]


def _newest_line_of_each() -> ScalarSelect[int]:
    """Select, for each complaint that is selected, the line of the history that withdrew it last.

    It is looked up for each: of a join PostgreSQL may think that reading the whole history is less.
    """
    return (
        select(func.max(history.c.id))
        .where(history.c.change == "withdrawn", history.c.complaint_id == complaints.c.complaint_id)
        .correlate(complaints)
        .scalar_subquery()
    )
