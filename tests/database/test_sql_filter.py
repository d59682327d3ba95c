"""SQL filters find the same complaints as the API, which the sandbox's index stands for."""

from collections.abc import Callable, Iterator
from datetime import date
from itertools import chain
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from luigi_etl.api.filters import FILTERS
from luigi_etl.api.query import Query, parse_query
from luigi_etl.common.errors import QueryError
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import DATES, FIELDS, complaints, stored_complaints
from luigi_etl.database.sql_filter import has_stable_filters, to_condition
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import Index, generated_index
from luigi_etl.sandbox.parameters import read_search
from luigi_etl.sandbox.row import Row

Source = dict[str, Any]
Pairs = list[tuple[str, str]]
Find = Callable[[Query], set[str]]

ERA = ERAS["2026-08"]
MINUTE = date(2026, 11, 22)
COLUMN = {"company_received": "date_sent_to_company"}
MANDATORY = ("complaint_id", "date_received")


def gaps(source: Source, chance: Random) -> Source:
    """Return a complaint with some of its values empty, null or not sent."""
    kept = dict(source)
    for name in source.keys() - set(MANDATORY):
        if chance.random() < 0.15:
            kept[name] = chance.choice(["", None])
            if chance.random() < 0.3:
                del kept[name]
    return kept


def with_gaps(index: Index) -> Index:
    chance = Random(1)
    for row in list(index.rows.values()):
        source = gaps(row.source, chance)
        sent = (source.get("date_sent_to_company") or "")[:10]
        index.rows[row.identifier] = Row(row.identifier, row.milliseconds, sent, source)
    return index


INDEX = with_gaps(generated_index(300, 1, ERA, days=20))
ROWS = sorted(INDEX.rows.values(), key=lambda row: row.identifier)


def stored(row: Row) -> dict[str, Any]:
    """Return a complaint as the database stores it."""
    values: dict[str, Any] = {name: row.value(name) or None for name in FIELDS}
    for name in DATES:
        if values[name]:
            values[name] = date.fromisoformat(values[name][:10])
    seen = {"first_snapshot": 1, "last_seen": MINUTE, "sent": 0}
    return {"complaint_id": row.identifier, **values, **seen}


@pytest.fixture
def found(database: Database) -> Iterator[Find]:
    """Give a function that returns the ids that the database finds for a query."""
    with database.writing() as connection:
        connection.execute(insert(stored_complaints), [stored(row) for row in ROWS])
    with database.reading() as connection:
        yield lambda query: set(
            connection.scalars(select(complaints.c.complaint_id).where(to_condition(query)))
        )


def expected(query: Query) -> set[str]:
    """Return the ids that the index finds."""
    search, messages = read_search(str(query), ERA)
    assert not messages
    return {row.identifier for row in INDEX.all_matching(search)}


# --- queries -------------------------------------------------------------------------------------


def values_of(name: str) -> list[str]:
    """Return the values in a filter's field, and a value that no complaint has.

    The API trims values, so a value that begins with a no-break space can't be queried.
    """
    field = name.removeprefix("not_")
    there = {value for row in ROWS if (value := str(row.value(field) or "")) and value == value.strip()}
    return [
        *sorted(there),
        *({"state": ["WY"], "timely": [], "zip_code": ["00000"]}.get(field, ["Nobody's"])),
    ]


def with_children(name: str) -> list[str]:
    """Return a field's values, alone and with each value of the child field."""
    children = values_of(f"sub_{name.removeprefix('not_')}")
    return [
        *values_of(name),
        *(f"{parent}•{child}" for parent in values_of(name) for child in children),
    ]


def some_of(name: str) -> st.SearchStrategy[Pairs]:
    """Return a filter with some values."""
    choices = with_children(name) if name.endswith(("product", "issue")) else values_of(name)
    return st.lists(st.sampled_from(choices), min_size=1, max_size=4).map(
        lambda values: [(name, value) for value in values]
    )


def range_of(name: str) -> st.SearchStrategy[Pairs]:
    """Return one or two ends of a range of days."""
    field = COLUMN.get(name, name)
    days = st.sampled_from(sorted({row.value(field)[:10] for row in ROWS if row.value(field)}))
    both = st.tuples(days, days).map(sorted).map(lambda ends: list(zip(("min", "max"), ends, strict=True)))
    one = st.tuples(st.sampled_from(["min", "max"]), days).map(lambda end: [end])
    return st.one_of(one, both).map(lambda ends: [(f"{name}_{end}", day) for end, day in ends])


LISTS = [
    name for name in FILTERS if name not in ("search_term", "field") and not name.endswith(("min", "max"))
]
PARTS = {name: some_of(name) for name in LISTS} | {
    name: range_of(name) for name in ("date_received", "company_received")
}


def queries(names: list[str], most: int) -> st.SearchStrategy[Query]:
    """Return queries with one to `most` filters."""
    chosen = st.lists(st.sampled_from(names), min_size=1, max_size=most, unique=True)
    pairs = chosen.flatmap(lambda names: st.tuples(*(PARTS[name] for name in names)))
    return pairs.map(lambda parts: parse_query(urlencode(list(chain(*parts)))))


EXCLUSIONS = [name for name in PARTS if name.startswith("not_")]
shared_database = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=200,
)


@pytest.mark.parametrize("name", PARTS)
def test_generated_queries_find_some_but_not_all(name: str) -> None:
    """Otherwise the tests below prove nothing."""
    sizes: set[bool] = set()

    @settings(max_examples=30, database=None, derandomize=True)
    @given(queries([name], 1))
    def collect(query: Query) -> None:
        sizes.add(0 < len(expected(query)) < len(ROWS))

    collect()
    assert True in sizes


@pytest.mark.slow
@shared_database
@given(queries(list(PARTS), 1))
def test_one_filter_matches_the_api(found: Find, query: Query) -> None:
    assert found(query) == expected(query)


@pytest.mark.slow
@shared_database
@given(queries(list(PARTS), 4))
def test_several_filters_match_the_api(found: Find, query: Query) -> None:
    assert found(query) == expected(query)


@pytest.mark.slow
@shared_database
@given(queries(EXCLUSIONS, 3))
def test_several_exclusions_match_the_api(found: Find, query: Query) -> None:
    assert found(query) == expected(query)


def test_empty_query_finds_everything(found: Find) -> None:
    assert found(parse_query("")) == {row.identifier for row in ROWS}


@pytest.mark.parametrize("name", EXCLUSIONS)
def test_complaint_without_a_value_is_not_excluded(found: Find, name: str) -> None:
    values = values_of(name)
    query = parse_query(urlencode([(name, value) for value in values]))
    without = {row.identifier for row in ROWS if row.value(name.removeprefix("not_")) not in values}
    assert found(query) == without


@pytest.mark.parametrize(
    "query", ["search_term=late", "search_term=bank&field=company", "state=CA&search_term=late"]
)
def test_search_term_is_refused(query: str) -> None:
    with pytest.raises(QueryError) as caught:
        to_condition(parse_query(query))
    assert str(caught.value) == "query: only the API can search for search_term; remove it here"


# --- stable filters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=CA&product=Mortgage&issue=Late&company=ACME&submitted_via=Web",
        "date_received_min=2026-01-01&date_received_max=2026-02-01",
        "company_received_min=2026-01-01&company_received_max=2026-02-01",
        "not_state=CA&not_product=Mortgage&not_issue=Late&not_company=ACME",
    ],
)
def test_query_on_stable_fields_is_lasting(query: str) -> None:
    assert has_stable_filters(parse_query(query))


@pytest.mark.parametrize(
    "query",
    [
        "company_response=In%20progress",
        "company_public_response=None",
        "tags=Servicemember",
        "timely=Yes",
        "zip_code=33460",
        "not_company_response=In%20progress",
        "not_company_public_response=None",
        "not_tags=Servicemember",
        "search_term=late",
        "state=CA&timely=Yes",
    ],
)
def test_query_on_changing_fields_is_not_lasting(query: str) -> None:
    assert not has_stable_filters(parse_query(query))
