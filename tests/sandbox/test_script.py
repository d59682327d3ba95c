"""What is to happen at which request: rules, and the index changing under a client."""

from typing import Any

import pytest
import requests

from luigi_etl.sandbox.script import EVENTS, Event, Rule, Script, read_rule
from tests.conftest import Serve


def ask(url: str) -> dict[str, Any]:
    answer = requests.get(url, {"size": "100", "no_aggs": "true", "sort": "created_date_desc"}, timeout=10)
    content: dict[str, Any] = answer.json()
    return content


def sources(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}


def total(answer: dict[str, Any]) -> int:
    return int(answer["hits"]["total"]["value"])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1:reset", Rule(1, Event("reset"))),
        ("12:status=503", Rule(12, Event("status", 503))),
        ("2:hang=0.5", Rule(2, Event("hang", 0.5))),
        ("3:during:vanish=5", Rule(3, Event("vanish", 5, during=True))),
    ],
)
def test_a_rule_names_a_request_and_an_event(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule


@pytest.mark.parametrize(("name", "numbers"), EVENTS.items())
def test_each_event_can_be_asked_for_with_the_numbers_it_takes(
    name: str, numbers: tuple[float, float]
) -> None:
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
def test_what_is_no_rule_is_refused_naming_it(text: str) -> None:
    with pytest.raises(ValueError, match="is not N:EVENT|takes a number") as refused:
        read_rule(text)

    assert repr(text) in str(refused.value)


def test_a_rule_applies_at_its_request_only() -> None:
    script = Script([read_rule("2:reset")])

    assert [len(script.events(request)) for request in range(1, 7)] == [0, 1, 0, 0, 0, 0]


def test_a_repeated_rule_applies_at_each_multiple() -> None:
    script = Script([read_rule("2:reset", repeated=True)])

    assert [len(script.events(request)) for request in range(1, 7)] == [0, 1, 0, 1, 0, 1]


def test_rules_for_one_request_happen_in_the_order_given() -> None:
    script = Script([read_rule("2:vanish=1"), read_rule("1:cut", repeated=True)])

    assert [event.name for event in script.events(2)] == ["vanish", "cut"]


def test_arriving_complaints_join_those_that_were_there(served: Serve) -> None:
    url = served(10, "2:arrive=3").url
    before, after = ask(url), ask(url)

    assert sources(before).keys() < sources(after).keys()
    assert (total(before), total(after)) == (10, 13)


def test_arriving_complaints_may_have_been_received_long_ago(served: Serve) -> None:
    url = served(1, "2:arrive=40").url
    known, arrived = sources(ask(url)), sources(ask(url))
    days = {source["date_received"][:10] for key, source in arrived.items() if key not in known}

    assert max(days) == "2026-09-26"
    assert min(days) < "2026-08-26"


def test_changing_complaints_keep_their_id_and_date(served: Serve) -> None:
    url = served(10, "2:change=10").url
    before, after = sources(ask(url)), sources(ask(url))

    assert before.keys() == after.keys()
    for key, source in before.items():
        assert source["date_received"] == after[key]["date_received"]
        assert source["company_response"] != after[key]["company_response"]


def test_only_so_many_complaints_change(served: Serve) -> None:
    url = served(10, "2:change=4").url
    before, after = sources(ask(url)), sources(ask(url))

    assert sum(before[key] != after[key] for key in before) == 4


def test_vanishing_complaints_leave_no_trace(served: Serve) -> None:
    url = served(10, "2:vanish=4").url
    before, after = ask(url), ask(url)

    assert sources(after).keys() < sources(before).keys()
    assert (total(after), after["_meta"]["total_record_count"]) == (6, 6)


def test_more_cannot_vanish_than_there_are(served: Serve) -> None:
    assert total(ask(served(10, "1:vanish=99").url)) == 0


def test_a_reindexing_moves_last_indexed_and_nothing_else(served: Serve) -> None:
    url = served(10, "2:reindex").url
    before, after = ask(url), ask(url)

    assert before["_meta"].pop("last_indexed") < after["_meta"].pop("last_indexed")
    assert before == after


def test_what_changes_during_a_request_leaves_its_page_but_not_its_total(served: Serve) -> None:
    url = served(10, "1:during:vanish=4").url
    during, after = ask(url), ask(url)

    assert (len(sources(during)), total(during)) == (10, 6)
    assert (len(sources(after)), total(after)) == (6, 6)


def test_a_change_may_happen_at_each_nth_request(served: Serve) -> None:
    url = served(10, "every 2:vanish=1").url

    assert [total(ask(url)) for _ in range(5)] == [10, 9, 9, 8, 8]


# --- an API in trouble ---------------------------------------------------------------------------

PAGE = {"size": "100", "no_aggs": "true", "sort": "created_date_desc"}


def page(url: str, **params: str) -> dict[str, Any]:
    content: dict[str, Any] = requests.get(url, {**PAGE, **params}, timeout=10).json()
    return content


def flags(answer: dict[str, Any]) -> tuple[bool, bool]:
    return answer["_meta"]["is_data_stale"], answer["_meta"]["has_data_issue"]


def test_stale_sets_both_flags_for_its_request_only(served: Serve) -> None:
    url = served(10, "1:stale").url
    stale, after = page(url), page(url)

    assert (flags(stale), flags(after)) == ((True, True), (False, False))
    assert sources(stale) == sources(after)


def test_an_empty_index_has_no_hits_and_both_flags(served: Serve) -> None:
    url = served(10, "1:empty").url
    empty, after = page(url), page(url)

    assert (total(empty), empty["hits"]["hits"], flags(empty)) == (0, [], (True, True))
    assert empty["_meta"]["total_record_count"] == 0
    assert (total(after), flags(after)) == (10, (False, False))


def test_half_an_index_is_the_same_half_on_every_page(served: Serve) -> None:
    url = served(100, "every 1:half").url
    half = page(url)
    last = page(url, size="10")["hits"]["hits"][-1]
    second = page(url, size="90", search_after="{}_{}".format(*last["sort"]))

    assert flags(half) == (False, False)
    assert 30 < total(half) < 70
    assert half["_meta"]["total_record_count"] == total(half) == len(sources(half))
    assert list(sources(second)) == list(sources(half))[10:]


def test_filters_can_be_ignored(served: Serve) -> None:
    url = served(60, "1:ignore_filters").url
    ignored, filtered = page(url, state="CA"), page(url, state="CA")

    assert (total(ignored), len(sources(ignored))) == (60, 60)
    assert {source["state"] for source in sources(filtered).values()} == {"CA"}


def test_the_sort_can_be_ignored(served: Serve) -> None:
    url = served(60, "1:ignore_sort").url

    assert list(sources(page(url))) == sorted(sources(page(url)), reverse=True)
    assert list(sources(page(url))) != sorted(sources(page(url)), reverse=True)


def test_pages_can_be_capped_and_still_advance(served: Serve) -> None:
    url = served(60, "every 1:cap=7").url
    first = page(url)
    last = first["hits"]["hits"][-1]
    second = page(url, search_after="{}_{}".format(*last["sort"]))

    assert (len(sources(first)), len(sources(second)), total(second)) == (7, 7, 60)
    assert not sources(first).keys() & sources(second).keys()


def test_page_1_can_come_back(served: Serve) -> None:
    url = served(60, "2:repeat").url
    first = page(url, size="7")
    last = first["hits"]["hits"][-1]

    assert sources(page(url, size="7", search_after="{}_{}".format(*last["sort"]))) == sources(first)


def test_tags_can_come_as_lists(served: Serve) -> None:
    url = served(60, "1:tags_list").url
    lists, texts = page(url), page(url)

    assert {key: source["tags"] for key, source in sources(lists).items()} == {
        key: [source["tags"]] if source["tags"] else [] for key, source in sources(texts).items()
    }


def test_a_field_can_be_renamed(served: Serve) -> None:
    url = served(60, "1:rename").url
    renamed, usual = sources(page(url)), sources(page(url))

    for source in usual.values():
        source["zip5"] = source.pop("zip_code")
    assert renamed == usual
