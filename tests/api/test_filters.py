"""Filters that a query may have, and queries that are refused."""

import re
from urllib.parse import quote

import pytest

from luigi_etl.api.filters import FILTERS
from luigi_etl.api.query import Query, parse_query, parse_stored_query
from luigi_etl.api.search_page import SEARCH_PAGE
from luigi_etl.common.errors import QueryError

# --- what is accepted ----------------------------------------------------------------------------

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
def test_a_filter_of_the_api_is_accepted_with_its_value_exactly(name: str, value: str) -> None:
    assert parse_query(f"{name}={quote(value)}").pairs == ((name, value),)


@pytest.mark.parametrize("text", ["", "?", " \n", "&", "?&&"])
def test_an_empty_query_is_every_complaint(text: str) -> None:
    query = parse_query(text)

    assert query == Query(())
    assert str(query) == ""


def test_values_of_one_filter_are_all_kept() -> None:
    assert str(parse_query("state=CA&state=NY")) == "state=CA&state=NY"


def test_a_day_is_a_range_of_one_day() -> None:
    query = parse_query("date_received_min=2026-01-01&date_received_max=2026-01-01")

    assert len(query.pairs) == 2


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_query("company=a=b").pairs == (("company", "a=b"),)


def test_a_value_may_have_two_hundred_characters() -> None:
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
def test_the_field_searched_is_explicit_with_a_search_term_and_only_then(text: str, spelling: str) -> None:
    assert str(parse_query(text)) == spelling


def test_a_field_without_a_search_term_is_refused() -> None:
    with pytest.raises(QueryError, match="search_term, which is not there"):
        parse_query("field=company&state=CA")


def test_a_value_cut_by_its_ampersand_is_refused_saying_how_to_write_it() -> None:
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
def test_several_exclusions_are_noted_as_the_api_reads_them(text: str, notes: int) -> None:
    assert len(parse_query(text).notes) == notes


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stat=CA", "'stat'; did you mean 'state'?"),
        ("State=CA", "did you mean 'state'?"),
        ("date_recieved_min=2026-01-01", "did you mean 'date_received_min'?"),
        ("searchText=fee", "it is search_term"),
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
        ("no_aggs=true", "sends it itself"),
        ("no_highlight=true", "sends it itself"),
    ],
)
def test_a_name_that_is_no_filter_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)):
        parse_query(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state=ca", "did you mean 'CA'?"),
        ("state=FM", "is not a value the API knows"),
        ("state=UNITED+STATES+MINOR+OUTLYING+ISLANDS", "two-letter codes"),
        ("not_state=California", "two-letter codes"),
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
        ("company=" + "x" * 201, "201 characters; the API takes 200"),
        ("search_term=" + "x" * 201, "201 characters; the API takes 200"),
        ("company=%FF", "not UTF-8"),
        ("company=%ED%A0%80", "not UTF-8"),
        ("company=\ud800", "not UTF-8"),
        ("product=A%E2%80%A2", "neither a name nor"),
        ("not_issue=%E2%80%A2a", "neither a name nor"),
        ("issue=A%E2%80%A2a%E2%80%A2b", "neither a name nor"),
    ],
)
def test_a_value_the_api_would_refuse_or_never_find_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)):
        parse_query(text)


VALUES = {**dict.fromkeys(FILTERS, "Acme"), **{name: value for name, value in ACCEPTED if "•" not in value}}
CONTROLS = [chr(code) for code in (*range(32), *range(127, 160))]
BLANKS = [chr(code) for code in range(0x3001) if chr(code).isspace()]


@pytest.mark.parametrize("name", sorted(FILTERS.keys() - {"search_term"}))
@pytest.mark.parametrize("place", ["{blank}{value}", "{value}{blank}", "{blank}{value}{blank}"])
def test_value_that_the_api_trims_is_refused_for_every_filter(name: str, place: str) -> None:
    for blank in BLANKS:
        value = place.format(value=VALUES[name], blank=blank)

        with pytest.raises(QueryError, match=f"^query: {name}=.* begins or ends with a blank; the API trims"):
            parse_query(f"{name}={quote(value)}")


def test_stored_query_is_read_whatever_the_rules_are_now() -> None:
    query = parse_stored_query("company=%C2%A0Acme&state=ca")

    assert query.pairs == (("company", "\xa0Acme"), ("state", "ca"))


@pytest.mark.parametrize("name", ["product", "issue", "not_product", "not_issue"])
@pytest.mark.parametrize("value", ["A\xa0•a", "A•\u2003a", "A • a"])
def test_blank_beside_the_bullet_is_refused(name: str, value: str) -> None:
    with pytest.raises(QueryError, match=f"^query: {name}=.* has a blank beside"):
        parse_query(f"{name}={quote(value)}")


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize("start", ["", f"{SEARCH_PAGE}?tab=List&"], ids=["query", "address"])
def test_control_character_is_refused_for_every_filter(name: str, start: str) -> None:
    for control in CONTROLS:
        value = f"{VALUES[name][:1]}{control}{VALUES[name][1:]}"

        with pytest.raises(QueryError, match=f"^query: {name} has a control character") as caught:
            parse_query(f"{start}{name}={quote(value)}")

        assert str(caught.value).isprintable()


def test_blanks_around_words_searched_for_make_no_difference() -> None:
    for blank in BLANKS:
        query = parse_query(f"search_term={quote(f'{blank}late fee{blank}')}")

        assert query == parse_query("search_term=late+fee")


@pytest.mark.parametrize("name", ["zip_code", "state", "company", "tags"])
def test_a_refusal_names_the_filter(name: str) -> None:
    with pytest.raises(QueryError, match=f"^query: {name}"):
        parse_query(f"{name}=+")


@pytest.mark.parametrize("name", ["date_received", "company_received"])
def test_a_range_that_nothing_can_match_is_refused(name: str) -> None:
    with pytest.raises(QueryError, match=f"{name}_min=2026-01-02 is after {name}_max=2026-01-01"):
        parse_query(f"{name}_min=2026-01-02&{name}_max=2026-01-01")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("search_term=a&search_term=b", "search_term takes one value, not 'a' and 'b'"),
        ("date_received_min=2026-01-01&date_received_min=2026-01-02", "date_received_min takes one value"),
    ],
)
def test_two_values_where_the_api_takes_the_last_one_are_refused(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        parse_query(text)
