"""The filters of the API, and the rules for their values."""

import re
from collections.abc import Callable, Iterable
from datetime import date

from luigi_etl.common.errors import QueryError

BULLET = "\u2022"  # between a product and its sub-product, an issue and its sub-issue
MAXIMUM_VALUE_LENGTH = 200
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


def families(values: Iterable[str]) -> dict[str, list[str]]:
    """Return the children asked for, by parent: a parent asked for with any of them means these alone."""
    children: dict[str, list[str]] = {}
    for value in values:
        parent, bullet, child = value.partition(BULLET)
        children.setdefault(parent, []).extend([child] if bullet else [])
    return children


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


def check_value(name: str, value: str) -> str:
    """Return the value of a filter if the API knows both."""
    if name in FILTERS:
        return FILTERS[name](name, value)
    if name in OURS:
        raise QueryError(f"query: {name} is not a filter: {OURS[name]}")
    if name in GONE:
        raise QueryError(f"query: {name} is not a filter any more: {GONE[name]}")
    known = suggest_filter(name) or f"; the filters are {', '.join(sorted(FILTERS))}"
    raise QueryError(f"query: the API knows no filter {name!r}{known}")


def check_together(pairs: set[Pair]) -> None:
    """Refuse filters that contradict each other."""
    for name in ONE_VALUE:
        values = sorted(value for other, value in pairs if other == name)
        if len(values) > 1:
            raise QueryError(f"query: {name} takes one value, not {' and '.join(map(repr, values))}")
    given = dict(pairs)
    for name in ("date_received", "company_received"):
        first, last = given.get(f"{name}_min"), given.get(f"{name}_max")
        if first and last and first > last:
            raise QueryError(f"query: {name}_min={first} is after {name}_max={last}; nothing can match")


def with_search_field(pairs: set[Pair]) -> set[Pair]:
    """Make the field searched explicit: the API's default is the narrative, which is gone."""
    names = {name for name, _ in pairs}
    if "field" in names and "search_term" not in names:
        raise QueryError("query: field says where to search for search_term, which is not there")
    return pairs | {("field", "all")} if names & {"search_term", "field"} == {"search_term"} else pairs


def suggest_filter(name: str) -> str:
    """Return the nearest filter's name as a question, or nothing."""
    return _did_you_mean(name, FILTERS)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    import difflib

    for candidate in (word, word.upper(), word.lower(), word.title()):
        found = difflib.get_close_matches(candidate, known, n=1)
        if found:
            return f"; did you mean {found[0]!r}?"
    return ""
