"""Addresses copied from the CFPB's search page."""

import re
from datetime import datetime, timedelta, timezone

import pytest

from luigi_etl.api.query import parse_query
from luigi_etl.api.search_page import SEARCH_PAGE
from luigi_etl.common.errors import QueryError


def test_address_is_read_as_its_filters() -> None:
    address = SEARCH_PAGE + "?searchText=late%20fee&searchField=company&product=Mortgage&not_state=TX"

    assert parse_query(address) == parse_query(
        "product=Mortgage&not_state=TX&search_term=late+fee&field=company"
    )


@pytest.mark.parametrize(
    "start", [SEARCH_PAGE, SEARCH_PAGE.removesuffix("/"), SEARCH_PAGE.replace("https", "http")]
)
def test_slash_and_https_are_optional(start: str) -> None:
    assert str(parse_query(f"  {start}?state=CA#top\n")) == "state=CA"


def test_display_parameters_are_dropped_with_a_note() -> None:
    query = parse_query(SEARCH_PAGE + "?tab=List&page=2&size=25&sort=created_date_desc&state=CA")

    assert str(query) == "state=CA"
    assert query.notes == ("display parameters of the search page left out: page, size, sort, tab",)


@pytest.mark.parametrize(
    "look",
    ["chartType=line", "dateInterval=Month", "lens=Product", "trendDepth=5", "expandedTrends=x", "from=0"],
)
def test_display_parameter_does_not_change_the_query(look: str) -> None:
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
def test_blank_parameter_is_ignored(blank: str) -> None:
    query = parse_query(f"{SEARCH_PAGE}?{blank}&state=CA")

    assert (str(query), query.notes) == ("state=CA", ())


@pytest.mark.parametrize(("chosen", "months"), [("3m", 3), ("6m", 6), ("1y", 12), ("3y", 36)])
def test_date_range_becomes_its_first_day_with_a_note(chosen: str, months: int) -> None:
    today = datetime.now(timezone.utc).date()

    query = parse_query(f"{SEARCH_PAGE}?dateRange={chosen}")

    ((name, value),) = query.pairs
    first = datetime.fromisoformat(value).date()
    assert name == "date_received_min"
    assert (today.year - first.year) * 12 + today.month - first.month == months
    assert first.day == today.day or (first + timedelta(days=1)).day == 1
    assert query.notes == (f"dateRange={chosen} read as date_received_min={value}",)


def test_dates_override_a_date_range() -> None:
    assert str(parse_query(f"{SEARCH_PAGE}?dateRange=3y&date_received_min=2026-01-01")) == (
        "date_received_min=2026-01-01"
    )


def test_date_range_all_removes_dates() -> None:
    assert (
        str(parse_query(f"{SEARCH_PAGE}?dateRange=All&date_received_min=2026-01-01&state=CA")) == "state=CA"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("?dateRange=2w", "dateRange='2w' is not one of 3m, 6m, 1y, 3y, All"),
        ("?serchText=fee", "did you mean 'search_term'?"),
        ("?searchText=fee&searchField=complaint_what_happened", "one of all, company"),
        ("?state=ca", "did you mean 'CA'?"),
    ],
)
def test_address_is_checked_like_a_query(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=re.escape(message)):
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
def test_other_address_is_refused_with_the_right_one(address: str) -> None:
    with pytest.raises(QueryError, match=f"is not the CFPB's search page, {SEARCH_PAGE}"):
        parse_query(address)


def test_malformed_address_is_refused() -> None:
    with pytest.raises(QueryError):
        parse_query("https://[www.consumerfinance.gov/?state=CA")


@pytest.mark.parametrize("below", ["detail/10702013", "api/v1/10702013"])
def test_address_of_one_complaint_is_refused(below: str) -> None:
    with pytest.raises(QueryError):
        parse_query(SEARCH_PAGE + below)
