"""Responses that contradict their query."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given, settings

from luigi_etl.api.contradiction import find_contradiction, find_contradiction_in_page
from luigi_etl.api.filters import FILTERS
from luigi_etl.api.query import Query, parse_query
from luigi_etl.api.response import SearchResponse, read_response
from luigi_etl.common.errors import QueryError, RefusedError
from luigi_etl.sandbox.index import Found, Index
from luigi_etl.sandbox.search import Search
from luigi_etl.snapshot.complaint import Complaint
from luigi_etl.snapshot.extract import extract
from tests.conftest import RECORDED, Serve, Served
from tests.database.test_sql_filter import EXCLUSIONS, PARTS, ROWS, expected, queries

ORACLE = RECORDED.parent / "oracle"
NEWEST = "sort=created_date_desc"
JULY = 1_782_900_000_000  # a moment of 2026-07-01


def contradiction(query: str, **source: object) -> str | None:
    pairs = parse_qsl(query)
    return find_contradiction(pairs, [{"complaint_id": "7", **source}])


# --- filters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "source", "found"),
    [
        ("state=CA", {"state": "NY"}, "state=CA: complaint 7 has state NY"),
        ("state=CA&state=TX", {"state": "NY"}, "state=CA or state=TX: complaint 7 has state NY"),
        ("state=CA", {"state": None}, "state=CA: complaint 7 has no state"),
        ("state=CA", {"state": ""}, "state=CA: complaint 7 has no state"),
        ("tags=Older American", {"tags": "Older"}, "tags=Older American: complaint 7 has tags Older"),
        ("product=A", {"product": "B"}, "product=A: complaint 7 has product B"),
        (
            "product=A•x",
            {"product": "A", "sub_product": "y"},
            "product=A•x: complaint 7 has product A and sub_product y",
        ),
        (
            "product=A&product=A•x",
            {"product": "A", "sub_product": "y"},
            "product=A or product=A•x: complaint 7 has product A and sub_product y",
        ),
        (
            "date_received_min=2026-07-02",
            {"date_received": "2026-07-01T23:59:59.000Z"},
            "date_received_min=2026-07-02: complaint 7 has date_received 2026-07-01T23:59:59.000Z",
        ),
        (
            "date_received_max=2026-07-01",
            {"date_received": "2026-07-01T20:00:00-05:00"},
            "date_received_max=2026-07-01: complaint 7 has date_received 2026-07-01T20:00:00-05:00",
        ),
        (
            "company_received_max=2026-07-01",
            {"date_sent_to_company": None},
            "company_received_max=2026-07-01: complaint 7 has no date_sent_to_company",
        ),
        (
            "date_received_max=2026-07-01",
            {"date_received": date(2026, 7, 2)},
            "date_received_max=2026-07-01: complaint 7 has date_received 2026-07-02",
        ),
        ("not_state=NY", {"state": "NY"}, "not_state=NY: complaint 7 has state NY"),
        (
            "not_state=NY&not_product=A",
            {"state": "NY", "product": "A"},
            "not_state=NY and not_product=A: complaint 7 has state NY and product A",
        ),
        (
            "&".join(f"state={state}" for state in ("AK", "AL", "AR", "AZ", "CA")),
            {"state": "N\x1b[31mY\n" + "x" * 1_000_000},
            f"state=AK or state=AL or state=AR or 2 more: complaint 7 has state N\\x1b[31mY {'x' * 186}...",
        ),
    ],
)
def test_row_that_a_filter_excludes_is_named(query: str, source: dict[str, object], found: str) -> None:
    assert contradiction(query, **source) == f"the API ignored {found}"


@pytest.mark.parametrize(
    ("query", "source"),
    [
        ("state=CA", {}),
        ("state=CA", {"state": msgspec.UNSET}),
        ("state=CA", {"state": ["NY"]}),
        ("state=CA", {"state": 7}),
        ("product=A•x", {"product": "A"}),
        ("product=A•x", {"sub_product": "y"}),
        ("product=A", {"product": "A", "sub_product": None}),
        ("date_received_min=2026-07-01", {"date_received": "2026-07-01"}),
        ("date_received_max=2026-07-01", {"date_received": "2026-07-01T23:59:59.999Z"}),
        ("date_received_max=2026-07-01", {"date_received": "2026-07-02T01:00:00+02:00"}),
        ("date_received_max=2026-07-01", {"date_received": "the second of July"}),
        ("date_received_max=2026-07-01", {"date_received": "9999-99-99T00:00:00Z"}),
        ("date_received_max=2026-07-01", {"date_received": {}}),
        ("not_state=NY", {"state": None}),
        ("not_state=NY", {}),
        ("not_state=NY&not_product=A", {"state": "NY", "product": "B"}),
        ("not_state=NY&not_product=A", {"state": "NY"}),
        ("search_term=late&field=all", {"company": "Early"}),
    ],
)
def test_row_that_may_match_is_no_contradiction(query: str, source: dict[str, object]) -> None:
    assert contradiction(query, **source) is None


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(queries(list(PARTS), 4) | queries(EXCLUSIONS, 3))
def test_rows_contradict_if_they_do_not_match(query: Query) -> None:
    """A row may match if it lacks the field."""
    sources = {row.identifier: row.source for row in ROWS[:100]}
    nulls = {field.removeprefix("not_"): None for field in FILTERS}
    nulls |= dict.fromkeys(("date_sent_to_company", "sub_product", "sub_issue"))

    kept = {one for one, source in sources.items() if not find_contradiction(query.pairs, [source])}
    matching = {
        one for one, source in sources.items() if not find_contradiction(query.pairs, [nulls | source])
    }

    assert matching == expected(query) & sources.keys()
    assert kept >= matching


def test_typed_complaints_are_checked_as_well() -> None:
    complaint = Complaint(complaint_id="7", state="NY")

    found = find_contradiction([("state", "CA"), ("tags", "x")], [msgspec.structs.asdict(complaint)])

    assert found == "the API ignored state=CA: complaint 7 has state NY"


# --- the order of rows ---------------------------------------------------------------------------


def hit(identifier: str, sort: object, **source: object) -> dict[str, object]:
    return {"_id": identifier, "sort": sort, "_source": {"complaint_id": identifier, **source}}


def answer(hits: Iterable[object], total: int = 100) -> SearchResponse:
    return read_response(json.dumps({"hits": {"total": total, "hits": list(hits)}}).encode())


@pytest.mark.parametrize(
    ("hits", "found"),
    [
        ([hit("1", [5, "1"]), hit("2", [6, "2"])], f"{NEWEST}: 6_2 follows 5_1"),
        ([hit("10", [5, "10"]), hit("9", [5, "9"])], f"{NEWEST}: 5_9 follows 5_10"),
        ([hit("1", [5.0, "1"]), hit("2", [6.0, "2"])], f"{NEWEST}: 6_2 follows 5_1"),
        ([hit("1", [10, "1"])], "search_after=9_1: 10_1 is not after it"),
        ([hit("1", [9, "1"])], "search_after=9_1: 9_1 is not after it"),
        (
            [hit("2", [1.0, "2"], date_received="2026-07-01"), hit("1", [1.0, "1"])],
            f"{NEWEST}: a complaint is sorted by 1.0_2",
        ),
        ([hit("2", [None, "2"], date_received="2026-07-01")], f"{NEWEST}: a complaint is sorted by None_2"),
        ([hit("2", [1.5, "2"], date_received="2026-07-01")], f"{NEWEST}: a complaint is sorted by 1.5_2"),
    ],
)
def test_rows_out_of_order_are_named(hits: list[object], found: str) -> None:
    assert find_contradiction_in_page([], answer(hits), "9_1") == f"the API ignored {found}"


@pytest.mark.parametrize(
    "hits",
    [
        [],
        [hit("9", [8, "9"]), hit("10", [8, "10"]), hit("10", [8, "10"]), hit("1", [7, "1"])],
        [hit("1", [8, "1"]), {"odd": True}, 3, None, hit("2", "odd"), hit("1", [7, "1"])],
        [hit("1", [8, "1"], date_received=None), hit("1", [-(2**63), "1"], date_received=None)],
        [hit("1", [8, "1"], date_received="soon"), hit("1", [7, "1"], date_received=[])],
    ],
)
def test_rows_in_order_are_no_contradiction(hits: list[object]) -> None:
    assert find_contradiction_in_page([], answer(hits), "9_1") is None


@pytest.mark.parametrize("text", ["2026-07-01T10:00:00Z", "2026-07-01T12:00:00-05:00", "2026-07-01"])
def test_date_agrees_with_its_sort_value(text: str) -> None:
    rows = [hit("1", [float(JULY), "1"], date_received=text)]

    assert find_contradiction_in_page([], answer(rows), None) is None


def test_partial_page_without_sort_values_is_refused() -> None:
    rows = [{"_id": "1", "_source": {}}]

    assert find_contradiction_in_page([], answer(rows, 2), None)
    assert find_contradiction_in_page([], answer(rows, 1), None) is None


def test_malformed_hits_are_left_to_the_parser() -> None:
    odd: list[object] = [3, {"_source": []}, {"_source": {"state": "\ud800"}}]
    rows = [*odd, hit("7", [1, "7"], state="NY")]

    found = find_contradiction_in_page([("state", "CA")], answer(rows), None)

    assert found == "the API ignored state=CA: complaint 7 has state NY"


# --- real responses ------------------------------------------------------------------------------


def oracle() -> tuple[dict[str, Mapping[str, Any]], list[dict[str, Any]]]:
    if not ORACLE.is_dir():
        pytest.skip("there are no recorded responses in ../shared/data/oracle")
    rows = [json.loads(line) for line in (ORACLE / "rows.jsonl").read_text().splitlines()]
    answers = json.loads((ORACLE / "answers.json").read_text())
    return {row["complaint_id"]: row for row in rows}, [one for one in answers if one.get("ids")]


def filters(query: str) -> Query | None:
    """Return a request's filters, or None if the project refuses them."""
    named = [(name, value) for name, value in parse_qsl(query) if name in FILTERS]
    try:
        return replace(parse_query(""), pairs=tuple(pair for pair in named if parse_query("=".join(pair))))
    except QueryError:
        return None


def test_real_responses_are_no_contradiction() -> None:
    rows, answers = oracle()
    checked = 0

    for one in answers:
        query = filters(one["query"])
        found = find_contradiction(query.pairs, map(rows.__getitem__, one["ids"])) if query else None
        checked += query is not None and any(name != "search_term" for name, _ in query.pairs)
        assert found is None, one["query"]

    assert checked


def test_real_responses_are_in_order() -> None:
    rows, answers = oracle()

    for one in answers:
        if NEWEST not in one["query"]:
            continue
        hits = [hit(i, [milliseconds(rows[i]["date_received"]), i], **rows[i]) for i in one["ids"]]
        assert find_contradiction_in_page([], answer(hits), None) is None, one["query"]


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


# --- extraction ----------------------------------------------------------------------------------


class IgnoringIndex(Index):
    """An index that ignores a part of each request."""

    ignored: dict[str, Any]

    def search(self, search: Search) -> Found:
        return super().search(replace(search, **self.ignored))


def serve_ignoring(served: Serve, **ignored: Any) -> Served:
    rows = served(50).sandbox.index
    index = IgnoringIndex(rows.rows.values(), rows.last_indexed, rows._generator, "ignoring")
    index.ignored = ignored
    return served(index=index)


@pytest.mark.parametrize("limit", [0, 10])
@pytest.mark.parametrize(
    ("query", "ignored", "found"),
    [
        ([("state", "CA")], {"filters": ()}, "the API ignored state=CA: complaint .* has state "),
        ([("date_received_max", "2011-12-01")], {"filters": ()}, "ignored date_received_max=2011-12-01"),
        ([], {"sort": "created_date_asc"}, f"the API ignored {NEWEST}: .* follows "),
        ([], {"sort": "relevance_desc"}, f"the API ignored {NEWEST}: .* follows "),
        ([], {"size": 26}, "the API ignored size=.*: it returned 26 complaints"),
    ],
)
def test_ignored_parameter_stops_the_extraction_at_once(
    served: Serve,
    tmp_path: Path,
    query: list[tuple[str, str]],
    ignored: dict[str, Any],
    found: str,
    limit: int,
) -> None:
    server = serve_ignoring(served, **ignored)

    with server.client(page_size=25) as client, pytest.raises(RefusedError, match=found):
        extract(client, query, limit, tmp_path / "gz", lambda _: None)

    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_stored_pages_of_another_query_are_fetched_again(served: Serve, tmp_path: Path) -> None:
    """An older version may have stored them, or the query has changed."""
    server = served(50, "2:status=403")
    with server.client(page_size=20) as client, pytest.raises(RefusedError):
        extract(client, [], 0, tmp_path / "gz", lambda _: None)

    with server.client(page_size=20) as client:
        extract(client, [("state", "CA")], 0, tmp_path / "gz", lambda _: None)

    assert ["search_after" in path for path in server.asked] == [False, True, False]
