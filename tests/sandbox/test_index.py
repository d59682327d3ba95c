"""Tests of the index: filters, search terms, order, pages, recordings and changes."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.replay import replayed_index
from tests.conftest import Serve

TODAY = ERAS["2026-08"]
ServeHits = Callable[..., str]


def complaint(identifier: str, **fields: Any) -> dict[str, Any]:
    """Return a complaint as a recorded hit."""
    source = {
        "complaint_id": identifier,
        "date_received": "2026-01-15T12:00:00.000Z",
        "date_sent_to_company": "2026-01-15T12:00:00.000Z",
        "product": "Mortgage",
        "company": "ACME",
        **fields,
    }
    return {"_id": identifier, "_source": source}


def write_recording(file: Path, *hits: Any) -> Path:
    file.write_text(json.dumps({"hits": {"hits": hits}}))
    return file


@pytest.fixture
def serve_hits(served: Serve, tmp_path: Path) -> ServeHits:
    """Provide a function that serves its hits and returns the address."""

    def start(*hits: dict[str, Any]) -> str:
        index = replayed_index([write_recording(tmp_path / "hits.json", *hits)], 1, TODAY)
        return served(index=index).url

    return start


def get(url: str, **params: Any) -> requests.Response:
    return requests.get(url, {"no_aggs": "true", **params}, timeout=10)


def get_content(url: str, **params: Any) -> dict[str, Any]:
    response = get(url, **params)
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()
    return content


def hits(url: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_content(url, **params)["hits"]["hits"]
    return found


def ids(url: str, **params: Any) -> list[str]:
    """Return the ids found, sorted as text."""
    return sorted(hit["_id"] for hit in hits(url, **{"sort": "created_date_desc", **params}))


def walk(url: str, size: int, **params: Any) -> list[dict[str, Any]]:
    """Return every hit, page by page, until a page is not full."""
    collected: list[dict[str, Any]] = []
    while True:
        page = hits(url, size=size, **params)
        collected += page
        if len(page) < size:
            return collected
        params["search_after"] = "{}_{}".format(*page[-1]["sort"])


# --- filters -------------------------------------------------------------------------------------


def test_values_of_one_filter_are_combined_with_or(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("1", state="CA"), complaint("2", state="TX"), complaint("3", state="FL"))

    assert ids(url, state=["CA", "TX"]) == ["1", "2"]


def test_filters_are_combined_with_and(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("1", state="CA", timely="Yes"), complaint("2", state="CA", timely="No"))

    assert ids(url, state="CA", timely="Yes") == ["1"]


@pytest.mark.parametrize("company", ["acme", "ACM", "ACME "])
def test_filter_values_match_exactly(serve_hits: ServeHits, company: str) -> None:
    assert ids(serve_hits(complaint("1", company="ACME.")), company=company) == []


def test_value_with_two_tags_does_not_match_one_tag(serve_hits: ServeHits) -> None:
    both = "Older American, Servicemember"
    url = serve_hits(complaint("1", tags="Servicemember"), complaint("2", tags=both))

    assert ids(url, tags="Servicemember") == ["1"]


@pytest.mark.parametrize("name", ["product", "issue"])
def test_parent_matches_all_its_children(serve_hits: ServeHits, name: str) -> None:
    url = serve_hits(
        complaint("1", **{name: "A", f"sub_{name}": "a"}), complaint("2", **{name: "A", f"sub_{name}": None})
    )

    assert ids(url, **{name: "A"}) == ["1", "2"]


@pytest.mark.parametrize("name", ["product", "issue"])
def test_bullet_separates_parent_and_child(serve_hits: ServeHits, name: str) -> None:
    url = serve_hits(
        complaint("1", **{name: "A", f"sub_{name}": "a"}),
        complaint("2", **{name: "A", f"sub_{name}": "b"}),
        complaint("3", **{name: "B", f"sub_{name}": "a"}),
    )

    assert ids(url, **{name: "A•a"}) == ["1"]


@pytest.mark.parametrize("name", ["product", "issue"])
@pytest.mark.parametrize("values", [["A", "A•a"], ["A•a", "A"]])
def test_parent_with_a_child_matches_only_the_child(
    serve_hits: ServeHits, name: str, values: list[str]
) -> None:
    """The API's query builder (es_builders.py) groups the values by parent and requires both."""
    url = serve_hits(
        complaint("1", **{name: "A", f"sub_{name}": "a"}), complaint("2", **{name: "A", f"sub_{name}": "b"})
    )

    assert ids(url, **{name: values}) == ["1"]


@pytest.mark.parametrize("name", ["product", "issue"])
def test_child_and_another_parent_are_combined_with_or(serve_hits: ServeHits, name: str) -> None:
    url = serve_hits(
        complaint("1", **{name: "A", f"sub_{name}": "a"}),
        complaint("2", **{name: "A", f"sub_{name}": "b"}),
        complaint("3", **{name: "B", f"sub_{name}": None}),
    )

    assert ids(url, **{name: ["A•a", "B"]}) == ["1", "3"]


def test_exclusion_removes_each_of_its_values(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("1", state="CA"), complaint("2", state="TX"), complaint("3", state="FL"))

    assert ids(url, not_state=["CA", "TX"]) == ["3"]


def test_two_exclusions_remove_only_complaints_that_match_both(serve_hits: ServeHits) -> None:
    url = serve_hits(
        complaint("1", state="CA", tags="Servicemember"),
        complaint("2", state="CA", tags=None),
        complaint("3", state="TX", tags="Servicemember"),
    )

    assert ids(url, not_state="CA", not_tags="Servicemember") == ["2", "3"]


def test_exclusion_narrows_a_filter(serve_hits: ServeHits) -> None:
    url = serve_hits(
        complaint("1", company="A", state="CA"),
        complaint("2", company="B", state="CA"),
        complaint("3", company="B", state="TX"),
    )

    assert ids(url, state="CA", not_company="A") == ["2"]


# --- dates ---------------------------------------------------------------------------------------


@pytest.fixture
def three_days(serve_hits: ServeHits) -> str:
    """Serve complaints of the first and last instants of 2 March, and of the instants next to these."""
    instants = {
        "1": "2026-03-01T23:59:59.999Z",
        "2": "2026-03-02T00:00:00.000Z",
        "3": "2026-03-02T23:59:59.999Z",
        "4": "2026-03-03T00:00:00.000Z",
    }
    return serve_hits(
        *(
            complaint(key, date_received=instant, date_sent_to_company=instant)
            for key, instant in instants.items()
        )
    )


@pytest.mark.parametrize("name", ["date_received", "company_received"])
@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({"min": "2026-03-02"}, ["2", "3", "4"]),
        ({"max": "2026-03-02"}, ["1", "2", "3"]),
        ({"min": "2026-03-02", "max": "2026-03-02"}, ["2", "3"]),
        ({"min": "2026-03-03", "max": "2026-03-01"}, []),
    ],
)
def test_date_bounds_are_inclusive_utc_days(
    three_days: str, name: str, bounds: dict[str, str], found: list[str]
) -> None:
    assert ids(three_days, **{f"{name}_{end}": day for end, day in bounds.items()}) == found


def test_noon_at_utc_minus_5_is_on_the_same_utc_day(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("1", date_received="2024-11-06T12:00:00-05:00"))

    assert ids(url, date_received_min="2024-11-06", date_received_max="2024-11-06") == ["1"]


@pytest.mark.parametrize("end", ["min", "max"])
def test_complaint_without_a_sent_date_is_in_no_range(serve_hits: ServeHits, end: str) -> None:
    url = serve_hits(complaint("1", date_sent_to_company=None))

    assert ids(url, **{f"company_received_{end}": "2026-01-15"}) == []


# --- search terms --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("late", ["1", "2"]),
        ("LATE", ["1", "2"]),
        ("late fee", ["1", "2"]),
        ("fee late", ["1", "2"]),
        ("late rent", []),
        ('"late fee"', ["1"]),
        ("lat", []),
    ],
)
def test_all_words_of_a_term_are_required(serve_hits: ServeHits, term: str, found: list[str]) -> None:
    url = serve_hits(complaint("1", issue="A late fee"), complaint("2", issue="The fee was late"))

    assert ids(url, search_term=term, field="all") == found


def test_term_can_be_searched_in_the_company_only(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("1", company="Acme Bank"), complaint("2", issue="My bank"))

    assert ids(url, search_term="bank", field="company") == ["1"]


def test_term_finds_nothing_by_default_without_narratives(serve_hits: ServeHits) -> None:
    assert ids(serve_hits(complaint("1", company="Acme Bank")), search_term="bank") == []


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("complaint_id:(123 OR 456 OR 789)", ["123", "456"]),
        ("complaint_id:123", ["123"]),
        ("complaint_id:(123)", ["123"]),
        ("complaint_id:(123 || 456)", ["123", "456"]),
        ('complaint_id:("123""456")', ["123", "456"]),
        ("complaint_id:((123)(456))", ["123", "456"]),
        ("complaint_id:/123|456/", ["123", "456"]),
        (" complaint_id:( 456  OR  123 ) ", ["123", "456"]),
        ("complaint_id:(123 456)", []),
        ("complaint_id:(123 456 789)", []),
        ("complaint_id:(999)", []),
        ("complaint_id:(12)", []),
        ("complaint_id:(0123)", []),
    ],
)
def test_id_lookup_finds_complaints_by_id(serve_hits: ServeHits, term: str, found: list[str]) -> None:
    url = serve_hits(complaint("123"), complaint("456"), complaint("1234", zip_code="789", issue="123"))

    assert ids(url, search_term=term, field="all") == found


def test_id_lookup_obeys_the_filters(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("123", state="CA"), complaint("456", state="NY"))

    assert ids(url, search_term="complaint_id:(123 OR 456)", field="all", state="NY") == ["456"]


@pytest.mark.parametrize("term", ["complaint_id:", "complaint_id:()", "complaint_id:(123"])
def test_invalid_id_lookup_is_424(served: Serve, term: str) -> None:
    assert get(served(1).url, search_term=term, field="all").status_code == 424


@pytest.mark.parametrize("term", ['"late fee', "(late", "late AND", "company:[a", "late^", "fee/"])
def test_syntax_error_in_a_term_is_424(served: Serve, term: str) -> None:
    assert get(served(1).url, search_term=term, field="all").status_code == 424


# --- order ---------------------------------------------------------------------------------------


def test_default_order_is_descending_ids_as_text(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("10014692"), complaint("9999999"), complaint("55555"))

    assert [hit["_id"] for hit in hits(url)] == ["9999999", "55555", "10014692"]


def test_ascending_relevance_is_ascending_ids_as_text(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("9999999"), complaint("10014692"))

    assert [hit["_id"] for hit in hits(url, sort="relevance_asc")] == ["10014692", "9999999"]


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_created_date_sorts_by_instant_then_id_as_text(serve_hits: ServeHits, direction: str) -> None:
    later = complaint("1", date_received="2026-01-16T00:00:00Z")
    url = serve_hits(complaint("9999999"), complaint("10014692"), later)
    expected = ["10014692", "9999999", "1"]

    found = [hit["_id"] for hit in hits(url, sort=f"created_date_{direction}")]

    assert found == (expected if direction == "asc" else expected[::-1])


def test_hit_sorted_by_date_has_milliseconds_and_id(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("123", date_received="2025-06-30T23:45:02.000Z"))

    (hit,) = hits(url, sort="created_date_desc")

    assert hit["sort"] == [1751327102000, "123"]
    assert hit["_score"] is None


def test_hit_sorted_by_relevance_has_score_and_id(serve_hits: ServeHits) -> None:
    (hit,) = hits(serve_hits(complaint("123")))

    assert hit["sort"] == [hit["_score"], "123"]
    assert isinstance(hit["_score"], float)


# --- pages ---------------------------------------------------------------------------------------


def test_page_has_25_complaints_by_default(served: Serve) -> None:
    assert len(hits(served(60).url)) == 25


def test_page_of_size_0_has_the_total(served: Serve) -> None:
    content = get_content(served(60).url, size=0)

    assert content["hits"] == {"total": {"value": 60, "relation": "eq"}, "max_score": None, "hits": []}


def test_total_counts_all_matches_on_every_page(served: Serve) -> None:
    url = served(60).url
    matching = len(hits(url, size=60, company="EQUIFAX, INC."))
    (first,) = hits(url, size=1, company="EQUIFAX, INC.")

    content = get_content(url, size=1, company="EQUIFAX, INC.", search_after="{}_{}".format(*first["sort"]))

    assert 1 < matching < 60
    assert content["hits"]["total"] == {"value": matching, "relation": "eq"}


@pytest.mark.parametrize(("size", "status"), [(10_000, 200), (10_001, 424), (100_000, 424)])
def test_page_of_more_than_10000_is_424(served: Serve, size: int, status: int) -> None:
    assert get(served(1).url, size=size).status_code == status


def test_frm_does_not_change_the_page(served: Serve) -> None:
    url = served(60).url

    assert hits(url, frm=50) == hits(url)


@pytest.mark.parametrize("size", [7, 100, 250, 1000])
@pytest.mark.parametrize("sort", ["created_date_desc", "created_date_asc", "relevance_desc", "relevance_asc"])
@pytest.mark.parametrize("era", ["2025-11", "2026-08"])  # many or hardly any share an instant
def test_walk_returns_every_complaint_once_in_order(served: Serve, era: str, sort: str, size: int) -> None:
    collected = walk(served(250, era=era, days=5).url, size, sort=sort)

    keys = [tuple(hit["sort"]) for hit in collected]
    assert len(collected) == len({hit["_id"] for hit in collected}) == 250
    assert keys == sorted(keys, reverse=sort.endswith("desc"))


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 1000, 10_000])
def test_walk_has_no_depth_limit(served: Serve, size: int) -> None:
    collected = walk(served(25_000).url, size, sort="created_date_desc")

    assert len(collected) == len({hit["_id"] for hit in collected}) == 25_000


def test_walk_with_a_filter_returns_only_matches(served: Serve) -> None:
    collected = walk(served(250).url, 10, sort="created_date_desc", state=["FL", "TX"])

    assert len(collected) > 10
    assert {hit["_source"]["state"] for hit in collected} == {"FL", "TX"}


def test_cursor_0_0_starts_an_ascending_walk(served: Serve) -> None:
    url = served(60).url

    assert hits(url, sort="created_date_asc", search_after="0_0") == hits(url, sort="created_date_asc")


@pytest.mark.parametrize("size", [10, 20])
def test_page_after_the_last_complaint_is_empty(served: Serve, size: int) -> None:
    url = served(20).url
    last = hits(url, size=20, sort="created_date_desc")[-1]
    cursor = "{}_{}".format(*last["sort"])

    assert hits(url, size=size, sort="created_date_desc", search_after=cursor) == []


def test_date_cursor_without_a_date_sort_returns_page_1(served: Serve) -> None:
    url = served(60).url
    last = hits(url, sort="created_date_desc")[-1]

    assert hits(url, search_after="{}_{}".format(*last["sort"])) == hits(url)


def test_cursor_of_a_missing_complaint_works(serve_hits: ServeHits) -> None:
    url = serve_hits(complaint("1"), complaint("3"))
    milliseconds = hits(url, sort="created_date_asc")[0]["sort"][0]

    (hit,) = hits(url, sort="created_date_asc", search_after=f"{milliseconds}_2")

    assert hit["_id"] == "3"


@pytest.mark.parametrize(
    ("sort", "cursor"),
    [
        ("created_date_desc", "yesterday_1"),
        ("created_date_desc", "1730912400000.5_1"),
        ("created_date_desc", "_1"),
        ("relevance_desc", "high_1"),
        ("created_date_desc", "1730912400000"),
        ("created_date_desc", "1730912400000_1_2"),
        ("created_date_desc", "-5_1"),
        ("relevance_desc", "1.0"),
    ],
)
def test_invalid_cursor_is_424(served: Serve, sort: str, cursor: str) -> None:
    assert get(served(1).url, sort=sort, search_after=cursor).status_code == 424


# --- break points --------------------------------------------------------------------------------


def test_break_points_are_cursors_of_the_next_pages(served: Serve) -> None:
    url = served(60).url
    everything = hits(url, size=60, sort="created_date_desc")

    points = get_content(url, size=25, sort="created_date_desc")["_meta"]["break_points"]

    pages = {
        page: hits(url, size=25, sort="created_date_desc", search_after="{}_{}".format(*point))
        for page, point in points.items()
    }
    assert pages == {"2": everything[25:50], "3": everything[50:]}


@pytest.mark.parametrize("size", [200, 250, 0])
def test_large_pages_have_no_break_points(served: Serve, size: int) -> None:
    assert get_content(served(500).url, size=size)["_meta"]["break_points"] == {}


def test_break_points_look_200_complaints_ahead(served: Serve) -> None:
    points = get_content(served(500).url, size=25)["_meta"]["break_points"]

    assert sorted(points) == list("2345678")


# --- recorded complaints -------------------------------------------------------------------------


def test_recorded_hits_are_replayed_unchanged(served: Serve, recorded: Path) -> None:
    file = recorded / "2024-11-page-1.json"
    index = replayed_index([file], 1, TODAY)

    replayed = hits(served(index=index).url, sort="created_date_desc")

    assert replayed == json.loads(file.read_bytes())["hits"]["hits"]


def test_recorded_hit_with_unknown_fields_is_replayed(serve_hits: ServeHits) -> None:
    hit = {"_id": "7", "_source": {"unheard": [1, None]}, "sort": [1730912400000, "7"]}

    (replayed,) = hits(serve_hits(hit), sort="created_date_desc")

    assert replayed["_source"] == {"unheard": [1, None]}


@pytest.mark.parametrize("source", [{}, {"date_received": None}])
def test_recording_without_a_date_is_replayed(served: Serve, tmp_path: Path, source: dict[str, Any]) -> None:
    """In descending order, complaints without a date come last."""
    dated, undated = complaint("1"), {"_id": "2", "_source": {"complaint_id": "2", **source}}
    file = write_recording(tmp_path / "two.json", undated, dated)
    url = served(0, "3:redate=1", index=replayed_index([file], 1, TODAY)).url

    found = hits(url, sort="created_date_desc")

    assert [hit["_id"] for hit in found] == ["1", "2"]
    assert found[1]["sort"] == [-(2**63), "2"]
    assert ids(url, date_received_min="1970-01-01", date_received_max="2100-01-01") == ["1"]
    assert len(hits(url)) == 2


def test_several_recordings_make_one_index(served: Serve, tmp_path: Path) -> None:
    files = [write_recording(tmp_path / f"{number}.json", complaint(str(number))) for number in (1, 2)]

    assert ids(served(index=replayed_index(files, 1, TODAY)).url) == ["1", "2"]


def test_last_of_two_recordings_with_the_same_id_counts(served: Serve, tmp_path: Path) -> None:
    files = [
        write_recording(tmp_path / f"{state}.json", complaint("1", state=state)) for state in ("CA", "TX")
    ]

    (hit,) = hits(served(index=replayed_index(files, 1, TODAY)).url)

    assert hit["_source"]["state"] == "TX"


def test_recording_sorted_by_relevance_keeps_its_dates(serve_hits: ServeHits) -> None:
    url = serve_hits({**complaint("1"), "sort": [1.0, "1"]})

    assert ids(url, date_received_min="2026-01-15", date_received_max="2026-01-15") == ["1"]


def test_recorded_complaints_change_and_new_ones_arrive(served: Serve, tmp_path: Path) -> None:
    file = write_recording(tmp_path / "one.json", complaint("1", company_response="In progress"))
    url = served(0, "2:change=1", "2:arrive=1", index=replayed_index([file], 1, TODAY)).url

    (before,) = hits(url)
    after = {hit["_id"]: hit["_source"] for hit in hits(url)}

    assert len(after) == 2
    assert after["1"]["company_response"] != before["_source"]["company_response"]


# --- an index that changes -----------------------------------------------------------------------


def test_complaint_is_removed_and_put_back(served: Serve) -> None:
    server = served(3)
    index = server.sandbox.index
    before = ids(server.url)
    source = index.rows[before[0]].source

    index.remove(before[:1])
    assert ids(server.url) == before[1:]

    index.put([source])
    assert ids(server.url) == before


def test_replaced_complaint_is_found_by_its_new_date(served: Serve) -> None:
    server = served(3)
    identifier = ids(server.url)[0]
    source = server.sandbox.index.rows[identifier].source

    server.sandbox.index.put([{**source, "date_received": "2020-02-01T23:00:00-05:00"}])

    assert ids(server.url, date_received_min="2020-02-02", date_received_max="2020-02-02") == [identifier]


def test_entering_an_era_removes_fields_from_all_complaints(served: Serve) -> None:
    server = served(3, era="2025-11")
    index = server.sandbox.index
    field_counts = {len(hit["_source"]) for hit in hits(server.url)}

    for era in ("2026-06", "2026-08"):
        index.enter(ERAS[era])
        index.arrive(1)
        field_counts |= {len(hit["_source"]) for hit in hits(server.url)}

    assert field_counts == {19, 17, 15}
    assert {len(hit["_source"]) for hit in hits(server.url)} == {15}


def test_new_complaints_have_dates_up_to_the_time_of_the_index() -> None:
    begin = datetime(2026, 4, 1, tzinfo=timezone.utc)
    index = generated_index(0, 1, TODAY, 2, begin)

    index.arrive(20)
    early = set(index.rows)
    index.move_on(begin + timedelta(days=30))
    index.arrive(20)

    days_before = {index.rows[one].received for one in early}
    days_after = {row.received for one, row in index.rows.items() if one not in early}
    assert days_before <= {"2026-03-30", "2026-03-31", "2026-04-01"}
    assert days_after <= {"2026-04-29", "2026-04-30", "2026-05-01"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<html></html>",
        "[]",
        "{}",
        '{"hits": {"total": 1}}',
        '{"hits": {"hits": [1]}}',
        '{"hits": {"hits": [{"_id": "1"}]}}',
        '{"hits": {"hits": [{"_id": "1", "_source": {"date_received": "soon"}}]}}',
        '{"hits": {"hits": [{"_id": "1", "_source": {"date_received": 7}}]}}',
    ],
)
def test_invalid_recording_is_refused_by_file_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(content)

    with pytest.raises(ValueError, match=r"bad\.json is not a recorded answer"):
        replayed_index([file], 1, TODAY)
