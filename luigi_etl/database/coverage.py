"""Coverage: queries and days for which the database holds every complaint, and their times.

A whole snapshot or window covers the days of its query. If several of the same query cover a day, the newest
counts; the order of recording does not matter.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Connection, delete, func, or_, select

from luigi_etl.api.query import Query
from luigi_etl.database.covered_days import (
    CoverageRow,
    Span,
    add_range_start,
    combine_rows,
    parse_if_valid,
    sort_rows,
    split_days,
    to_row,
)
from luigi_etl.database.schema import coverage, snapshots
from luigi_etl.database.sql_filter import read_lookup_ids

CONFIRM_AFTER = timedelta(days=1)


def record_snapshot(
    connection: Connection, timestamp: datetime, query: Query, limit: int, *, is_whole: bool
) -> None:
    """Record the coverage of a snapshot, in the transaction of its merge.

    `is_whole`: every match was merged, and none was rejected. Any other snapshot covers the newest `limit`
    complaints, or nothing without a limit.
    """
    if not is_whole and not limit:
        return
    filters, (first, last) = split_days(query)
    seen = to_row(str(filters), Span(first, last, timestamp), 0 if is_whole else limit)
    _write(connection, seen.query, [*_read(connection, seen.query), seen])


def confirm_coverage(connection: Connection, timestamp: datetime, query: Query, synced: datetime) -> None:
    """Record that a query has not changed since its sync at the minute `synced`."""
    filters = str(split_days(query)[0])
    rows = _read(connection, filters)
    _write(connection, filters, [_confirmed(row, timestamp, synced) for row in rows])


def is_confirmation_due(connection: Connection, timestamp: datetime, query: Query, synced: datetime) -> bool:
    """Return whether `confirm_coverage` is due: once a day, so that not every sync writes."""
    rows = [row for row in read_coverage(connection) if row.query == str(split_days(query)[0])]
    return any(
        row.as_of < timestamp - CONFIRM_AFTER and _confirmed(row, timestamp, synced) != row for row in rows
    )


def _confirmed(row: CoverageRow, timestamp: datetime, synced: datetime) -> CoverageRow:
    is_of_sync = not row.row_limit and synced <= row.as_of < timestamp
    return row._replace(as_of=timestamp) if is_of_sync else row


def rebuild_coverage(connection: Connection, until: datetime | None = None) -> None:
    """Fill the table again from the snapshots on record; keep rows up to `until`."""
    kept = [row for row in read_coverage(connection) if until and row.as_of <= until]
    connection.execute(delete(coverage))
    for query, rows in groupby(sort_rows([*kept, *derive_coverage(connection)]), attrgetter("query")):
        _write(connection, query, list(rows))


def _read(connection: Connection, query: str) -> list[CoverageRow]:
    found = connection.execute(select(*_COLUMNS).where(coverage.c.query == query))
    return [CoverageRow(*row) for row in found]


def _write(connection: Connection, query: str, rows: Sequence[CoverageRow]) -> None:
    """Replace the rows of a query that differ."""
    columns = (coverage.c.id, *_COLUMNS, coverage.c.range_start)
    before = {
        tuple(row[1:]): row.id
        for row in connection.execute(select(*columns).where(coverage.c.query == query))
    }
    after = {(*row, start) for row, start in add_range_start(combine_rows(rows))}
    gone = [number for row, number in before.items() if row not in after]
    if gone:
        connection.execute(delete(coverage).where(coverage.c.id.in_(gone)))
    names = (*CoverageRow._fields, "range_start")
    new = [dict(zip(names, row, strict=True)) for row in after - before.keys()]
    if new:
        connection.execute(coverage.insert(), new)


_COLUMNS = tuple(coverage.c[name] for name in CoverageRow._fields)


def read_coverage(connection: Connection) -> list[CoverageRow]:
    """Return the coverage."""
    return sort_rows(CoverageRow(*row) for row in connection.execute(select(*_COLUMNS)))


def derive_coverage(connection: Connection) -> list[CoverageRow]:
    """Derive the coverage from the snapshots on record."""
    newest = (
        select(snapshots.c.query, snapshots.c.row_limit, func.max(snapshots.c.timestamp))
        .where(or_(snapshots.c.is_complete, snapshots.c.row_limit > 0))
        .group_by(snapshots.c.query, snapshots.c.row_limit)
    )
    by_query: dict[str, list[CoverageRow]] = {}
    for text, limit, timestamp in connection.execute(newest):
        query = parse_if_valid(text)
        if query and not read_lookup_ids(query):
            filters, (first, last) = split_days(query)
            row = to_row(str(filters), Span(first, last, timestamp), limit)
            by_query.setdefault(row.query, []).append(row)
    return sort_rows(row for rows in by_query.values() for row in combine_rows(rows))
