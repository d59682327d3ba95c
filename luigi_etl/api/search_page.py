"""Addresses copied from the CFPB's search page, with its own names of parameters (cfpb/ccdb5-ui)."""

import calendar
from datetime import date, datetime, timezone
from urllib.parse import urlsplit

from luigi_etl.api.filters import Pair
from luigi_etl.api.query_string import split_query
from luigi_etl.common.errors import QueryError

SEARCH_PAGE = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/"
RENAMED = {"searchText": "search_term", "searchField": "field"}
DATE_RANGES = {"3m": 3, "6m": 6, "1y": 12, "3y": 36}  # months back from today
DISPLAY_PARAMETERS = frozenset(
    "tab page size sort from frm search_after searchAfter breakPoints lens subLens chartType "
    "dateInterval dataNormalization focus expandedTrends trendDepth mapWarningEnabled "
    "trendsDateWarningEnabled isFromExternal isPrintMode fromExternal printMode format no_aggs "
    "no_highlight utm_source utm_medium utm_campaign utm_term utm_content".split()
)


def read_search_page(address: str) -> tuple[list[Pair], list[str]]:
    """Return the filters in an address of the search page, and notes about changes.

    Raises:
        QueryError: it is another address, or its query string can't be read.

    """
    query = _find_query_string(address)
    with_values = "&".join(part for part in query.split("&") if "=" in part)
    pairs = [(name, value) for name, value in split_query(with_values) if value]
    dropped = sorted({name for name, _ in pairs if name in DISPLAY_PARAMETERS})
    notes = [f"display parameters of the search page left out: {', '.join(dropped)}"] if dropped else []
    has_search_term = any(name == "searchText" for name, _ in pairs)
    unused = DISPLAY_PARAMETERS if has_search_term else DISPLAY_PARAMETERS | {"searchField"}
    kept = [(RENAMED.get(name, name), value) for name, value in pairs if name not in unused]
    dated, date_notes = _translate_date_range(kept)
    return dated, notes + date_notes


def _find_query_string(address: str) -> str:
    home = urlsplit(SEARCH_PAGE)
    try:
        parts = urlsplit(address)
        is_search_page = parts.hostname == home.hostname and parts.path.rstrip("/") == home.path.rstrip("/")
    except ValueError:
        is_search_page = False
    if not is_search_page:
        raise QueryError(
            f"query: {address.split('?', maxsplit=1)[0]!r} is not the CFPB's search page, {SEARCH_PAGE}; "
            "give only the part after the ? of another address"
        )
    return parts.query


def _translate_date_range(pairs: list[Pair]) -> tuple[list[Pair], list[str]]:
    """Replace `dateRange` by a date, as the page does: `All` overrides dates, dates override the others."""
    ranges = [value for name, value in pairs if name == "dateRange"]
    others = [(name, value) for name, value in pairs if name != "dateRange"]
    undated = [(name, value) for name, value in others if not name.startswith("date_received_")]
    has_dates = len(undated) < len(others)
    chosen = ranges[-1] if ranges else ""
    if chosen == "All":
        note = "dateRange=All: the dates in the address are ignored, as on the page"
        return undated, [note] if has_dates else []
    if not chosen or has_dates:
        return others, []
    if chosen not in DATE_RANGES:
        raise QueryError(f"query: dateRange={chosen!r} is not one of {', '.join(DATE_RANGES)}, All")
    first = _months_before(datetime.now(timezone.utc).date(), DATE_RANGES[chosen]).isoformat()
    return [*others, ("date_received_min", first)], [f"dateRange={chosen} read as date_received_min={first}"]


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))
