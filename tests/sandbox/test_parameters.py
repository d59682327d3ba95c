"""What the sandbox accepts of a request, and how it refuses the rest."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.server import Sandbox, serve
from tests.conftest import Serve

COMPLAINTS = 100

REQUIRED_INTEGER = "A valid integer is required."
BLANK = "This field may not be blank."
TOO_LONG = "Ensure this field has no more than 200 characters."
DATE = "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
DATES = ("date_received_min", "date_received_max", "company_received_min", "company_received_max")
LISTS = (
    "company company_public_response company_response issue product submitted_via tags timely zip_code "
    "not_company not_company_public_response not_company_response not_issue not_product not_tags"
).split()


def choice(value: str) -> str:
    return f'"{value}" is not a valid choice.'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve complaints of today's era to all these tests."""
    index = generated_index(COMPLAINTS, 1, ERAS["2026-08"], 90)
    with serve(Sandbox(index, throttle=None)) as url:
        yield url


def ask(url: str, query: str) -> requests.Response:
    return requests.get(f"{url}?no_aggs=true&{query}", timeout=10)


def total(url: str, query: str) -> int:
    answer = ask(url, query)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["hits"]["total"]["value"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=-1", "Ensure this value is greater than or equal to 0."),
        ("size=100001", "Ensure this value is less than or equal to 100000."),
        ("size=ten", REQUIRED_INTEGER),
        ("size=", REQUIRED_INTEGER),
        ("frm=-1", "Ensure this value is greater than or equal to 0."),
        ("frm=x", REQUIRED_INTEGER),
        ("sort=newest", choice("newest")),
        ("sort=", choice("")),
        ("search_after=", BLANK),
        (f"search_after={'1' * 201}", TOO_LONG),
        ("search_term=", BLANK),
        ("search_term=%20", BLANK),
        (f"search_term={'x' * 201}", TOO_LONG),
        ("field=state", choice("state")),
        ("no_aggs=maybe", "Must be a valid boolean."),
        ("no_highlight=maybe", "Must be a valid boolean."),
        *[(f"{name}=11/06/2024", DATE) for name in DATES],
        ("frm=10001", "Ensure this value is less than or equal to 10000."),
        ("page=0", "Ensure this value is greater than or equal to 1."),
        ("page=10001", "Ensure this value is less than or equal to 10000."),
        ("size=1.5", REQUIRED_INTEGER),
        (f"size={'1' * 1001}", "String value too large."),
        ("search_term=a%00b", "Null characters are not allowed."),
        ("search_term=%C2%A0", BLANK),
        ("date_received_min=2026-02-30", DATE),
        ("date_received_min=2026-W60", DATE),
        ("date_received_min=", DATE),
    ],
)
def test_a_bad_scalar_is_400_with_its_message(url: str, query: str, message: str) -> None:
    answer = ask(url, query)

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {query.partition("=")[0]: [message]}


@pytest.mark.parametrize("name", LISTS)
def test_a_blank_value_of_a_list_is_400(url: str, name: str) -> None:
    answer = ask(url, f"{name}=")

    assert (answer.status_code, answer.json()) == (400, {name: {"0": [BLANK]}})


def test_the_messages_of_a_list_are_nested_by_the_place_of_the_item(url: str) -> None:
    answer = ask(url, f"company=Fine&company={'x' * 201}&company=")

    assert answer.status_code == 400
    assert answer.json() == {"company": {"1": [TOO_LONG], "2": [BLANK]}}


def test_all_that_is_wrong_is_told_at_once(url: str) -> None:
    answer = ask(url, "size=x&state=ZZ")

    assert answer.json() == {"size": [REQUIRED_INTEGER], "state": {"0": [choice("ZZ")]}}


@pytest.mark.parametrize("name", ["state", "not_state"])
@pytest.mark.parametrize("state", ["FM", "MH", "PW", "UNITED STATES MINOR OUTLYING ISLANDS", "ca", ""])
def test_a_state_outside_the_list_is_400(url: str, name: str, state: str) -> None:
    answer = ask(url, f"{name}={state}")

    assert (answer.status_code, answer.json()) == (400, {name: {"0": [choice(state)]}})


@pytest.mark.parametrize("state", "CA DC AS GU MP PR VI AA AE AP".split())
def test_states_territories_and_armed_forces_are_accepted(url: str, state: str) -> None:
    assert ask(url, f"state={state}").status_code == 200


@pytest.mark.parametrize(
    ("zip_code", "status"),
    [
        ("33460", 200),
        ("333XX", 200),
        ("334601", 400),
        pytest.param("3346", 400),
    ],
)
def test_a_zip_code_has_five_characters(url: str, zip_code: str, status: int) -> None:
    assert ask(url, f"zip_code={zip_code}").status_code == status


@pytest.mark.parametrize("field", ["all", "company"])
def test_a_term_is_searched_in_all_fields_or_the_company(url: str, field: str) -> None:
    assert ask(url, f"field={field}").status_code == 200


def test_the_narrative_field_is_no_choice_since_narratives_are_gone(url: str) -> None:
    assert ask(url, "field=complaint_what_happened").status_code == 400


@pytest.mark.parametrize("value", ["true", "True", "1", "false", "0"])
def test_booleans_are_written_in_several_ways(url: str, value: str) -> None:
    assert ask(url, f"no_highlight={value}").status_code == 200


@pytest.mark.parametrize("name", ["sub_product", "has_narrative", "State", "not_timely", "colour"])
def test_an_unknown_name_is_ignored(url: str, name: str) -> None:
    assert total(url, f"{name}=nothing&{name}=") == COMPLAINTS


@pytest.mark.parametrize("name", ["consumer_consent_provided", "consumer_disputed"])
def test_a_filter_that_went_in_2026_counts_before(served: Serve, name: str) -> None:
    assert total(served(5, era="2025-11").url, f"{name}=nothing") == 0


def test_of_a_repeated_scalar_the_last_counts(url: str) -> None:
    answer = ask(url, "size=x&size=4&size=2")

    assert len(answer.json()["hits"]["hits"]) == 2


def test_a_value_with_a_comma_is_one_value(url: str) -> None:
    sources: list[dict[str, Any]] = [
        hit["_source"] for hit in ask(url, f"size={COMPLAINTS}").json()["hits"]["hits"]
    ]
    equifax = [source for source in sources if source["company"] == "EQUIFAX, INC."]

    assert equifax
    assert total(url, "company=EQUIFAX,%20INC.") == len(equifax)


def test_a_filter_value_that_exists_nowhere_matches_nothing(url: str) -> None:
    assert total(url, "product=Payday%20loans") == 0


@pytest.mark.parametrize(
    ("query", "content"),
    [
        ("frm=5&size=10", {"non_field_errors": ["frm is not zero or a multiple of size"]}),
        ("company=a%00b", {"company": {"0": ["Null characters are not allowed."]}}),
        ("zip_code=%203345", {"zip_code": {"0": ["Ensure this field has at least 5 characters."]}}),
        ("state=%20CA", {"state": {"0": [choice(" CA")]}}),
        (
            "product=a%E2%80%A2b%E2%80%A2c",
            {"product": ['Product is malformed, it needs to be "product" or "product\u2022subproduct"']},
        ),
        (
            "issue=a%E2%80%A2b%E2%80%A2c",
            {"issue": ['Issue is malformed, it needs to be "issue" or "issue\u2022subissue"']},
        ),
    ],
)
def test_wrong_values_are_400_as_in_the_server(url: str, query: str, content: dict[str, Any]) -> None:
    answer = ask(url, query)

    assert (answer.status_code, answer.json()) == (400, content)


@pytest.mark.parametrize(
    "query",
    [
        *("size=1.0", "size=%201%20", "frm=10&size=10", "frm=5&size=0", "page=2"),
        *("no_highlight=yes", "no_highlight=OFF", "field=_all", "format=", "format=default"),
    ],
)
def test_odd_spellings_are_accepted_as_in_the_server(url: str, query: str) -> None:
    assert ask(url, query).status_code == 200


@pytest.mark.parametrize("day", ["2026-9-5", "20260905", "2026-W36-6", "2026W366"])
def test_days_are_written_in_several_ways(url: str, day: str) -> None:
    assert total(url, f"date_received_min={day}") == total(url, "date_received_min=2026-09-05") > 0


@pytest.mark.parametrize("blank", ["%20", "%C2%A0", "%E3%80%80", "%1F", "%0A"])
def test_blanks_around_a_value_are_cut_off(url: str, blank: str) -> None:
    """A company whose name begins with a no-break space can't be asked for: another one answers."""
    there = total(url, "company=EQUIFAX,%20INC.")

    assert total(url, f"company={blank}EQUIFAX,%20INC.{blank}") == there > 0
