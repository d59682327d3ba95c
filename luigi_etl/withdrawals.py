"""What a complete snapshot did not bring: complaints withdrawn, and those that come back.

A complaint is withdrawn from the first complete snapshot after it was last seen that should have held it.
One that turns up in the same minute, or with values that snapshot was not asked for, had only moved: its
withdrawal never was.
"""

from collections.abc import Iterable
from typing import NamedTuple

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
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from luigi_etl.held import Change, Held, Merging, mark, matching, remember
from luigi_etl.matching import condition
from luigi_etl.query import parse_query
from luigi_etl.schema import complaints, history, snapshots


def conclude(connection: Connection, snapshot: Merging) -> None:
    """Mark what the snapshot should have held and did not, if it is complete.

    Where complete snapshots of later minutes were merged before it, what it held and they should have held
    is marked, too.
    """
    if snapshot.is_complete:
        _withdraw(connection, snapshot)
    if later := _complete_after(connection, snapshot):
        _LATE.create(connection)
        last_seen = select(complaints.c.complaint_id).where(complaints.c.last_seen == snapshot.timestamp)
        if connection.execute(_LATE.insert().from_select(["complaint_id"], last_seen)).rowcount:
            for one in later:
                _withdraw(connection, one, complaints.c.complaint_id.in_(select(_LATE.c.complaint_id)))
        _LATE.drop(connection)


def see_again(connection: Connection, snapshot: Merging, rows: Iterable[Held]) -> None:
    """End the withdrawals of complaints that a snapshot holds, and whose new values were written before."""
    withdrawn = {row.complaint_id: row.withdrawn for row in rows if row.withdrawn}
    if not withdrawn:
        return
    withdrawals = _withdrawals(connection, withdrawn)
    still = _still_expected(connection, withdrawals)
    moved = {one for one, minute in withdrawn.items() if minute == snapshot.timestamp or one not in still}
    returned = {one for one, minute in withdrawn.items() if minute < snapshot.timestamp} - moved
    undone = [withdrawals[one].history_id for one in moved]
    connection.execute(delete(history).where(history.c.id.in_(undone)))
    remember(connection, [Change(one, "returned", snapshot.id) for one in sorted(returned)])
    mark(connection, moved | returned, withdrawn=None)


_LATE = Table("seen_late", MetaData(), Column("complaint_id", Text, primary_key=True), prefixes=["TEMPORARY"])


class _Withdrawal(NamedTuple):
    complaint_id: str
    history_id: int
    query: str


def _withdraw(connection: Connection, by: Merging, among: ColumnElement[bool] | None = None) -> None:
    expected = and_(
        condition(by.query), complaints.c.last_seen < by.timestamp, true() if among is None else among
    )
    first = and_(expected, complaints.c.withdrawn.is_(None))
    earlier = and_(expected, complaints.c.withdrawn > by.timestamp)
    columns = ["complaint_id", "change", "snapshot_id"]
    gone = select(complaints.c.complaint_id, literal("withdrawn"), literal(by.id)).where(first)
    connection.execute(history.insert().from_select(columns, gone))
    lines = select(_newest_line_of_each()).where(earlier)
    connection.execute(update(history).where(history.c.id.in_(lines)).values(snapshot_id=by.id))
    connection.execute(update(complaints).where(or_(first, earlier)).values(withdrawn=by.timestamp))


def _complete_after(connection: Connection, snapshot: Merging) -> list[Merging]:
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
    return [Merging(row.id, row.timestamp, parse_query(row.query), is_complete=True) for row in found]


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


def _withdrawals(connection: Connection, complaint_ids: Iterable[str]) -> dict[str, _Withdrawal]:
    """Return the withdrawal of each complaint that counts: the last that was written."""
    lines = select(_newest_line_of_each()).where(complaints.c.complaint_id.in_(list(complaint_ids)))
    found = connection.execute(
        select(history.c.complaint_id, history.c.id, snapshots.c.query)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(history.c.id.in_(lines))
    )
    return {row.complaint_id: _Withdrawal(*row) for row in found}


def _still_expected(connection: Connection, withdrawals: dict[str, _Withdrawal]) -> set[str]:
    """Return the complaints that the snapshot which missed them would be asked for as they are now."""
    by_query: dict[str, list[str]] = {}
    for one in withdrawals.values():
        by_query.setdefault(one.query, []).append(one.complaint_id)
    still = (
        matching(connection, complaint_ids, condition(parse_query(query)))
        for query, complaint_ids in by_query.items()
    )
    return set().union(*still)
