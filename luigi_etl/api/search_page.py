"""An address of the CFPB's search page."""

import calendar
from datetime import date, datetime, timezone
from urllib.parse import urlsplit

from luigi_etl.api.filters import Pair
from luigi_etl.api.query_string import split_query
from luigi_etl.common.errors import QueryError

SEARCH_PAGE = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/"
RENAMED = {"searchText": "search_term", "searchField": "field"}
DATE_RANGES = {"3m": 3, "6m": 6, "1y": 12, "3y": 36}  # months back from today
LOOK = frozenset(
    [
        "tab",
        "page",
        "size",
        "sort",
        "from",
        "frm",
        "search_after",
        "searchAfter",
        "breakPoints",
        "lens",
        "subLens",
        "chartType",
        "dateInterval",
        "dataNormalization",
        "focus",
        "expandedTrends",
        "trendDepth",
        "mapWarningEnabled",
        "trendsDateWarningEnabled",
        "isFromExternal",
        "isPrintMode",
        "fromExternal",
        "printMode",
        "format",
        "no_aggs",
        "no_highlight",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_term",
        "utm_content",
    ]
)


def read_search_page(address: str, notes: list[str]) -> list[Pair]:
    """Return the filters in an address, and add notes about the others."""
    home = urlsplit(SEARCH_PAGE)
    try:
        parts = urlsplit(address)
        is_search_page = parts.hostname == home.hostname and parts.path.rstrip("/") == home.path.rstrip("/")
    except ValueError:
        is_search_page = False
    if not is_search_page:
        raise QueryError(
            f"query: {address.split('?', maxsplit=1)[0]!r} is not the CFPB's search page, {SEARCH_PAGE}; "
            "of another address give only what follows the ?"
        )
    with_values = "&".join(part for part in parts.query.split("&") if "=" in part)
    pairs = [(name, value) for name, value in split_query(with_values) if value]
    dropped = sorted({name for name, _ in pairs if name in LOOK})
    if dropped:
        notes.append(f"only the search page's look, left out: {', '.join(dropped)}")
    searches = any(name == "searchText" for name, _ in pairs)
    unused = LOOK if searches else LOOK | {"searchField"}
    kept = [(RENAMED.get(name, name), value) for name, value in pairs if name not in unused]
    return _with_date_range(kept, notes)


def _with_date_range(pairs: list[Pair], notes: list[str]) -> list[Pair]:
    """Put `dateRange` into dates, as the page does: `All` overrules dates, the others yield to them."""
    ranges = [value for name, value in pairs if name == "dateRange"]
    rest = [(name, value) for name, value in pairs if name != "dateRange"]
    if not ranges:
        return rest
    chosen = ranges[-1]
    if chosen == "All":
        undated = [(name, value) for name, value in rest if not name.startswith("date_received_")]
        if len(undated) < len(rest):
            notes.append("dateRange=All: the dates of the address do not count, as on the page")
        return undated
    if any(name.startswith("date_received_") for name, _ in rest):
        return rest
    if chosen not in DATE_RANGES:
        raise QueryError(f"query: dateRange={chosen!r} is not one of {', '.join(DATE_RANGES)}, All")
    first = _months_before(datetime.now(timezone.utc).date(), DATE_RANGES[chosen]).isoformat()
    notes.append(f"dateRange={chosen} read as date_received_min={first}")
    return [*rest, ("date_received_min", first)]


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, last))
