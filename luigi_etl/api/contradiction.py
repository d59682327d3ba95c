"""A check of responses against their query: rows that the filters exclude, and rows out of order.

The API ignores unknown parameters, and then returns the complaints of another query with status 200.
A field that a row lacks proves nothing; a null contradicts a filter for a value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timezone
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

import msgspec
from msgspec import UNSET

from luigi_etl.api.filters import CHILD_FIELDS, DAY_FIELDS, SEARCH_FILTERS, Pair, group_by_parent
from luigi_etl.api.response import Hit, SearchResponse
from luigi_etl.api.settings import NEWEST_FIRST
from luigi_etl.common.terminal import brief

Pairs = Sequence[Pair]
Source = Mapping[str, object]
Matches = Callable[[Source], bool | None]  # None: the field is missing or malformed

MOST_VALUES = 3  # of one filter in a message
REPLACED = "\ufffd"  # replaces half of a surrogate pair; the parser rejects such a hit
TOLERANCE = 2 * 86_400_000  # milliseconds between a date and its sort value, for missing times and zones


class _Filter(NamedTuple):
    """A filter with all its values; `not_` is removed from its name."""

    text: str
    fields: tuple[str, ...]
    matches: Matches


def find_contradiction(pairs: Pairs, sources: Iterable[Source]) -> str | None:
    """Describe the first row that the filters exclude, in one line; return None if there is none.

    Rows are the API's `_source` objects, or mappings with its field names and `date` objects as days. Filters
    have the same meaning as in `database/sql_filter.py`; a search term is not checked.
    """
    wanted, excluded = _parse_filters(pairs)
    if not wanted and not excluded:
        return None
    for source in sources:
        ignored = next((one for one in wanted if one.matches(source) is False), None)
        if ignored:
            return _describe([ignored], source)
        if excluded and all(one.matches(source) for one in excluded):
            return _describe(excluded, source)
    return None


def find_contradiction_in_page(
    pairs: Pairs, response: SearchResponse, search_after: str | None
) -> str | None:
    """Describe in one line how a response contradicts its query or cursor; return None if it does not."""
    found = find_contradiction(pairs, _read_sources(pairs, response))
    return found or _find_disorder(response, search_after)


# --- the filters ---------------------------------------------------------------------------------


def _parse_filters(pairs: Pairs) -> tuple[list[_Filter], list[_Filter]]:
    """Return the filters that a row must match, and the exclusions that it must not match all."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in SEARCH_FILTERS:
            values.setdefault(name, []).append(value)
    wanted = [_create_filter(name, values[name], name) for name in values if not name.startswith("not_")]
    excluded = [_create_filter(name, values[name], name[4:]) for name in values if name.startswith("not_")]
    return wanted, excluded


def _create_filter(name: str, values: list[str], subject: str) -> _Filter:
    rest = f" or {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
    text = " or ".join(f"{name}={brief(value)}" for value in values[:MOST_VALUES]) + rest
    if subject.endswith(("_min", "_max")):
        field = DAY_FIELDS[subject[:-4]]
        bound = date.fromisoformat(values[0])
        return _Filter(text, (field,), partial(_is_day_within, field, subject.endswith("_min"), bound))
    if subject in CHILD_FIELDS:
        matches = partial(_is_or_is_below, subject, group_by_parent(values))
        return _Filter(text, (subject, CHILD_FIELDS[subject]), matches)
    return _Filter(text, (subject,), partial(_is_one_of, subject, frozenset(values)))


def _is_one_of(field: str, values: Iterable[str], source: Source) -> bool | None:
    value = source.get(field, UNSET)
    if value is None or value == "":
        return False
    if not isinstance(value, str) or (REPLACED in value and value not in values):
        return None
    return value in values


def _is_or_is_below(parent: str, children_of: dict[str, list[str]], source: Source) -> bool | None:
    is_parent = _is_one_of(parent, children_of, source)
    children = children_of.get(str(source.get(parent)))
    return _is_one_of(CHILD_FIELDS[parent], children, source) if is_parent and children else is_parent


def _is_day_within(field: str, is_first: bool, bound: date, source: Source) -> bool | None:
    value = source.get(field, UNSET)
    if value is None or value == "":
        return False
    text = value[:10] if isinstance(value, str) and value.endswith("Z") else ""
    if text > bound.isoformat() if is_first else "" < text < bound.isoformat():
        return True  # the usual case is compared as text, which is faster
    day = value if isinstance(value, date) and not isinstance(value, datetime) else _parse_day(value)
    if day is None:
        return None
    return day >= bound if is_first else day <= bound


def _parse_day(value: object) -> date | None:
    moment = _parse_moment(value)
    return moment.date() if moment else None


def _parse_moment(value: object) -> datetime | None:
    """Return a date of the API in UTC, which is also the default zone; None if it is malformed."""
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


def _describe(ignored: list[_Filter], source: Source) -> str:
    filters = " and ".join(one.text for one in ignored)
    fields = dict.fromkeys(field for one in ignored for field in one.fields)
    values = " and ".join(
        _describe_value(field, source[field]) for field in fields if source.get(field, UNSET) is not UNSET
    )
    return f"the API ignored {filters}: complaint {brief(source.get('complaint_id', '?'), 40)} has {values}"


def _describe_value(field: str, value: object) -> str:
    return f"no {field}" if value is None or value == "" else f"{field} {brief(value)}"


# --- the rows of a page --------------------------------------------------------------------------


def _read_sources(pairs: Pairs, response: SearchResponse) -> Iterator[Source]:
    """Yield the filtered fields of each row; leave out malformed hits."""
    wanted, excluded = _parse_filters(pairs)
    decode = _create_decoder(frozenset(field for one in (*wanted, *excluded) for field in one.fields))
    for hit in response.hits.hits:
        source = _decode(decode, hit)
        if source:
            yield source


@lru_cache(maxsize=16)
def _create_decoder(fields: frozenset[str]) -> Callable[[msgspec.Raw], dict[str, object]]:
    """Return a decoder for these fields of a `_source` object and its id."""
    make: Any = TypedDict
    kind = make("Fields", dict.fromkeys((*sorted(fields), "complaint_id"), Any), total=False)
    decode: Callable[[msgspec.Raw], dict[str, object]] = msgspec.json.Decoder(kind).decode
    return decode


def _decode(decode: Callable[[msgspec.Raw], dict[str, object]], hit: Hit) -> dict[str, object]:
    try:
        return decode(hit.source)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


# --- the order of rows ---------------------------------------------------------------------------


def _find_disorder(response: SearchResponse, search_after: str | None) -> str | None:
    hits = [hit for hit in response.hits.hits if hit.sort]
    if not hits:
        is_partial = 0 < len(response.hits.hits) < response.total
        return "the API sent no sort values: the order is unknown" if is_partial else None
    for hit in (hits[0], hits[-1]):
        if _is_sorted_by_another_value(hit):
            return f"the API ignored sort={NEWEST_FIRST}: a complaint is sorted by {_join(hit.sort)}"
    keys = [key for key in (hit.key for hit in hits) if key]
    if keys != sorted(keys, reverse=True):
        first, second = next(pair for pair in pairwise(keys) if pair[1] > pair[0])
        return f"the API ignored sort={NEWEST_FIRST}: {_join(second)} follows {_join(first)}"
    if keys and search_after is not None and keys[0] >= _parse_cursor(search_after):
        return f"the API ignored search_after={brief(search_after)}: {_join(keys[0])} is not after it"
    return None


def _is_sorted_by_another_value(hit: Hit) -> bool:
    """Return whether a row has a date but is sorted by another value; a score is a float or null."""
    if hit.sort and isinstance(hit.sort[0], int):
        return False
    source = _decode(_create_decoder(frozenset({"date_received"})), hit)
    moment = _parse_moment(source.get("date_received"))
    if moment is None:
        return False
    return not hit.key or abs(hit.key[0] - moment.timestamp() * 1000) > TOLERANCE


def _parse_cursor(text: str) -> tuple[int, str]:
    milliseconds, _, identifier = text.partition("_")
    return int(milliseconds), identifier


def _join(sort: Sequence[object] | None) -> str:
    return brief("_".join(map(str, sort or ())))
