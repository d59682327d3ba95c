"""Coverage: for which queries and days the database holds every complaint, and as of when.

A snapshot or a sync's window that is whole covers the days of its query. Where several observations of
the same query cover a day the newest counts, whatever the order in which they are recorded.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, delete, func, inspect, or_, select

from luigi_etl.api.query import Query
from luigi_etl.database.covered_days import (
    Covered,
    Span,
    ordered,
    parsed,
    row_of,
    settled,
    split_days,
    with_range_start,
)
from luigi_etl.database.schema import coverage, snapshots
from luigi_etl.database.sql_filter import ids_looked_up

CONFIRM_AFTER = timedelta(days=1)


def record_snapshot(
    connection: Connection, timestamp: datetime, query: Query, limit: int, *, is_whole: bool
) -> None:
    """Record what a merged snapshot covers, in the transaction that merged it.

    `is_whole`: every complaint that matches was merged, none was rejected. Without that a snapshot covers
    the newest `limit` complaints, and nothing where there is no limit.
    """
    if not is_whole and not limit:
        return
    filters, (first, last) = split_days(query)
    seen = row_of(str(filters), Span(first, last, timestamp), 0 if is_whole else limit)
    _write(connection, seen.query, [*_read(connection, seen.query), seen])


def confirm(connection: Connection, timestamp: datetime, query: Query, synced: datetime) -> None:
    """Record that nothing of a query has changed since the sync of the minute `synced`."""
    filters = str(split_days(query)[0])
    rows = _read(connection, filters)
    _write(connection, filters, [_confirmed(row, timestamp, synced) for row in rows])


def is_to_confirm(connection: Connection, timestamp: datetime, query: Query, synced: datetime) -> bool:
    """Return whether `confirm` is due: once a day, so that a sync each minute does not write each minute."""
    rows = [row for row in covered(connection) if row.query == str(split_days(query)[0])]
    return any(
        row.as_of < timestamp - CONFIRM_AFTER and _confirmed(row, timestamp, synced) != row for row in rows
    )


def _confirmed(row: Covered, timestamp: datetime, synced: datetime) -> Covered:
    is_of_sync = not row.row_limit and synced <= row.as_of < timestamp
    return row._replace(as_of=timestamp) if is_of_sync else row


def rebuild(connection: Connection, until: datetime | None = None) -> None:
    """Fill the table anew from the snapshots on record; what is as of `until` or before is kept."""
    kept = [row for row in covered(connection) if until and row.as_of <= until]
    connection.execute(delete(coverage))
    for query, rows in groupby(ordered([*kept, *derived(connection)]), attrgetter("query")):
        _write(connection, query, list(rows))


def _read(connection: Connection, query: str) -> list[Covered]:
    found = connection.execute(select(*_COLUMNS).where(coverage.c.query == query))
    return [Covered(*row) for row in found]


def _write(connection: Connection, query: str, rows: Sequence[Covered]) -> None:
    """Replace the rows of a query, as far as they differ."""
    columns = (coverage.c.id, *_COLUMNS, coverage.c.range_start)
    before = {
        tuple(row[1:]): row.id
        for row in connection.execute(select(*columns).where(coverage.c.query == query))
    }
    after = {(*row, start) for row, start in with_range_start(settled(rows))}
    gone = [number for row, number in before.items() if row not in after]
    if gone:
        connection.execute(delete(coverage).where(coverage.c.id.in_(gone)))
    names = (*Covered._fields, "range_start")
    new = [dict(zip(names, row, strict=True)) for row in after - before.keys()]
    if new:
        connection.execute(coverage.insert(), new)


_COLUMNS = tuple(coverage.c[name] for name in Covered._fields)


def covered(connection: Connection) -> list[Covered]:
    """Return what a database covers, also one of a version that did not record it."""
    if not inspect(connection).has_table(coverage.name):
        return derived(connection)
    return ordered(Covered(*row) for row in connection.execute(select(*_COLUMNS)))


def derived(connection: Connection) -> list[Covered]:
    """Work out from the snapshots on record what they cover."""
    newest = (
        select(snapshots.c.query, snapshots.c.row_limit, func.max(snapshots.c.timestamp))
        .where(or_(snapshots.c.is_complete, snapshots.c.row_limit > 0))
        .group_by(snapshots.c.query, snapshots.c.row_limit)
    )
    by_query: dict[str, list[Covered]] = {}
    for text, limit, timestamp in connection.execute(newest):
        query = parsed(text)
        if query and not ids_looked_up(query):
            filters, (first, last) = split_days(query)
            row = row_of(str(filters), Span(first, last, timestamp), limit)
            by_query.setdefault(row.query, []).append(row)
    return ordered(row for rows in by_query.values() for row in settled(rows))
