"""Tests of the API parameters: accepted values, and the messages of 400 responses."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox
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


def invalid_choice(value: str) -> str:
    return f'"{value}" is not a valid choice.'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve complaints of the latest era to all tests of this module."""
    index = generated_index(COMPLAINTS, 1, ERAS["2026-08"], 90)
    with serve(Sandbox(index, throttle=None)) as url:
        yield url


def get(url: str, query: str) -> requests.Response:
    return requests.get(f"{url}?no_aggs=true&{query}", timeout=10)


def total(url: str, query: str) -> int:
    response = get(url, query)
    assert response.status_code == 200, response.text
    return int(response.json()["hits"]["total"]["value"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=-1", "Ensure this value is greater than or equal to 0."),
        ("size=100001", "Ensure this value is less than or equal to 100000."),
        ("size=ten", REQUIRED_INTEGER),
        ("size=", REQUIRED_INTEGER),
        ("frm=-1", "Ensure this value is greater than or equal to 0."),
        ("frm=x", REQUIRED_INTEGER),
        ("sort=newest", invalid_choice("newest")),
        ("sort=", invalid_choice("")),
        ("search_after=", BLANK),
        (f"search_after={'1' * 201}", TOO_LONG),
        ("search_term=", BLANK),
        ("search_term=%20", BLANK),
        (f"search_term={'x' * 201}", TOO_LONG),
        ("field=state", invalid_choice("state")),
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
def test_invalid_scalar_is_400_with_its_message(url: str, query: str, message: str) -> None:
    response = get(url, query)

    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {query.partition("=")[0]: [message]}


@pytest.mark.parametrize("name", LISTS)
def test_blank_value_of_a_list_is_400(url: str, name: str) -> None:
    response = get(url, f"{name}=")

    assert (response.status_code, response.json()) == (400, {name: {"0": [BLANK]}})


def test_list_messages_are_nested_by_position(url: str) -> None:
    response = get(url, f"company=Fine&company={'x' * 201}&company=")

    assert response.status_code == 400
    assert response.json() == {"company": {"1": [TOO_LONG], "2": [BLANK]}}


def test_all_errors_are_reported_together(url: str) -> None:
    response = get(url, "size=x&state=ZZ")

    assert response.json() == {"size": [REQUIRED_INTEGER], "state": {"0": [invalid_choice("ZZ")]}}


@pytest.mark.parametrize("name", ["state", "not_state"])
@pytest.mark.parametrize("state", ["FM", "MH", "PW", "UNITED STATES MINOR OUTLYING ISLANDS", "ca", ""])
def test_unknown_state_is_400(url: str, name: str, state: str) -> None:
    response = get(url, f"{name}={state}")

    assert (response.status_code, response.json()) == (400, {name: {"0": [invalid_choice(state)]}})


@pytest.mark.parametrize("state", "CA DC AS GU MP PR VI AA AE AP".split())
def test_states_territories_and_armed_forces_are_accepted(url: str, state: str) -> None:
    assert get(url, f"state={state}").status_code == 200


@pytest.mark.parametrize(
    ("zip_code", "status"),
    [
        ("33460", 200),
        ("333XX", 200),
        ("334601", 400),
        ("3346", 400),
    ],
)
def test_zip_code_has_five_characters(url: str, zip_code: str, status: int) -> None:
    assert get(url, f"zip_code={zip_code}").status_code == status


@pytest.mark.parametrize("field", ["all", "company"])
def test_field_is_all_or_company(url: str, field: str) -> None:
    assert get(url, f"field={field}").status_code == 200


def test_narrative_field_is_400_without_narratives(url: str) -> None:
    assert get(url, "field=complaint_what_happened").status_code == 400


@pytest.mark.parametrize("value", ["true", "True", "1", "false", "0"])
def test_boolean_has_several_spellings(url: str, value: str) -> None:
    assert get(url, f"no_highlight={value}").status_code == 200


@pytest.mark.parametrize("name", ["sub_product", "has_narrative", "State", "not_timely", "colour"])
def test_unknown_parameter_is_ignored(url: str, name: str) -> None:
    assert total(url, f"{name}=nothing&{name}=") == COMPLAINTS


@pytest.mark.parametrize("name", ["consumer_consent_provided", "consumer_disputed"])
def test_filter_removed_in_2026_works_in_earlier_eras(served: Serve, name: str) -> None:
    assert total(served(5, era="2025-11").url, f"{name}=nothing") == 0


def test_last_value_of_a_repeated_scalar_counts(url: str) -> None:
    response = get(url, "size=x&size=4&size=2")

    assert len(response.json()["hits"]["hits"]) == 2


def test_value_with_a_comma_is_not_split(url: str) -> None:
    sources: list[dict[str, Any]] = [
        hit["_source"] for hit in get(url, f"size={COMPLAINTS}").json()["hits"]["hits"]
    ]
    equifax = [source for source in sources if source["company"] == "EQUIFAX, INC."]

    assert equifax
    assert total(url, "company=EQUIFAX,%20INC.") == len(equifax)


def test_unknown_filter_value_matches_nothing(url: str) -> None:
    assert total(url, "product=Payday%20loans") == 0


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("frm=5&size=10", {"non_field_errors": ["frm is not zero or a multiple of size"]}),
        ("company=a%00b", {"company": {"0": ["Null characters are not allowed."]}}),
        ("zip_code=%203345", {"zip_code": {"0": ["Ensure this field has at least 5 characters."]}}),
        ("state=%20CA", {"state": {"0": [invalid_choice(" CA")]}}),
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
def test_invalid_value_is_400_as_in_the_api(url: str, query: str, errors: dict[str, Any]) -> None:
    response = get(url, query)

    assert (response.status_code, response.json()) == (400, errors)


@pytest.mark.parametrize(
    "query",
    [
        *("size=1.0", "size=%201%20", "frm=10&size=10", "frm=5&size=0", "page=2"),
        *("no_highlight=yes", "no_highlight=OFF", "field=_all", "format=", "format=default"),
    ],
)
def test_unusual_spelling_is_accepted_as_in_the_api(url: str, query: str) -> None:
    assert get(url, query).status_code == 200


@pytest.mark.parametrize("day", ["2026-9-5", "20260905", "2026-W36-6", "2026W366"])
def test_day_has_several_spellings(url: str, day: str) -> None:
    assert total(url, f"date_received_min={day}") == total(url, "date_received_min=2026-09-05") > 0


@pytest.mark.parametrize("blank", ["%20", "%C2%A0", "%E3%80%80", "%1F", "%0A"])
def test_blanks_around_a_value_are_removed(url: str, blank: str) -> None:
    """So no filter can select a company whose name begins with a no-break space."""
    matches = total(url, "company=EQUIFAX,%20INC.")

    assert total(url, f"company={blank}EQUIFAX,%20INC.{blank}") == matches > 0
