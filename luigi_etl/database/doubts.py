"""Doubts: reasons why an answer from the database may differ from the API's."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Connection, and_, func, or_, select

from luigi_etl.api.filters import group_by_parent
from luigi_etl.api.query import Query
from luigi_etl.common.minutes import as_text
from luigi_etl.database.coverage import read_coverage
from luigi_etl.database.covered_days import (
    BOUNDS,
    CoverageRow,
    Days,
    Span,
    describe_days,
    describe_query,
    find_uncovered_days,
    join_ranges,
    merge_spans,
    parse_if_valid,
    split_days,
    to_row,
    to_span,
)
from luigi_etl.database.schema import complaints, unverified
from luigi_etl.database.sql_filter import CHILDREN, has_stable_filters, to_condition

FIRST_DAY = date(2011, 12, 1)  # the CFPB's first complaint
STALE = timedelta(days=2)  # the CFPB loads its index daily
MOST_RANGES = 3  # in a message
MOST_CONDITIONS = 100  # SQLite nests at most 1,000 in an expression


def find_doubts(connection: Connection, question: Query, now: datetime) -> list[str]:
    """Return the reasons why the database's answer may differ from the API's, one line each."""
    rows = read_coverage(connection)
    return [
        *find_gaps(question, rows, now),
        *_may_have_changed(connection, question, rows, now),
        *_not_verified(connection, question),
    ]


def find_gaps(question: Query, rows: Sequence[CoverageRow], now: datetime) -> list[str]:
    """Return a warning if a query asks for days that are not covered or not up to date.

    Ignore complaints without a day of receipt: the API has none.
    """
    spans = _spans_for(question, rows)
    days = _days_asked(question, now)
    gaps = list(find_uncovered_days(days, spans))
    if gaps:
        return [f"{_describe_coverage(question, spans, rows)}; {_describe_gaps(question, days, gaps)}"]
    used = _within(days, spans)
    stale = [span for span in used if span.as_of < now - STALE or span.as_of.date() < span.first]
    if not stale:
        return []
    oldest = min(span.as_of for span in stale)
    part = "" if stale == used else describe_days(stale[0].first, stale[-1].last, days)
    what = " ".join(filter(None, [describe_query(str(split_days(question)[0])), part]))
    again = _sync_command(question, stale[0].first)
    return [f"the database covers {what} as of {as_text(oldest)} only; to bring it up to date run {again}"]


def contains(wider: Query, narrower: Query) -> bool:
    """Return whether each match of the narrower query matches the wider one, bounds of days aside.

    Conservative: the wider query must have the same exclusions or none.
    """
    wide, narrow = _values(wider), _values(narrower)
    excluded = [pair for pair in wider.pairs if pair[0].startswith("not_")]
    if excluded and excluded != [pair for pair in narrower.pairs if pair[0].startswith("not_")]:
        return False
    return all(
        name in narrow and _is_wider(name, wide[name], narrow[name])
        for name in wide
        if not name.startswith("not_") and name not in BOUNDS
    )


def _values(query: Query) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in query.pairs:
        values.setdefault(name, []).append(value)
    return values


def _is_wider(name: str, wide: list[str], narrow: list[str]) -> bool:
    if name.endswith("_min"):
        return wide[0] <= narrow[0]
    if name.endswith("_max"):
        return wide[0] >= narrow[0]
    if name not in CHILDREN:
        return set(narrow) <= set(wide)
    parents = group_by_parent(wide)
    return all(
        parent in parents and (not parents[parent] or (children and set(children) <= set(parents[parent])))
        for parent, children in group_by_parent(narrow).items()
    )


def _days_asked(question: Query, now: datetime) -> Days:
    """Return the days of a query for which complaints can exist."""
    _, (first, last) = split_days(question)
    first = max(first, FIRST_DAY)
    return first, max(first, min(last, now.date()))


def _spans_for(question: Query, rows: Iterable[CoverageRow]) -> list[Span]:
    """Return the covered days of a query."""
    return merge_spans(
        to_span(row) for row in rows if not row.row_limit and _is_wider_query(row.query, question)
    )


def _is_wider_query(text: str, question: Query) -> bool:
    query = parse_if_valid(text)
    return query is not None and contains(query, question)


def _within(days: Days, spans: Iterable[Span]) -> list[Span]:
    first, last = days
    cut = (span._replace(first=max(span.first, first), last=min(span.last, last)) for span in spans)
    return [span for span in cut if span.first <= span.last]


def _may_have_changed(
    connection: Connection, question: Query, rows: Sequence[CoverageRow], now: datetime
) -> list[str]:
    """Warn of complaints that match as last seen, but that a newer snapshot of a changing filter lacks.

    Snapshots of stable filters mark such complaints as unverified. Others (tags, for example) do not.
    """
    lasting = [row for row in rows if (query := parse_if_valid(row.query)) and has_stable_filters(query)]
    days = _days_asked(question, now)
    used = _within(days, _spans_for(question, rows))
    if used == _within(days, _spans_for(question, lasting)):
        return []
    if len(used) > MOST_CONDITIONS:
        used = [Span(*days, max(span.as_of for span in used))]
    day, last_seen = complaints.c.date_received, complaints.c.last_seen
    unseen = or_(*(and_(day.between(span.first, span.last), last_seen < span.as_of) for span in used))
    count = _count(connection, question, unseen)
    if not count:
        return []
    others = Query(tuple(pair for pair in question.pairs if has_stable_filters(Query((pair,)))))
    return [
        f"{_counted(count)} of these may no longer match {describe_query(str(split_days(question)[0]))}; "
        f"to make sure run {_sync_command(others, days[0])}"
    ]


def _not_verified(connection: Connection, question: Query) -> list[str]:
    """Warn of complaints that a sync lacked and did not look up yet."""
    count = _count(connection, question, complaints.c.complaint_id.in_(select(unverified.c.complaint_id)))
    if not count:
        return []
    return [f"{_counted(count)} of these may be withdrawn or changed; the next SyncComplaints checks them"]


def _count(connection: Connection, question: Query, *conditions: object) -> int:
    chosen = (complaints.c.withdrawn.is_(None), to_condition(question), *conditions)
    return connection.scalar(select(func.count()).select_from(complaints).where(*chosen)) or 0  # type: ignore[arg-type]


def _describe_coverage(question: Query, spans: Sequence[Span], rows: Sequence[CoverageRow]) -> str:
    """Return `the database covers ...`, with the ranges of this query or else of others."""
    filters = str(split_days(question)[0])
    known = join_ranges(to_row(filters, span, 0) for span in spans) or join_ranges(rows)
    if not known:
        return "the database covers no query completely"
    only = "" if spans else "only "
    more = f" and {len(known) - 2:,} more (`luigi-etl status`)" if len(known) > 2 else ""
    return f"the database covers {only}{' and '.join(map(str, known[:2]))}{more}"


def _describe_gaps(question: Query, days: Days, gaps: Sequence[Days]) -> str:
    where = ""
    if gaps != [days]:
        texts = [describe_days(*gap, days) for gap in gaps[:MOST_RANGES]]
        more = [f"{len(gaps) - MOST_RANGES:,} more ranges"] if len(gaps) > MOST_RANGES else []
        where = f" ({', '.join(texts + more)})"
    return f"the query asks for more{where}: run {_sync_command(question, gaps[0][0])}"


def _sync_command(question: Query, since: date) -> str:
    query = Query(tuple(pair for pair in question.pairs if pair[0] != "date_received_min"))
    option = f" --query '{query}'" if query.pairs else ""  # percent-encoded: it holds no quote
    return f"`luigi --module luigi_etl SyncComplaints --local-scheduler --since {since}{option}`"


def _counted(count: int) -> str:
    return "1 complaint" if count == 1 else f"{count:,} complaints"
