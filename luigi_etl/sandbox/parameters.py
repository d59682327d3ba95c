"""What the API accepts, and the 400 bodies it answers otherwise (Django REST framework's words)."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any
from urllib.parse import parse_qs

from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.index import Search

STATES = frozenset(
    "AA AE AK AL AP AR AS AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MP MS MT "
    "NC ND NE NH NJ NM NV NY OH OK OR PA PR RI SC SD TN TX UT VA VI VT WA WI WV WY".split()
)
SORTS = ("relevance_desc", "relevance_asc", "created_date_desc", "created_date_asc")
NARRATIVE = "complaint_what_happened"
GONE_FILTERS = ("consumer_consent_provided", "consumer_disputed")
LISTS = (
    "company",
    "company_public_response",
    "company_response",
    "issue",
    "not_company",
    "not_company_public_response",
    "not_company_response",
    "not_issue",
    "not_product",
    "not_state",
    "not_tags",
    "product",
    "state",
    "submitted_via",
    "tags",
    "timely",
    "zip_code",
)
DATES = ("date_received_min", "date_received_max", "company_received_min", "company_received_max")
BLANK = "This field may not be blank."

Values = dict[str, list[str]]
Messages = dict[str, Any]
Check = Callable[[str], str | None]


class UnknownFormatError(Exception):
    """A `format` the API does not have: 404."""


def read_search(query_string: str, era: Era) -> tuple[Search, Messages]:
    """Return the search, and the messages of a 400 by parameter.

    Unknown names are ignored; of a repeated scalar the last counts.

    Raises:
        UnknownFormatError: the era has no such `format`.

    """
    values = parse_qs(query_string, keep_blank_values=True)
    formats = ("csv", "json") if era.knows_json_format else ("csv",)
    if values.get("format", ["csv"])[-1] not in formats:
        raise UnknownFormatError
    lists = (*LISTS, *(name for name in GONE_FILTERS if name not in era.gone))
    messages = _messages(values, lists, era)
    return (Search(), messages) if messages else (_search(values, lists), {})


def _search(values: Values, lists: tuple[str, ...]) -> Search:
    def last(name: str, default: str) -> str:
        return values.get(name, [default])[-1]

    return Search(
        size=int(last("size", "25")),
        sort=last("sort", "relevance_desc"),
        search_after=values.get("search_after", [None])[-1],
        search_term=last("search_term", ""),
        field=last("field", NARRATIVE),
        filters=tuple((name, tuple(values[name])) for name in (*lists, *DATES) if name in values),
        no_aggs=_boolean(last("no_aggs", "false")) is True,
    )


def _messages(values: Values, lists: tuple[str, ...], era: Era) -> Messages:
    messages: Messages = {}
    fields = ("company", "all") if NARRATIVE in era.gone else ("company", "all", NARRATIVE)
    for name, check in {**SCALARS, "field": _choice(fields)}.items():
        problem = check(values[name][-1]) if name in values else None
        if problem:
            messages[name] = [problem]
    for name in lists:
        problems = {
            str(place): [said]
            for place, value in enumerate(values.get(name, ()))
            if (said := _item(name, value))
        }
        if problems:
            messages[name] = problems
    return messages


def _item(name: str, value: str) -> str | None:
    if name in ("state", "not_state"):
        return None if value in STATES else f'"{value}" is not a valid choice.'
    if name == "zip_code" and 0 < len(value) < 5:
        return "Ensure this field has at least 5 characters."
    return _text(5 if name == "zip_code" else 200)(value)


def _text(longest: int) -> Check:
    def check(value: str) -> str | None:
        if not value.strip():
            return BLANK
        return f"Ensure this field has no more than {longest} characters." if len(value) > longest else None

    return check


def _choice(choices: tuple[str, ...]) -> Check:
    return lambda value: None if value in choices else f'"{value}" is not a valid choice.'


def _integer(lowest: int, highest: int) -> Check:
    def check(value: str) -> str | None:
        if not re.fullmatch(r"-?[0-9]{1,9}", value):
            return "A valid integer is required."
        if int(value) > highest:
            return f"Ensure this value is less than or equal to {highest}."
        return f"Ensure this value is greater than or equal to {lowest}." if int(value) < lowest else None

    return check


def _day(value: str) -> str | None:
    try:
        if len(value) == 10:
            date.fromisoformat(value)
            return None
    except ValueError:
        pass
    return "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."


def _boolean(value: str) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(value.lower())


def _valid_boolean(value: str) -> str | None:
    return "Must be a valid boolean." if _boolean(value) is None else None


SCALARS: dict[str, Check] = {
    "size": _integer(0, 100_000),
    "frm": _integer(0, 100_000),
    "sort": _choice(SORTS),
    "search_after": _text(200),
    "search_term": _text(200),
    "no_aggs": _valid_boolean,
    "no_highlight": _valid_boolean,
    **dict.fromkeys(DATES, _day),
}
