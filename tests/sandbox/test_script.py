"""Tests of the script: rules, changes of the index, and distorted responses."""

from typing import Any

import pytest
import requests

from luigi_etl.sandbox.script import EVENTS, Event, Rule, Script, read_rule
from tests.conftest import Serve

PAGE = {"size": "100", "no_aggs": "true", "sort": "created_date_desc"}


def get_page(url: str, **params: str) -> dict[str, Any]:
    content: dict[str, Any] = requests.get(url, {**PAGE, **params}, timeout=10).json()
    return content


def sources(page: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {hit["_id"]: hit["_source"] for hit in page["hits"]["hits"]}


def total(page: dict[str, Any]) -> int:
    return int(page["hits"]["total"]["value"])


def flags(page: dict[str, Any]) -> tuple[bool, bool]:
    return page["_meta"]["is_data_stale"], page["_meta"]["has_data_issue"]


def cursor_after(page: dict[str, Any]) -> str:
    """Return the cursor of the next page."""
    return "{}_{}".format(*page["hits"]["hits"][-1]["sort"])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1:reset", Rule(1, Event("reset"))),
        ("12:status=503", Rule(12, Event("status", 503))),
        ("2:hang=0.5", Rule(2, Event("hang", 0.5))),
        ("3:during:vanish=5", Rule(3, Event("vanish", 5, during=True))),
    ],
)
def test_rule_has_a_request_number_and_an_event(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule


@pytest.mark.parametrize(("name", "numbers"), EVENTS.items())
def test_event_accepts_numbers_in_its_range_only(name: str, numbers: tuple[float, float]) -> None:
    for number in numbers:
        assert read_rule(f"1:{name}={number:.3f}").event == Event(name, number)

    with pytest.raises(ValueError, match=f"{name} takes a number from"):
        read_rule(f"1:{name}={numbers[1] + 1:.3f}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reset",
        "1",
        "0:reset",
        "-1:reset",
        "1:explode",
        "1:reset=",
        "1:hang=soon",
        "1:after:vanish=1",
        "1: reset",
        "1:hang=1.2.3",
        "1:status",
        "1:status=7",
        "1:vanish",
    ],
)
def test_invalid_rule_is_quoted_in_the_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not N:EVENT|takes a number") as caught:
        read_rule(text)

    assert repr(text) in str(caught.value)


def test_rule_applies_to_its_request_only() -> None:
    script = Script([read_rule("2:reset")])

    assert [len(script.events(request)) for request in range(1, 7)] == [0, 1, 0, 0, 0, 0]


def test_repeated_rule_applies_to_each_multiple() -> None:
    script = Script([read_rule("2:reset", repeated=True)])

    assert [len(script.events(request)) for request in range(1, 7)] == [0, 1, 0, 1, 0, 1]


def test_events_of_one_request_keep_the_order_of_the_rules() -> None:
    script = Script([read_rule("2:vanish=1"), read_rule("1:cut", repeated=True)])

    assert [event.name for event in script.events(2)] == ["vanish", "cut"]


def test_arrive_adds_complaints(served: Serve) -> None:
    url = served(10, "2:arrive=3").url

    before, after = get_page(url), get_page(url)

    assert sources(before).keys() < sources(after).keys()
    assert (total(before), total(after)) == (10, 13)


def test_arrive_adds_old_complaints_too(served: Serve) -> None:
    url = served(1, "2:arrive=40").url

    known, arrived = sources(get_page(url)), sources(get_page(url))

    days = {source["date_received"][:10] for key, source in arrived.items() if key not in known}
    assert max(days) == "2026-09-26"
    assert min(days) < "2026-08-26"


def test_change_keeps_ids_and_dates(served: Serve) -> None:
    url = served(10, "2:change=10").url

    before, after = sources(get_page(url)), sources(get_page(url))

    assert before.keys() == after.keys()
    for key, source in before.items():
        assert source["date_received"] == after[key]["date_received"]
        assert source["company_response"] != after[key]["company_response"]


def test_change_affects_the_given_number_of_complaints(served: Serve) -> None:
    url = served(10, "2:change=4").url

    before, after = sources(get_page(url)), sources(get_page(url))

    assert sum(before[key] != after[key] for key in before) == 4


def test_vanish_removes_complaints_from_hits_and_totals(served: Serve) -> None:
    url = served(10, "2:vanish=4").url

    before, after = get_page(url), get_page(url)

    assert sources(after).keys() < sources(before).keys()
    assert (total(after), after["_meta"]["total_record_count"]) == (6, 6)


def test_vanish_of_more_than_all_empties_the_index(served: Serve) -> None:
    assert total(get_page(served(10, "1:vanish=99").url)) == 0


def test_reindex_changes_only_last_indexed(served: Serve) -> None:
    url = served(10, "2:reindex").url

    before, after = get_page(url), get_page(url)

    assert before["_meta"].pop("last_indexed") < after["_meta"].pop("last_indexed")
    assert before == after


def test_change_during_a_request_affects_only_its_total(served: Serve) -> None:
    url = served(10, "1:during:vanish=4").url

    during, after = get_page(url), get_page(url)

    assert (len(sources(during)), total(during)) == (10, 6)
    assert (len(sources(after)), total(after)) == (6, 6)


def test_change_can_happen_at_every_nth_request(served: Serve) -> None:
    url = served(10, "every 2:vanish=1").url

    assert [total(get_page(url)) for _ in range(5)] == [10, 9, 9, 8, 8]


# --- distorted responses -------------------------------------------------------------------------


def test_stale_sets_both_flags_for_its_request_only(served: Serve) -> None:
    url = served(10, "1:stale").url

    stale, after = get_page(url), get_page(url)

    assert (flags(stale), flags(after)) == ((True, True), (False, False))
    assert sources(stale) == sources(after)


def test_empty_returns_no_hits_and_sets_both_flags(served: Serve) -> None:
    url = served(10, "1:empty").url

    empty, after = get_page(url), get_page(url)

    assert (total(empty), empty["hits"]["hits"], flags(empty)) == (0, [], (True, True))
    assert empty["_meta"]["total_record_count"] == 0
    assert (total(after), flags(after)) == (10, (False, False))


def test_half_serves_the_same_half_on_every_page(served: Serve) -> None:
    url = served(100, "every 1:half").url

    half = get_page(url)
    first = get_page(url, size="10")
    second = get_page(url, size="90", search_after=cursor_after(first))

    assert flags(half) == (False, False)
    assert 30 < total(half) < 70
    assert half["_meta"]["total_record_count"] == total(half) == len(sources(half))
    assert list(sources(second)) == list(sources(half))[10:]


def test_ignore_filters_returns_all_complaints(served: Serve) -> None:
    url = served(60, "1:ignore_filters").url

    ignored, filtered = get_page(url, state="CA"), get_page(url, state="CA")

    assert (total(ignored), len(sources(ignored))) == (60, 60)
    assert {source["state"] for source in sources(filtered).values()} == {"CA"}


def test_ignore_sort_returns_ids_in_descending_order(served: Serve) -> None:
    url = served(60, "1:ignore_sort").url

    ignored, sorted_by_date = list(sources(get_page(url))), list(sources(get_page(url)))

    assert ignored == sorted(ignored, reverse=True)
    assert sorted_by_date != sorted(sorted_by_date, reverse=True)


def test_capped_pages_still_advance(served: Serve) -> None:
    url = served(60, "every 1:cap=7").url

    first = get_page(url)
    second = get_page(url, search_after=cursor_after(first))

    assert (len(sources(first)), len(sources(second)), total(second)) == (7, 7, 60)
    assert not sources(first).keys() & sources(second).keys()


def test_repeat_returns_page_1_again(served: Serve) -> None:
    url = served(60, "2:repeat").url

    first = get_page(url, size="7")
    second = get_page(url, size="7", search_after=cursor_after(first))

    assert sources(second) == sources(first)


def test_tags_list_returns_tags_as_lists(served: Serve) -> None:
    url = served(60, "1:tags_list").url

    lists, texts = sources(get_page(url)), sources(get_page(url))

    assert {key: source["tags"] for key, source in lists.items()} == {
        key: [source["tags"]] if source["tags"] else [] for key, source in texts.items()
    }


def test_rename_changes_the_name_of_a_field(served: Serve) -> None:
    url = served(60, "1:rename").url

    renamed, usual = sources(get_page(url)), sources(get_page(url))

    for source in usual.values():
        source["zip5"] = source.pop("zip_code")
    assert renamed == usual
