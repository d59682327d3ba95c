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
