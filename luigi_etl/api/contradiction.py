"""Check an answer against the question: rows that the filters exclude, rows out of order.

The API ignores parameters that it does not know, and then answers another question with status 200.
A field that a row lacks says nothing; a null contradicts a filter that asks for a value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timezone
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

import msgspec
from msgspec import UNSET

from luigi_etl.api.filters import CHILD_FIELDS, DAY_FIELDS, SEARCH_FILTERS, families
from luigi_etl.api.response import Hit, SearchResponse
from luigi_etl.api.settings import NEWEST_FIRST
from luigi_etl.common.terminal import brief

Pairs = Sequence[tuple[str, str]]
Source = Mapping[str, object]
Matches = Callable[[Source], bool | None]  # None: the row lacks the field, or it is malformed

MOST_VALUES = 3  # of one filter, in a message
REPLACED = "\ufffd"  # stands for half of a surrogate pair: the parser rejects such a hit
TOLERANCE = 2 * 86_400_000  # milliseconds between a date and its sort value: dates without a time, odd zones


class _Filter(NamedTuple):
    """All values of one filter, `not_` removed from its name."""

    asked: str
    fields: tuple[str, ...]
    matches: Matches


def find_contradiction(pairs: Pairs, sources: Iterable[Source]) -> str | None:
    """Return in one line how the first of the rows that the filters exclude contradicts them, or None.

    Rows are the API's `_source` objects, or mappings with its field names and `date` objects as days. The
    filters mean what they mean in the database (`matching.condition`); words searched for are not checked.
    """
    wanted, excluded = _filters(pairs)
    if not wanted and not excluded:
        return None
    for source in sources:
        ignored = next((one for one in wanted if one.matches(source) is False), None)
        if ignored:
            return _contradiction([ignored], source)
        if excluded and all(one.matches(source) for one in excluded):
            return _contradiction(excluded, source)
    return None


def find_contradiction_in_page(pairs: Pairs, answer: SearchResponse, search_after: str | None) -> str | None:
    """Return in one line how an answer contradicts the query and the cursor it was asked with, or None."""
    found = find_contradiction(pairs, _sources(pairs, answer))
    return found or _find_disorder(answer, search_after)


# --- the filters ---------------------------------------------------------------------------------


def _filters(pairs: Pairs) -> tuple[list[_Filter], list[_Filter]]:
    """Return the filters that a row has to match, and those of which it must not match all."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in SEARCH_FILTERS:
            values.setdefault(name, []).append(value)
    wanted = [_filter(name, values[name], name) for name in values if not name.startswith("not_")]
    excluded = [_filter(name, values[name], name[4:]) for name in values if name.startswith("not_")]
    return wanted, excluded


def _filter(name: str, values: list[str], subject: str) -> _Filter:
    rest = f" or {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
    asked = " or ".join(f"{name}={brief(value)}" for value in values[:MOST_VALUES]) + rest
    if subject.endswith(("_min", "_max")):
        field = DAY_FIELDS[subject[:-4]]
        bound = date.fromisoformat(values[0])
        return _Filter(asked, (field,), partial(_is_day_within, field, subject.endswith("_min"), bound))
    if subject in CHILD_FIELDS:
        matches = partial(_is_or_is_below, subject, families(values))
        return _Filter(asked, (subject, CHILD_FIELDS[subject]), matches)
    return _Filter(asked, (subject,), partial(_is_one_of, subject, frozenset(values)))


def _is_one_of(field: str, values: Iterable[str], source: Source) -> bool | None:
    value = source.get(field, UNSET)
    if value is None or value == "":
        return False
    if not isinstance(value, str) or (REPLACED in value and value not in values):
        return None
    return value in values


def _is_or_is_below(parent: str, asked: dict[str, list[str]], source: Source) -> bool | None:
    is_parent = _is_one_of(parent, asked, source)
    children = asked.get(str(source.get(parent)))
    return _is_one_of(CHILD_FIELDS[parent], children, source) if is_parent and children else is_parent


def _is_day_within(field: str, is_first: bool, bound: date, source: Source) -> bool | None:
    value = source.get(field, UNSET)
    if value is None or value == "":
        return False
    text = value[:10] if isinstance(value, str) and value.endswith("Z") else ""
    if text > bound.isoformat() if is_first else "" < text < bound.isoformat():
        return True  # the usual case, without a look at the calendar
    day = value if isinstance(value, date) and not isinstance(value, datetime) else _day(value)
    if day is None:
        return None
    return day >= bound if is_first else day <= bound


def _day(value: object) -> date | None:
    moment = _moment(value)
    return moment.date() if moment else None


def _moment(value: object) -> datetime | None:
    """Return a date of the API as an instant, UTC where it has no offset; None if it is malformed."""
    if not isinstance(value, str):
        return None
    try:
        if len(value) == 10:
            day = date.fromisoformat(value)
            return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
        moment = msgspec.convert(value, datetime)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _contradiction(ignored: list[_Filter], source: Source) -> str:
    asked = " and ".join(one.asked for one in ignored)
    fields = dict.fromkeys(field for one in ignored for field in one.fields)
    has = " and ".join(
        _shown(field, source[field]) for field in fields if source.get(field, UNSET) is not UNSET
    )
    return f"the API ignored {asked}: complaint {brief(source.get('complaint_id', '?'), 40)} has {has}"


def _shown(field: str, value: object) -> str:
    return f"no {field}" if value is None or value == "" else f"{field} {brief(value)}"


# --- the rows of a page --------------------------------------------------------------------------


def _sources(pairs: Pairs, answer: SearchResponse) -> Iterator[Source]:
    """Give of each row the fields that the query filters on; a malformed hit has none."""
    wanted, excluded = _filters(pairs)
    decode = _decoder(frozenset(field for one in (*wanted, *excluded) for field in one.fields))
    for hit in answer.hits.hits:
        source = _decoded(decode, hit)
        if source:
            yield source


@lru_cache(maxsize=16)
def _decoder(fields: frozenset[str]) -> Callable[[msgspec.Raw], dict[str, object]]:
    """Return a reader of these fields of a `_source` object, and of its id."""
    make: Any = TypedDict
    kind = make("Fields", dict.fromkeys((*sorted(fields), "complaint_id"), Any), total=False)
    decode: Callable[[msgspec.Raw], dict[str, object]] = msgspec.json.Decoder(kind).decode
    return decode


def _decoded(decode: Callable[[msgspec.Raw], dict[str, object]], hit: Hit) -> dict[str, object]:
    try:
        return decode(hit.source)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


# --- their order ---------------------------------------------------------------------------------


def _find_disorder(answer: SearchResponse, search_after: str | None) -> str | None:
    hits = [hit for hit in answer.hits.hits if hit.sort]
    if not hits:
        is_part = len(answer.hits.hits) < answer.total
        return "the API sent no sort values: the order is unknown" if answer.hits.hits and is_part else None
    for hit in (hits[0], hits[-1]):
        if _is_sorted_by_another_value(hit):
            return f"the API ignored sort={NEWEST_FIRST}: a complaint is sorted by {_place(hit.sort)}"
    keys = [key for key in (hit.key for hit in hits) if key]
    if keys != sorted(keys, reverse=True):
        first, second = next(pair for pair in pairwise(keys) if pair[1] > pair[0])
        return f"the API ignored sort={NEWEST_FIRST}: {_place(second)} follows {_place(first)}"
    if keys and search_after is not None and keys[0] >= _cursor(search_after):
        return f"the API ignored search_after={brief(search_after)}: {_place(keys[0])} is not after it"
    return None


def _is_sorted_by_another_value(hit: Hit) -> bool:
    """Return whether a row has a date and is sorted by something else: a score is a float, or null."""
    if hit.sort and isinstance(hit.sort[0], int):
        return False
    moment = _moment(_decoded(_decoder(frozenset({"date_received"})), hit).get("date_received"))
    if moment is None:
        return False
    return not hit.key or abs(hit.key[0] - moment.timestamp() * 1000) > TOLERANCE


def _cursor(text: str) -> tuple[int, str]:
    milliseconds, _, identifier = text.partition("_")
    return int(milliseconds), identifier


def _place(sort: Sequence[object] | None) -> str:
    return brief("_".join(map(str, sort or ())))
