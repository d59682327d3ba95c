"""A query: checked, brought to one spelling, and given a file name of its own."""

import re
from datetime import datetime, timedelta, timezone
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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


# --- an address of the search page ---------------------------------------------------------------


def test_an_address_of_the_search_page_is_read_as_its_filters() -> None:
    address = SEARCH_PAGE + "?searchText=late%20fee&searchField=company&product=Mortgage&not_state=TX"

    assert parse_query(address) == parse_query(
        "product=Mortgage&not_state=TX&search_term=late+fee&field=company"
    )


@pytest.mark.parametrize(
    "start", [SEARCH_PAGE, SEARCH_PAGE.removesuffix("/"), SEARCH_PAGE.replace("https", "http")]
)
def test_an_address_is_known_with_and_without_its_slash_and_its_s(start: str) -> None:
    assert str(parse_query(f"  {start}?state=CA#top\n")) == "state=CA"


def test_what_is_only_the_pages_look_is_dropped_with_a_note() -> None:
    query = parse_query(SEARCH_PAGE + "?tab=List&page=2&size=25&sort=created_date_desc&state=CA")

    assert str(query) == "state=CA"
    assert query.notes == ("only the search page's look, left out: page, size, sort, tab",)


@pytest.mark.parametrize(
    "look",
    ["chartType=line", "dateInterval=Month", "lens=Product", "trendDepth=5", "expandedTrends=x", "from=0"],
)
def test_a_look_parameter_makes_no_difference(look: str) -> None:
    assert parse_query(f"{SEARCH_PAGE}?{look}&state=CA") == parse_query("state=CA")


@pytest.mark.parametrize(
    "blank",
    [
        "searchText=",
        "company=",
        "dateRange=",
        "tab=",
        pytest.param("searchText"),
    ],
)
def test_a_blank_parameter_of_the_page_is_ignored(blank: str) -> None:
    query = parse_query(f"{SEARCH_PAGE}?{blank}&state=CA")

    assert (str(query), query.notes) == ("state=CA", ())


@pytest.mark.parametrize(("chosen", "months"), [("3m", 3), ("6m", 6), ("1y", 12), ("3y", 36)])
def test_a_range_of_the_page_becomes_its_first_day_with_a_note(chosen: str, months: int) -> None:
    today = datetime.now(timezone.utc).date()

    query = parse_query(f"{SEARCH_PAGE}?dateRange={chosen}")

    ((name, value),) = query.pairs
    first = datetime.fromisoformat(value).date()
    assert name == "date_received_min"
    assert (today.year - first.year) * 12 + today.month - first.month == months
    assert first.day == today.day or (first + timedelta(days=1)).day == 1
    assert query.notes == (f"dateRange={chosen} read as date_received_min={value}",)


def test_dates_given_overrule_a_range_of_the_page() -> None:
    assert str(parse_query(f"{SEARCH_PAGE}?dateRange=3y&date_received_min=2026-01-01")) == (
        "date_received_min=2026-01-01"
    )


def test_all_dates_of_the_page_are_no_filter() -> None:
    assert (
        str(parse_query(f"{SEARCH_PAGE}?dateRange=All&date_received_min=2026-01-01&state=CA")) == "state=CA"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("?dateRange=2w", "dateRange='2w' is not one of 3m, 6m, 1y, 3y, All"),
        ("?serchText=fee", "did you mean 'search_term'?"),
        ("?searchText=fee&searchField=complaint_what_happened", "one of all, company"),
        ("?state=ca", "did you mean 'CA'?"),
    ],
)
def test_an_address_is_checked_like_a_query(text: str, said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)):
        parse_query(SEARCH_PAGE + text)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/data-research/consumer-complaints/search/?state=CA",
        "https://www.consumerfinance.gov.example.com/data-research/consumer-complaints/search/?state=CA",
        "https://www.consumerfinance.gov/data-research/consumer-complaints/?state=CA",
        "https://www.consumerfinance.gov/data-research/consumer-complaints/searching/?state=CA",
    ],
)
def test_another_address_is_refused_naming_the_right_one(address: str) -> None:
    with pytest.raises(QueryError, match=f"is not the CFPB's search page, {SEARCH_PAGE}"):
        parse_query(address)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(QueryError):
        parse_query("https://[www.consumerfinance.gov/?state=CA")


@pytest.mark.parametrize("below", ["detail/10702013", "api/v1/10702013"])
def test_the_address_of_one_complaint_is_no_search(below: str) -> None:
    with pytest.raises(QueryError):
        parse_query(SEARCH_PAGE + below)


# --- the file name -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "slug"),
    [
        ("", 10, "all-newest-10"),
        ("", 0, "all"),
        ("state=CA", 0, "state=CA"),
        ("state=NY&state=CA", 25, "state=CA,state=NY-newest-25"),
        ("company=../../x", 0, "company=..%2F..%2Fx"),
        ("company=x-newest-10", 0, "company=x%2Dnewest%2D10"),
        ("company=~", 0, "company=%7E"),
        ("company=Bank+of+%C3%85", 0, "company=Bank+of+%C3%85"),
    ],
)
def test_a_slug_is_readable(text: str, limit: int, slug: str) -> None:
    assert parse_query(text).slug(limit) == slug


def test_only_a_long_slug_is_cut_and_ends_in_a_hash() -> None:
    longest = 180 - len("company=")

    assert parse_query("company=" + "x" * longest).slug(0) == "company=" + "x" * longest
    assert re.fullmatch(r"company=x{155}~[0-9a-f]{16}", parse_query("company=" + "x" * (longest + 1)).slug(0))


# --- for any query -------------------------------------------------------------------------------

Pairs = list[tuple[str, str]]

PIECES = ["x", "-", "newest", "-newest-", "1", "10", "~", ",", "company=", "%2D", "%", "+", " ", "../", "é"]
hostile = st.lists(st.sampled_from([*PIECES, "x" * 170]), min_size=1, max_size=5).map("".join)
trimmed = hostile.map(lambda text: text[:200].strip()).filter(bool)
values = (st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200) | hostile).filter(
    lambda text: text.strip() == text != "" and len(text) <= 200
)


def many(items: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(items, min_size=1, max_size=3, unique=True)


def one(items: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return items.map(lambda item: [item])


def days(first: int, last: int) -> st.SearchStrategy[list[str]]:
    return one(st.integers(first, last).map("{}-06-30".format))


filters = st.fixed_dictionaries(
    {},
    optional={
        "company": many(values),
        "product": many(values),
        "not_tags": many(values),
        "search_term": one(values),
        "state": many(st.sampled_from(["CA", "NY", "TX"])),
        "date_received_min": days(2011, 2018),
        "date_received_max": days(2018, 2026),
    },
)
queries = filters.map(lambda given: [(name, value) for name, values in given.items() for value in values])


@st.composite
def spelled(draw: st.DrawFn, pairs: Pairs) -> str:
    """Write pairs in some order, some twice, each character in one of the ways it can be written."""

    def written(character: str) -> str:
        ways = ["".join(f"%{byte:02X}" for byte in character.encode())]
        ways.append(ways[0].lower())
        if character == " ":
            ways.append("+")
        elif character not in "&+%=" and character.isprintable():
            ways.append(character)
        return chance.choice(ways)

    chance = Random(draw(st.integers(0, 1 << 32)))  # quicker than a draw for each character
    repeated = pairs + chance.sample(pairs, min(2, len(pairs)))
    chance.shuffle(repeated)
    parts = ["=".join("".join(map(written, text)) for text in pair) for pair in repeated]
    return chance.choice(["", "?"]) + "&".join(parts)


@settings(max_examples=60, deadline=None)
@given(st.data(), queries)
def test_all_spellings_of_a_query_are_one_query(data: st.DataObject, pairs: Pairs) -> None:
    first = parse_query(data.draw(spelled(pairs)))
    second = parse_query(data.draw(spelled(pairs)))

    assert first == second
    assert str(first) == str(second)
    assert first.slug(10) == second.slug(10)


@settings(max_examples=60, deadline=None)
@given(st.data(), queries)
def test_the_one_spelling_of_a_query_is_that_query(data: st.DataObject, pairs: Pairs) -> None:
    query = parse_query(data.draw(spelled(pairs)))

    assert set(query.pairs) - {("field", "all")} == set(pairs)
    assert parse_query(str(query)) == parse_stored_query(str(query)) == query
    assert str(parse_query(str(query))) == str(query)
    assert str(query).isascii()


@settings(max_examples=100, deadline=None)
@given(queries, st.integers(0, 10**9))
@example([("company", "../../x")], 0)
@example([("company", ".")], 0)
@example([("company", "\u202e/\u2028.")], 1)
@example([("company", "é" * 200)], 10**9)
def test_a_slug_is_a_safe_file_name(pairs: Pairs, limit: int) -> None:
    slug = parse_query("&".join(f"{name}={quote(value)}" for name, value in pairs)).slug(limit)

    assert re.fullmatch(r"[A-Za-z0-9._+%,=~-]{1,180}", slug)
    assert not slug.startswith(".")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(many(trimmed), st.sampled_from([0, 1, 10])), max_size=20))
@example([(["x-newest-10"], 0), (["x"], 10)])
@example([(["-newest-newest-"], 10), (["-newest"], 10), (["-newest-newest"], 10), (["-newest-"], 1)])
@example([(["x", "y"], 0), (["x,company=y"], 0), (["y"], 0)])
@example([(["x" * 200], 0), (["x" * 199], 0), (["x" * 200], 1), (["x" * 200], 10)])
def test_two_queries_or_limits_never_share_a_slug(asked: list[tuple[list[str], int]]) -> None:
    different = {
        (parse_query("&".join(f"company={quote(value)}" for value in given)), limit) for given, limit in asked
    }

    assert len({query.slug(limit) for query, limit in different}) == len(different)
