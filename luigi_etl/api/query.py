"""Which complaints: the API's own query string, checked and brought to one spelling.

The API ignores names it does not know and answers zero hits to values it does not know, so a
misspelt query looks like an answer. Here it is refused, with the nearest right name.

The filters are those of section 2 of the API notes (cfpb/ccdb5-api 1.15); the names of the search
page's own parameters are those of cfpb/ccdb5-ui.
"""

import calendar
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from urllib.parse import quote, quote_plus, unquote_plus, urlsplit

from luigi_etl.common.errors import QueryError

SEARCH_PAGE = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/"
BULLET = "\u2022"  # between a product and its sub-product, an issue and its sub-issue
MAXIMUM_VALUE_LENGTH = 200
SLUG_LENGTH = 180  # a file name holds 255 bytes; the rest is for suffixes
HASH_LENGTH = 16
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

STATES = frozenset(
    [
        "AA",
        "AE",
        "AK",
        "AL",
        "AP",
        "AR",
        "AS",
        "AZ",
        "CA",
        "CO",
        "CT",
        "DC",
        "DE",
        "FL",
        "GA",
        "GU",
        "HI",
        "IA",
        "ID",
        "IL",
        "IN",
        "KS",
        "KY",
        "LA",
        "MA",
        "MD",
        "ME",
        "MI",
        "MN",
        "MO",
        "MP",
        "MS",
        "MT",
        "NC",
        "ND",
        "NE",
        "NH",
        "NJ",
        "NM",
        "NV",
        "NY",
        "OH",
        "OK",
        "OR",
        "PA",
        "PR",
        "RI",
        "SC",
        "SD",
        "TN",
        "TX",
        "UT",
        "VA",
        "VI",
        "VT",
        "WA",
        "WI",
        "WV",
        "WY",
    ]
)

# Where a filter's name is not the field's own, and which fields are below another.
DAY_FIELDS = {"date_received": "date_received", "company_received": "date_sent_to_company"}
CHILD_FIELDS = {"product": "sub_product", "issue": "sub_issue"}
SEARCH_FILTERS = frozenset({"search_term", "field"})

Check = Callable[[str, str], str]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Query:
    """A checked query: `pairs` are its filters, sorted, each once.

    `notes` say what was dropped or translated on the way here; they are not part of the query.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        """Return the one spelling of this query; it parses to an equal query."""
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in self.pairs)

    @property
    def is_of_days_only(self) -> bool:
        """Tell whether it asks for days and nothing that could be misspelt."""
        return all(name.endswith(("_min", "_max")) for name, _ in self.pairs)

    def slug(self, limit: int) -> str:
        """Return a file name for this query and limit (0 = every complaint), unique to the two.

        ASCII letters, digits and `._-+%,=` only, at most 180 long. It is cut and ended by `~` and
        a hash (SHA-256) only where it would be longer; no other slug holds a `~`.
        """
        filters = ",".join(f"{name}={_safe(value)}" for name, value in self.pairs)
        slug = (filters or "all") + (f"-newest-{limit}" if limit else "")
        if len(slug) <= SLUG_LENGTH:
            return slug
        digest = hashlib.sha256(slug.encode()).hexdigest()[:HASH_LENGTH]
        return f"{slug[: SLUG_LENGTH - HASH_LENGTH - 1]}~{digest}"


def parse_query(text: str) -> Query:
    """Read a query string, or a whole address copied from the CFPB's search page.

    Raises:
        QueryError: a name the API does not know, a value it would refuse or silently match nothing
            with, or two values where it takes one.

    """
    text = text.strip(" \t\r\n")
    notes: list[str] = []
    if re.match(r"https?://", text, re.IGNORECASE):
        pairs = _from_search_page(text, notes)
    else:
        pairs = _split(text.removeprefix("?"))
    checked = {(name, _checked(name, value)) for name, value in pairs}
    _check_together(checked)
    checked = _with_search_field(checked)
    if len({name for name, _ in checked if name.startswith("not_")}) > 1:
        notes.append("with several not_ filters the API leaves out only what matches all of them")
    return Query(tuple(sorted(checked)), tuple(notes))


def parse_stored_query(text: str) -> Query:
    """Read the one spelling of a query that was checked when it was stored.

    It is not checked again: the rules may have become stricter since.
    """
    return Query(tuple(sorted(_split(text))))


def families(values: Iterable[str]) -> dict[str, list[str]]:
    """Return the children asked for, by parent: a parent asked for with any of them means these alone."""
    children: dict[str, list[str]] = {}
    for value in values:
        parent, bullet, child = value.partition(BULLET)
        children.setdefault(parent, []).extend([child] if bullet else [])
    return children


def _safe(value: str) -> str:
    """Encode a value for a file name; `~` and `-newest-` are kept for the slug's own marks."""
    return quote_plus(value).replace("~", "%7E").replace("-newest-", "%2Dnewest%2D")


def _split(text: str) -> list[Pair]:
    """Split a query string into decoded pairs, as HTML forms encode them (`+` is a space)."""
    pairs = []
    for part in text.split("&"):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals:
            hint = "" if part in FILTERS else _nearest(part)
            raise QueryError(
                f"query: {part!r} has no value; write it as name=value, a & in a value as %26{hint}"
            )
        pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(text: str) -> str:
    try:
        decoded = unquote_plus(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise QueryError(f"query: {text!r} is not UTF-8 text") from None
    return decoded


# --- each filter ---------------------------------------------------------------------------------


def _any_value(name: str, value: str) -> str:
    if not value.strip():
        raise QueryError(f"query: {name} has a blank value; leave it out instead")
    if value != value.strip():
        raise QueryError(
            f"query: {name}={value!r} begins or ends with a blank; the API trims values and would answer "
            "for another one; remove the blank, or use other filters"
        )
    if control := _CONTROL.search(value):
        raise QueryError(f"query: {name} has a control character, {control[0]!r}; remove it")
    if len(value) > MAXIMUM_VALUE_LENGTH:
        raise QueryError(
            f"query: {name} has a value of {len(value)} characters; the API takes {MAXIMUM_VALUE_LENGTH}"
        )
    return value


def _words(name: str, value: str) -> str:
    """Return a search term without the blanks around it: with and without them it finds the same."""
    return _any_value(name, value.strip() or value)


def _with_child(name: str, value: str) -> str:
    _any_value(name, value)
    parent, bullet, child = value.partition(BULLET)
    if bullet and (not parent or not child or BULLET in child):
        raise QueryError(
            f"query: {name}={value!r} is neither a name nor a name, {BULLET!r}, and one below it; "
            "the API would take it for no filter at all"
        )
    if parent != parent.strip() or child != child.strip():
        raise QueryError(f"query: {name}={value!r} has a blank beside its {BULLET!r}; remove it")
    return value


def _day(name: str, value: str) -> str:
    _any_value(name, value)
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise QueryError(f"query: {name}={value!r} is not a date; write it as YYYY-MM-DD")
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise QueryError(f"query: {name}={value!r} is not a day of the calendar") from None


def _zip_code(name: str, value: str) -> str:
    _any_value(name, value)
    if not re.fullmatch(r"[0-9X]{5}", value):
        raise QueryError(f"query: {name}={value!r} is not a ZIP code as the API writes them (33460, 333XX)")
    return value


def _one_of(choices: Iterable[str], hint: str = "") -> Check:
    known = sorted(choices)

    def check(name: str, value: str) -> str:
        _any_value(name, value)
        if value not in known:
            nearest = _did_you_mean(value, known) or hint or f"; one of {', '.join(known)}"
            raise QueryError(f"query: {name}={value!r} is not a value the API knows{nearest}")
        return value

    return check


_STATE = _one_of(STATES, "; it takes the two-letter codes of states and territories, in capitals")

ONE_VALUE: dict[str, Check] = {
    "search_term": _words,
    "field": _one_of(("all", "company")),
    "date_received_min": _day,
    "date_received_max": _day,
    "company_received_min": _day,
    "company_received_max": _day,
}
MANY_VALUES: dict[str, Check] = {
    "company": _any_value,
    "company_public_response": _any_value,
    "company_response": _any_value,
    "issue": _with_child,
    "product": _with_child,
    "state": _STATE,
    "submitted_via": _any_value,
    "tags": _any_value,
    "timely": _one_of(("Yes", "No")),
    "zip_code": _zip_code,
    "not_company": _any_value,
    "not_company_public_response": _any_value,
    "not_company_response": _any_value,
    "not_issue": _with_child,
    "not_product": _with_child,
    "not_state": _STATE,
    "not_tags": _any_value,
}
FILTERS = ONE_VALUE | MANY_VALUES

OURS = {
    "size": "how many is the parameter limit",
    "frm": "paging is the pipeline's",
    "page": "paging is the pipeline's",
    "search_after": "paging is the pipeline's",
    "sort": "the order is always newest first",
    "format": "the pipeline reads JSON and writes CSV",
    "no_aggs": "the pipeline sends it itself",
    "no_highlight": "the pipeline sends it itself",
    "searchText": "outside the search page's address it is search_term",
    "searchField": "outside the search page's address it is field",
    "dateRange": "outside the search page's address give date_received_min",
}
GONE = {"has_narrative": "the CFPB stopped publishing narratives in August 2026"}


def _checked(name: str, value: str) -> str:
    if name in FILTERS:
        return FILTERS[name](name, value)
    if name in OURS:
        raise QueryError(f"query: {name} is not a filter: {OURS[name]}")
    if name in GONE:
        raise QueryError(f"query: {name} is not a filter any more: {GONE[name]}")
    known = _nearest(name) or f"; the filters are {', '.join(sorted(FILTERS))}"
    raise QueryError(f"query: the API knows no filter {name!r}{known}")


def _check_together(pairs: set[Pair]) -> None:
    for name in ONE_VALUE:
        values = sorted(value for other, value in pairs if other == name)
        if len(values) > 1:
            raise QueryError(f"query: {name} takes one value, not {' and '.join(map(repr, values))}")
    given = dict(pairs)
    for name in ("date_received", "company_received"):
        first, last = given.get(f"{name}_min"), given.get(f"{name}_max")
        if first and last and first > last:
            raise QueryError(f"query: {name}_min={first} is after {name}_max={last}; nothing can match")


def _with_search_field(pairs: set[Pair]) -> set[Pair]:
    """Make the field searched explicit: the API's default is the narrative, which is gone."""
    names = {name for name, _ in pairs}
    if "field" in names and "search_term" not in names:
        raise QueryError("query: field says where to search for search_term, which is not there")
    return pairs | {("field", "all")} if names & {"search_term", "field"} == {"search_term"} else pairs


def _nearest(name: str) -> str:
    return _did_you_mean(name, FILTERS)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    import difflib

    for candidate in (word, word.upper(), word.lower(), word.title()):
        found = difflib.get_close_matches(candidate, known, n=1)
        if found:
            return f"; did you mean {found[0]!r}?"
    return ""


# --- the search page's address -------------------------------------------------------------------

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


def _from_search_page(address: str, notes: list[str]) -> list[Pair]:
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
    pairs = [(name, value) for name, value in _split(with_values) if value]
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
