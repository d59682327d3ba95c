"""A query as a condition on the complaints of the database: what the API's filters mean there."""

import re
from collections.abc import Iterable
from datetime import date
from urllib.parse import quote

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, true

from luigi_etl.api.query import CHILD_FIELDS, DAY_FIELDS, SEARCH_FILTERS, Query, families, parse_query
from luigi_etl.common.errors import QueryError
from luigi_etl.database.schema import complaints

DAYS = {name: complaints.c[field] for name, field in DAY_FIELDS.items()}
CHILDREN = {name: complaints.c[field] for name, field in CHILD_FIELDS.items()}
# Filters on what a complaint keeps. Companies' responses, tags and ZIP codes change for months: a complaint
# that is no longer found by them has changed, not vanished.
LASTING = frozenset(
    [f"{name}_{end}" for name in DAYS for end in ("min", "max")]
    + ["company", "issue", "product", "state", "submitted_via"]
    + ["not_company", "not_issue", "not_product", "not_state"]
)
# In Lucene a blank between values is no operator: `complaint_id:(1 2)` finds nothing.
_LOOKUP = re.compile(r"complaint_id:\(([0-9]+(?: OR [0-9]+)*)\)", re.ASCII)


def lookup_query(complaint_ids: Iterable[str]) -> Query:
    """Return the query that finds complaints by their ids, whatever else becomes of them.

    The API's engine reads a search term in Lucene's syntax (cfpb/ccdb5-api: query_string).

    Raises:
        QueryError: the API takes no term as long.

    """
    return parse_query(f"field=all&search_term={quote('complaint_id:(' + ' OR '.join(complaint_ids) + ')')}")


def ids_looked_up(query: Query) -> list[str]:
    """Return the ids of a query that `lookup_query` made; none for another query."""
    found = _LOOKUP.fullmatch(dict(query.pairs).get("search_term", ""))
    return found[1].split(" OR ") if found and len(query.pairs) == 2 else []


def is_lasting(query: Query) -> bool:
    """Return whether a complaint that a complete answer lacks is gone, or has moved out of the query."""
    return all(name in LASTING and value == value.strip() for name, value in query.pairs) or bool(
        ids_looked_up(query)
    )


def proves_withdrawal(query: Query) -> bool:
    """Return whether a complete answer to the query can only lack a complaint that is gone.

    Dates, products, companies and states change, so a complaint can move out of any filter, but not out of
    all complaints, nor away from its id.
    """
    return not query.pairs or bool(ids_looked_up(query))


def condition(query: Query) -> ColumnElement[bool]:
    """Return the condition that a row of `complaints` matches the query, as the API's filters are defined.

    Different filters AND, values of one OR; with several `not_` filters only what matches all of them is out.

    Raises:
        QueryError: the query searches for words, which only the API can.

    """
    values: dict[str, list[str]] = {}
    for name, value in query.pairs:
        values.setdefault(name, []).append(value)
    if ids := ids_looked_up(query):
        return complaints.c.complaint_id.in_(ids)
    if SEARCH_FILTERS & values.keys():
        raise QueryError("query: search_term is searched by the API alone; leave it out here")
    wanted = [_filter(name, values[name]) for name in values if not name.startswith("not_")]
    excluded = [_filter(name[4:], values[name]) for name in values if name.startswith("not_")]
    if excluded:  # what has no value matches no filter, so it is not left out
        wanted.append(not_(func.coalesce(and_(*excluded), false())))
    return and_(true(), *wanted)


def _filter(name: str, values: list[str]) -> ColumnElement[bool]:
    if name.endswith("_min"):
        return DAYS[name[:-4]] >= date.fromisoformat(values[0])
    if name.endswith("_max"):
        return DAYS[name[:-4]] <= date.fromisoformat(values[0])
    if name in CHILDREN:
        return or_(*(_is_or_is_below(name, *family) for family in families(values).items()))
    return complaints.c[name].in_(values)


def _is_or_is_below(name: str, parent: str, children: list[str]) -> ColumnElement[bool]:
    is_parent = complaints.c[name] == parent
    return and_(is_parent, CHILDREN[name].in_(children)) if children else is_parent
