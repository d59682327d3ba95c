"""Names and values of a query string."""

from urllib.parse import unquote_plus

from luigi_etl.api.filters import FILTERS, Pair, suggest_filter
from luigi_etl.common.errors import QueryError


def split_query(text: str) -> list[Pair]:
    """Split a query string into decoded pairs, as HTML forms encode them (`+` is a space)."""
    pairs = []
    for part in text.split("&"):
        if not part:
            continue
        name, equals, value = part.partition("=")
        if not equals:
            hint = "" if part in FILTERS else suggest_filter(part)
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
