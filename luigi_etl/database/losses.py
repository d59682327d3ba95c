"""Implausible losses: complaints whose withdrawal is held back until a later day confirms it."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, false, func, or_, select, update

from luigi_etl.api.query import Query
from luigi_etl.database.schema import complaints, unverified
from luigi_etl.snapshot.guard import RELEASE, Guard, latest_confirmed

_ACCEPTED = datetime(1970, 1, 1)  # held since ever: believed at once, and by the runs that go on with it


class Loss(NamedTuple):
    """How many complaints would be withdrawn of how many that are covered."""

    lost: int
    covered: int

    def describe(self, query: Query) -> str:
        """Return in one line that the loss is held back, and what ends that."""
        return (
            f"held back: {self.lost:,} of {self.covered:,} complaints would be withdrawn "
            f"({str(query) or 'all complaints'}); {RELEASE}"
        )


def hold_back(
    connection: Connection,
    asked: ColumnElement[bool],
    covered: ColumnElement[bool],
    now: datetime,
    guard: Guard,
) -> Loss | None:
    """Hold back the unverified complaints that are `asked` for, if so many cannot be gone; return the loss.

    `covered` are the complaints whose share counts. Complaints that are missing since an earlier day are
    believed, and don't count. `now` is naive UTC.
    """
    current = complaints.c.withdrawn.is_(None)
    of_asked = exists().where(complaints.c.complaint_id == unverified.c.complaint_id, current, asked)
    fresh = and_(of_asked, ~is_believed(now))
    lost = connection.scalar(select(func.count()).select_from(unverified).where(fresh)) or 0
    total = 0
    if lost > guard.lost_complaints:  # counting what is covered takes long
        total = connection.scalar(select(func.count()).select_from(complaints).where(current, covered)) or 0
    if not guard.is_implausible(lost, total):
        connection.execute(update(unverified).where(fresh).values(held_since=None))
        return None
    if guard.accept:
        connection.execute(update(unverified).where(fresh).values(held_since=_ACCEPTED))
        return None
    new = or_(unverified.c.held_since.is_(None), unverified.c.held_since > now)
    connection.execute(update(unverified).where(fresh, new).values(held_since=now))
    return Loss(lost, total)


def is_believed(now: datetime) -> ColumnElement[bool]:
    """Return the condition that an unverified complaint was held back on an earlier day, hours ago."""
    return func.coalesce(unverified.c.held_since <= latest_confirmed(now), false())


def is_held(now: datetime) -> ColumnElement[bool]:
    """Return the condition that the withdrawal of an unverified complaint is held back."""
    return and_(unverified.c.held_since.is_not(None), ~is_believed(now))
