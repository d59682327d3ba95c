"""Query strings, split into names and values."""

from urllib.parse import unquote_plus

from luigi_etl.api.filters import FILTERS, Pair, suggest_filter
from luigi_etl.common.errors import QueryError


def split_query(text: str) -> list[Pair]:
    """Split a query string into decoded names and values; as in HTML forms, `+` is a space.

    Raises:
        QueryError: a part has no value, or is not UTF-8.

    """
    return [_split_part(part) for part in text.split("&") if part]


def _split_part(part: str) -> Pair:
    name, equals, value = part.partition("=")
    if not equals:
        hint = "" if part in FILTERS else suggest_filter(part)
        raise QueryError(f"query: {part!r} has no value; write it as name=value, a & in a value as %26{hint}")
    return _decode(name), _decode(value)


def _decode(text: str) -> str:
    try:
        decoded = unquote_plus(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise QueryError(f"query: {text!r} is not UTF-8 text") from None
    return decoded
