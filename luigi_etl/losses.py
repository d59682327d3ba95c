"""Implausible losses: which queries' withdrawals wait, and since when."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from luigi_etl.guard import RELEASE, Guard, is_confirmed
from luigi_etl.query import Query
from luigi_etl.schema import held_back
from luigi_etl.withdrawals import Loss


def check_loss(connection: Connection, query: Query, loss: Loss, guard: Guard, now: datetime) -> str:
    """Return why the loss of a query's complaints can't be believed yet, in one line; nothing if it can.

    An implausible loss is remembered. The same query's next one is believed from the next UTC day on.
    `now` is naive UTC.
    """
    of_query = held_back.c.query == str(query)
    if not guard.is_implausible(*loss):
        connection.execute(delete(held_back).where(of_query))
        return ""
    first_seen = connection.scalar(select(held_back.c.timestamp).where(of_query))
    if guard.accept or (first_seen and is_confirmed(first_seen, now)):
        return ""
    if first_seen is None or first_seen > now:
        connection.execute(delete(held_back).where(of_query))
        row = {"query": str(query), "timestamp": now, "lost": loss.lost, "covered": loss.covered}
        connection.execute(held_back.insert().values(row))
    return (
        f"held back: {loss.lost:,} of {loss.covered:,} complaints would be withdrawn "
        f"({str(query) or 'all complaints'}); none is: {RELEASE}"
    )
