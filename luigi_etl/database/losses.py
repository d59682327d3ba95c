"""Implausible losses: withdrawals that are held back until a later day confirms them."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, false, func, or_, select, update

from luigi_etl.api.query import Query
from luigi_etl.database.schema import complaints, unverified
from luigi_etl.snapshot.guard import HELD_BACK_REMEDY, Guard, latest_confirmed

_ACCEPTED = datetime(1970, 1, 1)  # long ago, so that this run and its retries accept the loss


class Loss(NamedTuple):
    """The number of complaints that would be withdrawn, of those covered."""

    lost: int
    covered: int

    def describe(self, query: Query) -> str:
        """Return one line: the loss and the remedy."""
        return (
            f"held back: {self.lost:,} of {self.covered:,} complaints would be withdrawn "
            f"({str(query) or 'all complaints'}); {HELD_BACK_REMEDY}"
        )


def hold_back(
    connection: Connection,
    asked: ColumnElement[bool],
    covered: ColumnElement[bool],
    now: datetime,
    guard: Guard,
) -> Loss | None:
    """Hold back the unverified complaints among `asked` if the loss is implausible; return the loss.

    The limit in percent refers to the complaints `covered`. Complaints that were held back on an earlier day
    are confirmed and do not count. `now` is naive UTC.
    """
    current = complaints.c.withdrawn.is_(None)
    is_asked = exists().where(complaints.c.complaint_id == unverified.c.complaint_id, current, asked)
    unconfirmed = and_(is_asked, ~is_confirmed(now))
    lost = connection.scalar(select(func.count()).select_from(unverified).where(unconfirmed)) or 0
    total = 0
    if lost > guard.lost_complaints:  # the count takes long
        total = connection.scalar(select(func.count()).select_from(complaints).where(current, covered)) or 0
    if not guard.is_implausible(lost, total):
        connection.execute(update(unverified).where(unconfirmed).values(held_since=None))
        return None
    if guard.accept:
        connection.execute(update(unverified).where(unconfirmed).values(held_since=_ACCEPTED))
        return None
    new = or_(unverified.c.held_since.is_(None), unverified.c.held_since > now)
    connection.execute(update(unverified).where(unconfirmed, new).values(held_since=now))
    return Loss(lost, total)


def is_confirmed(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a complaint was held back on an earlier day, hours ago."""
    return func.coalesce(unverified.c.held_since <= latest_confirmed(now), false())


def is_held(now: datetime) -> ColumnElement[bool]:
    """Return the condition that the withdrawal of an unverified complaint is held back."""
    return and_(unverified.c.held_since.is_not(None), ~is_confirmed(now))
