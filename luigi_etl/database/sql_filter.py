"""A query as an SQL condition, with the meaning that the API gives its filters."""

import re
from collections.abc import Iterable
from datetime import date
from urllib.parse import quote

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, true

from luigi_etl.api.filters import CHILD_FIELDS, DAY_FIELDS, SEARCH_FILTERS, group_by_parent
from luigi_etl.api.query import Query, parse_query
from luigi_etl.common.errors import QueryError
from luigi_etl.database.schema import complaints
from luigi_etl.snapshot.decoding import find_fault_of_id

DAYS = {name: complaints.c[field] for name, field in DAY_FIELDS.items()}
CHILDREN = {name: complaints.c[field] for name, field in CHILD_FIELDS.items()}
# Filters on stable fields. Responses, tags and ZIP codes change for months: a complaint that such a filter no
# longer finds has changed, not vanished.
LASTING = frozenset(
    [f"{name}_{end}" for name in DAYS for end in ("min", "max")]
    + ["company", "issue", "product", "state", "submitted_via"]
    + ["not_company", "not_issue", "not_product", "not_state"]
)
# Lucene needs OR between values: `complaint_id:(1 2)` finds nothing.
_LOOKUP = re.compile(r"complaint_id:\(([0-9]+(?: OR [0-9]+)*)\)", re.ASCII)


def make_lookup_query(complaint_ids: Iterable[str]) -> Query:
    """Return the query that finds complaints by id.

    The API reads a search term in Lucene's syntax (cfpb/ccdb5-api: query_string).

    Raises:
        QueryError: the term is too long for the API.

    """
    return parse_query(f"field=all&search_term={quote('complaint_id:(' + ' OR '.join(complaint_ids) + ')')}")


def read_lookup_ids(query: Query) -> list[str]:
    """Return the ids in a query of `make_lookup_query`, or an empty list for other queries."""
    found = _LOOKUP.fullmatch(dict(query.pairs).get("search_term", ""))
    return found[1].split(" OR ") if found and len(query.pairs) == 2 else []


def has_stable_filters(query: Query) -> bool:
    """Return whether all filters are stable: a missing complaint is gone or has moved, not just changed."""
    return all(name in LASTING and value == value.strip() for name, value in query.pairs) or bool(
        read_lookup_ids(query)
    )


def proves_withdrawal(query: Query) -> bool:
    """Return whether a complaint that a complete answer lacks must be withdrawn.

    Dates, products, companies and states change, so a complaint can leave any filter. It can't leave the
    set of all complaints or change its id.
    """
    return not query.pairs or bool(read_lookup_ids(query))


def to_condition(query: Query) -> ColumnElement[bool]:
    """Return the condition that a row of `complaints` matches the query as in the API.

    Filters are joined by AND, the values of one filter by OR. Several `not_` filters exclude only complaints
    that match all of them.

    Raises:
        QueryError: the query has a search term, which only the API supports.

    """
    values: dict[str, list[str]] = {}
    for name, value in query.pairs:
        values.setdefault(name, []).append(value)
    if ids := read_lookup_ids(query):
        return complaints.c.complaint_id.in_([one for one in ids if not find_fault_of_id(one)])
    if SEARCH_FILTERS & values.keys():
        raise QueryError("query: only the API can search for search_term; remove it here")
    wanted = [_filter(name, values[name]) for name in values if not name.startswith("not_")]
    excluded = [_filter(name[4:], values[name]) for name in values if name.startswith("not_")]
    if excluded:  # NULL matches no filter, so it is not excluded
        wanted.append(not_(func.coalesce(and_(*excluded), false())))
    return and_(true(), *wanted)


def _filter(name: str, values: list[str]) -> ColumnElement[bool]:
    if name.endswith("_min"):
        return DAYS[name[:-4]] >= date.fromisoformat(values[0])
    if name.endswith("_max"):
        return DAYS[name[:-4]] <= date.fromisoformat(values[0])
    if name in CHILDREN:
        return or_(*(_is_or_is_below(name, *family) for family in group_by_parent(values).items()))
    return complaints.c[name].in_(values)


def _is_or_is_below(name: str, parent: str, children: list[str]) -> ColumnElement[bool]:
    is_parent = complaints.c[name] == parent
    return and_(is_parent, CHILDREN[name].in_(children)) if children else is_parent
