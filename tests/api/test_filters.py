"""Accepted and refused filters."""

import re
from urllib.parse import quote

import pytest

from luigi_etl.api.filters import FILTERS
from luigi_etl.api.query import Query, parse_query, parse_stored_query
from luigi_etl.api.search_page import SEARCH_PAGE
from luigi_etl.common.errors import QueryError

# --- accepted -------------------------------------------------------------------------------------

ACCEPTED = [
    ("date_received_min", "2026-01-01"),
    ("date_received_max", "2024-02-29"),
    ("company_received_min", "2011-12-01"),
    ("company_received_max", "2026-09-26"),
    ("company", "EQUIFAX,\xa0INC. \u2022 x"),
    ("product", "Credit reporting or other personal consumer reports\u2022Credit reporting"),
    ("issue", "Closing an account\u2022Can't close your account"),
    ("state", "CA"),
    ("state", "DC"),
    ("state", "AP"),
    ("zip_code", "03301"),
    ("zip_code", "333XX"),
    ("company_response", "Closed with explanation"),
    ("company_public_response", "Company has responded"),
    ("submitted_via", "Web"),
    ("tags", "Older American, Servicemember"),
    ("timely", "Yes"),
    ("timely", "No"),
    ("not_company", 'Say "Ja" | Söhne — Inc.'),
    ("not_company_public_response", "Company disputes the facts"),
    ("not_company_response", "In progress"),
    ("not_issue", "Fraud or scam"),
    ("not_product", "Mortgage"),
    ("not_state", "TX"),
    ("not_tags", "Servicemember"),
]


@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_filter_keeps_its_exact_value(name: str, value: str) -> None:
    assert parse_query(f"{name}={quote(value)}").pairs == ((name, value),)


@pytest.mark.parametrize("text", ["", "?", " \n", "&", "?&&"])
def test_empty_query_means_all_complaints(text: str) -> None:
    query = parse_query(text)

    assert query == Query(())
    assert str(query) == ""


def test_filter_keeps_all_its_values() -> None:
    assert str(parse_query("state=CA&state=NY")) == "state=CA&state=NY"


def test_range_may_be_one_day() -> None:
    query = parse_query("date_received_min=2026-01-01&date_received_max=2026-01-01")

    assert len(query.pairs) == 2


def test_value_may_contain_an_equals_sign() -> None:
    assert parse_query("company=a=b").pairs == (("company", "a=b"),)


def test_value_may_have_200_characters() -> None:
    assert parse_query("company=" + "é" * 200).pairs == (("company", "é" * 200),)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("search_term=late+fee", "field=all&search_term=late%20fee"),
        ("search_term=late+fee&field=company", "field=company&search_term=late%20fee"),
        (
            "https://www.consumerfinance.gov/data-research/consumer-complaints/search/?searchField=all&state=CA",
            "state=CA",
        ),
    ],
)
def test_only_a_search_term_adds_the_field(text: str, spelling: str) -> None:
    assert str(parse_query(text)) == spelling


def test_field_without_search_term_is_refused() -> None:
    with pytest.raises(QueryError, match="field needs a search_term"):
        parse_query("field=company&state=CA")


def test_ampersand_in_a_value_must_be_encoded() -> None:
    with pytest.raises(QueryError, match="'T' has no value; write it as name=value, a & in a value as %26"):
        parse_query("company=AT&T")
    assert parse_query("company=AT%26T").pairs == (("company", "AT&T"),)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("not_state=CA&not_state=TX", 0),
        ("not_state=CA&not_product=Mortgage", 1),
    ],
)
def test_different_exclusions_get_a_note(text: str, notes: int) -> None:
    assert len(parse_query(text).notes) == notes


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stat=CA", "'stat'; did you mean 'state'?"),
        ("State=CA", "did you mean 'state'?"),
        ("date_recieved_min=2026-01-01", "did you mean 'date_received_min'?"),
        ("searchText=fee", "use search_term"),
        ("q=fee", "the filters are company, company_public_response"),
        ("state", "'state' has no value"),
        ("=CA", "no filter ''"),
        ("has_narrative=true", "stopped publishing narratives"),
        ("size=5", "the parameter limit"),
        ("frm=5", "paging"),
        ("page=5", "paging"),
        ("search_after=0_0", "paging"),
        ("sort=created_date_asc", "newest first"),
        ("format=csv", "reads JSON"),
        ("no_aggs=true", "the pipeline sets it"),
        ("no_highlight=true", "the pipeline sets it"),
    ],
)
def test_unknown_name_is_refused_with_a_hint(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=re.escape(message)):
        parse_query(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state=ca", "did you mean 'CA'?"),
        ("state=FM", "is not a value the API knows"),
        ("state=UNITED+STATES+MINOR+OUTLYING+ISLANDS", "two-letter code"),
        ("not_state=California", "two-letter code"),
        ("timely=yes", "did you mean 'Yes'?"),
        ("timely=true", "one of No, Yes"),
        ("search_term=a&field=complaint_what_happened", "one of all, company"),
        ("zip_code=3346O", "is not a ZIP code"),
        ("zip_code=33460-1234", "is not a ZIP code"),
        ("date_received_min=01/02/2026", "YYYY-MM-DD"),
        ("date_received_min=2026-1-2", "YYYY-MM-DD"),
        ("date_received_max=2026-01-02T00:00:00Z", "YYYY-MM-DD"),
        ("company_received_min=\u0662\u0660\u0662\u0666-01-01", "YYYY-MM-DD"),
        ("company_received_max=2026-02-29", "not a day of the calendar"),
        ("date_received_min=0000-01-01", "not a day of the calendar"),
        ("company=", "blank"),
        ("company=+%09", "blank"),
        ("company=%C2%A0", "blank"),
        ("date_received_min=", "blank"),
        ("state=%20", "blank"),
        ("company=" + "x" * 201, "201 characters; the API accepts at most 200"),
        ("search_term=" + "x" * 201, "201 characters; the API accepts at most 200"),
        ("company=%FF", "not UTF-8"),
        ("company=%ED%A0%80", "not UTF-8"),
        ("company=\ud800", "not UTF-8"),
        ("product=A%E2%80%A2", "is not written as Parent or Parent•Child"),
        ("not_issue=%E2%80%A2a", "is not written as Parent or Parent•Child"),
        ("issue=A%E2%80%A2a%E2%80%A2b", "is not written as Parent or Parent•Child"),
    ],
)
def test_invalid_value_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=re.escape(message)):
        parse_query(text)


VALUES = {**dict.fromkeys(FILTERS, "Acme"), **{name: value for name, value in ACCEPTED if "•" not in value}}
CONTROLS = [chr(code) for code in (*range(32), *range(127, 160))]
BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]


@pytest.mark.parametrize("name", sorted(FILTERS.keys() - {"search_term"}))
@pytest.mark.parametrize("place", ["{blank}{value}", "{value}{blank}", "{blank}{value}{blank}"])
def test_blank_around_a_value_is_refused_in_every_filter(name: str, place: str) -> None:
    for blank in BLANKS:
        value = place.format(value=VALUES[name], blank=blank)

        with pytest.raises(QueryError, match=f"^query: {name}=.* begins or ends with a blank; the API trims"):
            parse_query(f"{name}={quote(value)}")


def test_stored_query_is_not_checked_again() -> None:
    query = parse_stored_query("company=%C2%A0Acme&state=ca")

    assert query.pairs == (("company", "\xa0Acme"), ("state", "ca"))


@pytest.mark.parametrize("name", ["product", "issue", "not_product", "not_issue"])
@pytest.mark.parametrize("value", ["A\xa0•a", "A•\u2003a", "A • a"])
def test_blank_beside_the_bullet_is_refused(name: str, value: str) -> None:
    with pytest.raises(QueryError, match=f"^query: {name}=.* has a blank beside"):
        parse_query(f"{name}={quote(value)}")


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("start", ["", f"{SEARCH_PAGE}?tab=List&"], ids=["query", "address"])
def test_control_character_is_refused_in_every_filter(name: str, start: str) -> None:
    for control in CONTROLS:
        value = f"{VALUES[name][:1]}{control}{VALUES[name][1:]}"

        with pytest.raises(QueryError, match=f"^query: {name} has a control character") as caught:
            parse_query(f"{start}{name}={quote(value)}")

        assert str(caught.value).isprintable()


def test_blanks_around_a_search_term_are_removed() -> None:
    for blank in BLANKS:
        query = parse_query(f"search_term={quote(f'{blank}late fee{blank}')}")

        assert query == parse_query("search_term=late+fee")


@pytest.mark.parametrize("name", ["zip_code", "state", "company", "tags"])
def test_refusal_names_the_filter(name: str) -> None:
    with pytest.raises(QueryError, match=f"^query: {name}"):
        parse_query(f"{name}=+")


@pytest.mark.parametrize("name", ["date_received", "company_received"])
def test_range_that_ends_before_it_begins_is_refused(name: str) -> None:
    with pytest.raises(QueryError, match=f"{name}_min=2026-01-02 is after {name}_max=2026-01-01"):
        parse_query(f"{name}_min=2026-01-02&{name}_max=2026-01-01")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search_term=a&search_term=b", "search_term takes one value, not 'a' and 'b'"),
        ("date_received_min=2026-01-01&date_received_min=2026-01-02", "date_received_min takes one value"),
    ],
)
def test_second_value_of_a_one_value_filter_is_refused(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_query(text)
