"""Ranges of covered days: how they join, which days they leave out, and how messages name them."""

import contextlib
import functools
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from luigi_etl.api.query import Query, parse_query
from luigi_etl.common.errors import QueryError
from luigi_etl.common.minutes import as_text

DAY = timedelta(days=1)
BOUNDS = ("date_received_min", "date_received_max")

Days = tuple[date, date]  # both included; `date.min` and `date.max` mean no bound


class CoverageRow(NamedTuple):
    """Days of a query for which the database holds every complaint, or the newest `row_limit`.

    `query` has no bounds of `date_received`. None as a day means no bound. `as_of` is naive UTC.
    """

    query: str
    first_day: date | None
    last_day: date | None
    as_of: datetime
    row_limit: int


class CoveredRange(NamedTuple):
    """Adjoining days of a query, with the times of their oldest and newest observation."""

    query: str
    first_day: date | None
    last_day: date | None
    as_of: datetime
    newest_as_of: datetime
    row_limit: int

    def __str__(self) -> str:
        """Return `state=CA from 2026-08-29 on, as of 2026-11-27 09:26 UTC`."""
        newest = f"the newest {self.row_limit:,} of " if self.row_limit else ""
        days = describe_days(self.first_day or date.min, self.last_day or date.max)
        later = (
            f" (the newest part as of {as_text(self.newest_as_of)})" if self.newest_as_of > self.as_of else ""
        )
        what = " ".join(filter(None, [describe_query(self.query), days]))
        return f"{newest}{what}, as of {as_text(self.as_of)}{later}"


class Span(NamedTuple):
    """Days, both included, and their time; `date.min` and `date.max` mean no bound."""

    first: date
    last: date
    as_of: datetime


def join_ranges(rows: Iterable[CoverageRow]) -> list[CoveredRange]:
    """Join adjoining days, as the view `coverage_by_query` does."""
    joined: list[CoveredRange] = []
    for _, pairs in groupby(add_range_start(rows), _range_key):
        members = [row for row, _ in pairs]
        first, last = members[0], members[-1]
        moments = [row.as_of for row in members]
        joined.append(
            CoveredRange(
                first.query, first.first_day, last.last_day, min(moments), max(moments), first.row_limit
            )
        )
    return joined


def _range_key(pair: tuple[CoverageRow, date]) -> tuple[object, ...]:
    row, start = pair
    return row.query, row.row_limit, start, row if row.row_limit else None


def sort_rows(rows: Iterable[CoverageRow]) -> list[CoverageRow]:
    """Sort rows by query, limit and days."""
    return sorted(rows, key=lambda row: (row.query, row.row_limit, to_span(row)))


def add_range_start(rows: Iterable[CoverageRow]) -> Iterator[tuple[CoverageRow, date]]:
    """Yield each row with the first day of its range of adjoining days."""
    before: CoverageRow | None = None
    start = date.min
    for row in sort_rows(rows):
        adjoins = (
            before is not None
            and (before.query, before.row_limit) == (row.query, row.row_limit)
            and before.last_day is not None
            and before.last_day + DAY == row.first_day
        )
        start = start if adjoins else row.first_day or date.min
        before = row
        yield row, start


def combine_rows(rows: Sequence[CoverageRow]) -> list[CoverageRow]:
    """Combine rows of one query; their order does not matter."""
    complete = merge_spans(to_span(row) for row in rows if not row.row_limit)
    by_age = sorted(rows, key=attrgetter("as_of"))
    newest = {row._replace(as_of=datetime.min): row for row in by_age if row.row_limit}
    kept = [row for row in newest.values() if not _is_included(to_span(row), complete)]
    query = rows[0].query if rows else ""
    return [*(to_row(query, span, 0) for span in complete), *kept]


def _is_included(newest: Span, complete: list[Span]) -> bool:
    later = [span for span in complete if span.as_of >= newest.as_of]
    return not list(find_uncovered_days((newest.first, newest.last), later))


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Return disjoint spans in order; for each day the newest span counts."""
    kept: list[Span] = []
    for span in sorted(set(spans), key=attrgetter("as_of"), reverse=True):
        for first, last in list(find_uncovered_days((span.first, span.last), kept)):
            insort(kept, Span(first, last, span.as_of))
    joined: list[Span] = []
    for span in kept:
        if joined and joined[-1].last + DAY == span.first and joined[-1].as_of == span.as_of:
            span = joined.pop()._replace(last=span.last)  # noqa: PLW2901
        joined.append(span)
    return joined


def find_uncovered_days(days: Days, spans: Sequence[Span]) -> Iterator[Days]:
    """Yield the days that no span covers; the spans are sorted and disjoint."""
    first, last = days
    for span in spans[max(0, bisect_right(spans, first, key=attrgetter("first")) - 1) :]:
        if span.first > last:
            break
        if span.last < first:
            continue
        if span.first > first:
            yield first, span.first - DAY
        if span.last >= last:
            return
        first = span.last + DAY
    yield first, last


def split_days(query: Query) -> tuple[Query, Days]:
    """Split a query into its other filters and its bounds of `date_received`."""
    bounds = dict(pair for pair in query.pairs if pair[0] in BOUNDS)
    first, last = (bounds.get(name) for name in BOUNDS)
    days = (
        date.fromisoformat(first) if first else date.min,
        date.fromisoformat(last) if last else date.max,
    )
    return Query(tuple(pair for pair in query.pairs if pair[0] not in BOUNDS)), days


def to_row(query: str, span: Span, limit: int) -> CoverageRow:
    """Return a row for a query without bounds and a span."""
    first = None if span.first == date.min else span.first
    last = None if span.last == date.max else span.last
    return CoverageRow(query, first, last, span.as_of, limit)


def to_span(row: CoverageRow) -> Span:
    """Return the days of a row."""
    return Span(row.first_day or date.min, row.last_day or date.max, row.as_of)


@functools.cache
def parse_if_valid(text: str) -> Query | None:
    """Return a query on record, or None if this version refuses it."""
    with contextlib.suppress(QueryError):
        return parse_query(text)
    return None


def describe_days(first: date, last: date, within: Days = (date.min, date.max)) -> str:
    """Return a range of days in words: `from 2026-08-29 on`, or an empty text without bounds."""
    if first == last:
        return f"of {first}"
    if first <= within[0]:
        return "" if last >= within[1] else f"until {last}"
    return f"from {first} on" if last >= within[1] else f"from {first} to {last}"


def describe_query(query: str) -> str:
    """Return a query in words."""
    return query or "all complaints"
