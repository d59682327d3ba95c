"""The API's filters and the rules for their values (cfpb/ccdb5-api 1.15).

The API ignores unknown names and finds nothing for unknown values, so a misspelt query looks like an answer.
Such a query is refused here, with the nearest correct name.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date

from luigi_etl.common.errors import QueryError

BULLET = "\u2022"  # joins a product and its sub-product, an issue and its sub-issue
MAXIMUM_VALUE_LENGTH = 200
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")

STATES = frozenset(
    "AA AE AK AL AP AR AS AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MP MS MT "
    "NC ND NE NH NJ NM NV NY OH OK OR PA PR RI SC SD TN TX UT VA VI VT WA WI WV WY".split()
)

# Filters whose names differ from the fields, and fields whose values belong to a parent.
DAY_FIELDS = {"date_received": "date_received", "company_received": "date_sent_to_company"}
CHILD_FIELDS = {"product": "sub_product", "issue": "sub_issue"}
SEARCH_FILTERS = frozenset({"search_term", "field"})

Check = Callable[[str, str], str]
Pair = tuple[str, str]


def group_by_parent(values: Iterable[str]) -> dict[str, list[str]]:
    """Group values by parent: the children of each, none if the filter covers the whole parent.

    A parent given both alone and with children means these children only.
    """
    children: dict[str, list[str]] = {}
    for value in values:
        parent, bullet, child = value.partition(BULLET)
        children.setdefault(parent, []).extend([child] if bullet else [])
    return children


# --- rules for one value: return it as it is sent, or raise QueryError ---------------------------


def _check_text(name: str, value: str) -> str:
    if not value.strip():
        raise QueryError(f"query: {name} has a blank value; leave it out instead")
    if value != value.strip():
        raise QueryError(
            f"query: {name}={value!r} begins or ends with a blank; the API trims values and would search "
            "for another one; remove the blank, or use other filters"
        )
    if control := _CONTROL.search(value):
        raise QueryError(f"query: {name} has a control character, {control[0]!r}; remove it")
    if len(value) > MAXIMUM_VALUE_LENGTH:
        raise QueryError(
            f"query: {name} has a value of {len(value)} characters; "
            f"the API accepts at most {MAXIMUM_VALUE_LENGTH}"
        )
    return value


def _check_search_term(name: str, value: str) -> str:
    """Trim the value; unlike in other filters, blanks around a search term change nothing."""
    return _check_text(name, value.strip() or value)


def _check_parent_and_child(name: str, value: str) -> str:
    _check_text(name, value)
    parent, bullet, child = value.partition(BULLET)
    if bullet and (not parent or not child or BULLET in child):
        raise QueryError(
            f"query: {name}={value!r} is not written as Parent or Parent{BULLET}Child; "
            "the API would ignore the filter"
        )
    if parent != parent.strip() or child != child.strip():
        raise QueryError(f"query: {name}={value!r} has a blank beside {BULLET!r}; remove it")
    return value


def _check_day(name: str, value: str) -> str:
    _check_text(name, value)
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise QueryError(f"query: {name}={value!r} is not a date; write it as YYYY-MM-DD")
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise QueryError(f"query: {name}={value!r} is not a day of the calendar") from None


def _check_zip_code(name: str, value: str) -> str:
    _check_text(name, value)
    if not re.fullmatch(r"[0-9X]{5}", value):
        raise QueryError(f"query: {name}={value!r} is not a ZIP code; write it as 33460 or 333XX")
    return value


def _allow_only(choices: Iterable[str], hint: str = "") -> Check:
    known = sorted(choices)

    def check(name: str, value: str) -> str:
        _check_text(name, value)
        if value not in known:
            nearest = _suggest(value, known) or hint or f"; one of {', '.join(known)}"
            raise QueryError(f"query: {name}={value!r} is not a value the API knows{nearest}")
        return value

    return check


_check_state = _allow_only(STATES, "; write the two-letter code of a state or territory, in capitals")

# --- the filters ---------------------------------------------------------------------------------

ONE_VALUE: dict[str, Check] = {
    "search_term": _check_search_term,
    "field": _allow_only(("all", "company")),
    "date_received_min": _check_day,
    "date_received_max": _check_day,
    "company_received_min": _check_day,
    "company_received_max": _check_day,
}
MANY_VALUES: dict[str, Check] = {
    "company": _check_text,
    "company_public_response": _check_text,
    "company_response": _check_text,
    "issue": _check_parent_and_child,
    "product": _check_parent_and_child,
    "state": _check_state,
    "submitted_via": _check_text,
    "tags": _check_text,
    "timely": _allow_only(("Yes", "No")),
    "zip_code": _check_zip_code,
    "not_company": _check_text,
    "not_company_public_response": _check_text,
    "not_company_response": _check_text,
    "not_issue": _check_parent_and_child,
    "not_product": _check_parent_and_child,
    "not_state": _check_state,
    "not_tags": _check_text,
}
FILTERS = ONE_VALUE | MANY_VALUES

NOT_FILTERS = {
    "size": "set the number of complaints with the parameter limit",
    "frm": "the pipeline sets the paging",
    "page": "the pipeline sets the paging",
    "search_after": "the pipeline sets the paging",
    "sort": "the order is always newest first",
    "format": "the pipeline reads JSON and writes CSV",
    "no_aggs": "the pipeline sets it",
    "no_highlight": "the pipeline sets it",
    "searchText": "outside an address of the search page, use search_term",
    "searchField": "outside an address of the search page, use field",
    "dateRange": "outside an address of the search page, use date_received_min",
}
REMOVED_FILTERS = {"has_narrative": "the CFPB stopped publishing narratives in August 2026"}


def check_filter(name: str, value: str) -> str:
    """Return the value of a filter in the form that is sent to the API.

    Raises:
        QueryError: the API does not know the name, or would refuse the value or find nothing with it.

    """
    if name in FILTERS:
        return FILTERS[name](name, value)
    if name in NOT_FILTERS:
        raise QueryError(f"query: {name} is not a filter: {NOT_FILTERS[name]}")
    if name in REMOVED_FILTERS:
        raise QueryError(f"query: {name} is no longer a filter: {REMOVED_FILTERS[name]}")
    known = suggest_filter(name) or f"; the filters are {', '.join(sorted(FILTERS))}"
    raise QueryError(f"query: the API knows no filter {name!r}{known}")


def check_combination(pairs: set[Pair]) -> None:
    """Check filters against each other.

    Raises:
        QueryError: a filter of one value has two, a range ends before it begins, or `field` has no
            search term.

    """
    for name in ONE_VALUE:
        values = sorted(value for other, value in pairs if other == name)
        if len(values) > 1:
            raise QueryError(f"query: {name} takes one value, not {' and '.join(map(repr, values))}")
    given = dict(pairs)
    for name in DAY_FIELDS:
        first, last = given.get(f"{name}_min"), given.get(f"{name}_max")
        if first and last and first > last:
            raise QueryError(f"query: {name}_min={first} is after {name}_max={last}; nothing can match")
    if "field" in given and "search_term" not in given:
        raise QueryError("query: field needs a search_term; add one, or remove field")


def add_search_field(pairs: set[Pair]) -> set[Pair]:
    """Add `field=all` to a search term without a field; the API's default was the narrative."""
    names = {name for name, _ in pairs}
    return pairs | {("field", "all")} if "search_term" in names and "field" not in names else pairs


def suggest_filter(name: str) -> str:
    """Return a hint with the nearest filter, or an empty text."""
    return _suggest(name, FILTERS)


def _suggest(word: str, known: Iterable[str]) -> str:
    import difflib

    for candidate in (word, word.upper(), word.lower(), word.title()):
        found = difflib.get_close_matches(candidate, known, n=1)
        if found:
            return f"; did you mean {found[0]!r}?"
    return ""
