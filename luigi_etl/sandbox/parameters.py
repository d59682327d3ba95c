"""The API's parameters, their checks, and the bodies of its 400 answers (Django REST framework)."""

import re
from collections.abc import Callable
from datetime import date
from typing import Any
from urllib.parse import parse_qs

from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.search import Search

STATES = frozenset(
    "AA AE AK AL AP AR AS AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MP MS MT "
    "NC ND NE NH NJ NM NV NY OH OK OR PA PR RI SC SD TN TX UT VA VI VT WA WI WV WY".split()
)
SORTS = ("relevance_desc", "relevance_asc", "created_date_desc", "created_date_asc")
NARRATIVE = "complaint_what_happened"
GONE_FILTERS = ("consumer_consent_provided", "consumer_disputed", "has_narrative")
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
LONGEST_NUMBER = 1000

TRUE = frozenset({"t", "y", "yes", "true", "on", "1"})
FALSE = frozenset({"f", "n", "no", "false", "off", "0"})
BULLET = "\u2022"

Values = dict[str, list[str]]
Messages = dict[str, Any]
Check = Callable[[str], list[str]]


def read_search(query_string: str, era: Era) -> tuple[Search, Messages]:
    """Return the search, and the messages of a 400 by parameter.

    Unknown names are ignored. The last value of a repeated scalar counts. Texts are trimmed.
    """
    values = parse_qs(query_string, keep_blank_values=True)
    lists = (*LISTS, *(name for name in GONE_FILTERS if name not in era.gone))
    messages = _messages(values, lists, era)
    if messages:
        return Search(), messages
    search = _search(values, lists)
    if search.size and int(_number(values.get("frm", ["0"])[-1])) % search.size:
        return Search(), {"non_field_errors": ["frm is not zero or a multiple of size"]}
    return search, {}


def _search(values: Values, lists: tuple[str, ...]) -> Search:
    def last(name: str, default: str) -> str:
        return values.get(name, [default])[-1]

    filters = {name: tuple(map(str.strip, values[name])) for name in lists if name in values}
    days = {name: (_day(last(name, "")).isoformat(),) for name in DATES if name in values}
    return Search(
        size=int(_number(last("size", "25"))),
        sort=last("sort", "relevance_desc"),
        search_after=last("search_after", "").strip() or None,
        search_term=last("search_term", "").strip(),
        field=last("field", NARRATIVE),
        filters=tuple((filters | days).items()),
        no_aggs=last("no_aggs", "false").lower() in TRUE,
    )


def _messages(values: Values, lists: tuple[str, ...], era: Era) -> Messages:
    messages: Messages = {}
    fields = ("company", "all", "_all") if NARRATIVE in era.gone else ("company", "all", "_all", NARRATIVE)
    for name, check in {**SCALARS, "field": _choice(fields)}.items():
        if name in values and (problems := check(values[name][-1])):
            messages[name] = problems
    for name in lists:
        nested = {
            str(place): problems
            for place, value in enumerate(values.get(name, ()))
            if (problems := _item(name, value))
        }
        if nested:
            messages[name] = nested
        elif name in ("product", "issue") and any(value.count(BULLET) > 1 for value in values.get(name, ())):
            example = f'"{name}" or "{name}{BULLET}sub{name}"'
            messages[name] = [f"{name.title()} is malformed, it needs to be {example}"]
    return messages


def _item(name: str, value: str) -> list[str]:
    if name in ("state", "not_state"):
        return [] if value in STATES else [f'"{value}" is not a valid choice.']
    return _text(5, 5)(value) if name == "zip_code" else _text(200)(value)


def _text(longest: int, shortest: int = 0) -> Check:
    def check(value: str) -> list[str]:
        text = value.strip()
        if not text:
            return [BLANK]
        problems = {
            f"Ensure this field has no more than {longest} characters.": len(text) > longest,
            f"Ensure this field has at least {shortest} characters.": len(text) < shortest,
            "Null characters are not allowed.": "\0" in text,
        }
        return [problem for problem, is_one in problems.items() if is_one]

    return check


def _choice(choices: tuple[str, ...]) -> Check:
    return lambda value: [] if value in choices else [f'"{value}" is not a valid choice.']


def _number(value: str) -> str:
    """Return a whole number without the zeros after its decimal point."""
    return re.sub(r"\.0*\s*$", "", value)


def _integer(lowest: int, highest: int) -> Check:
    def check(value: str) -> list[str]:
        if len(value) > LONGEST_NUMBER:
            return ["String value too large."]
        try:
            number = int(_number(value))
        except ValueError:
            return ["A valid integer is required."]
        if number > highest:
            return [f"Ensure this value is less than or equal to {highest}."]
        return [f"Ensure this value is greater than or equal to {lowest}."] if number < lowest else []

    return check


def _day(value: str) -> date:
    """Read a day; ISO weeks, missing hyphens, and months or days of one digit are accepted.

    Raises:
        ValueError: the text is not a day.

    """
    if week := re.fullmatch(r"([0-9]{4})(-?)W([0-9]{2})(?:\2([0-9]))?", value):
        return date.fromisocalendar(int(week[1]), int(week[3]), int(week[4] or 1))
    day = re.fullmatch(r"([0-9]{4})(?:-([0-9]{1,2})-([0-9]{1,2})|([0-9]{2})([0-9]{2}))", value)
    if not day:
        raise ValueError(value)
    return date(int(day[1]), int(day[2] or day[4]), int(day[3] or day[5]))


def _valid_day(value: str) -> list[str]:
    try:
        _day(value)
    except ValueError:
        return ["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."]
    return []


def _valid_boolean(value: str) -> list[str]:
    return [] if value.lower() in TRUE | FALSE else ["Must be a valid boolean."]


SCALARS: dict[str, Check] = {
    "size": _integer(0, 100_000),
    "frm": _integer(0, 10_000),
    "page": _integer(1, 10_000),
    "sort": _choice(SORTS),
    "search_after": _text(200),
    "search_term": _text(200),
    "no_aggs": _valid_boolean,
    "no_highlight": _valid_boolean,
    **dict.fromkeys(DATES, _valid_day),
}
