"""One answer of the API, and where its hits stand, found without decoding or recursion."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MOST_TOKENS = 3_000_000  # a page of 10,000 complaints has a quarter of that
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TOKEN = re.compile(rb'"[^"]*"|[\[{]+|[\]}]+|,')  # runs of brackets count as one
_NAME = re.compile(rb'\s*"([^"]*)"\s*:')


@dataclass(frozen=True)
class Page:
    """One answer of the API: the `address` asked (ASCII) and the `body`, JSON in one line of UTF-8.

    A body that was read from a file still has the line feed that ends its line.
    """

    address: str
    body: bytes


def replace_surrogates(body: bytes) -> bytes:
    """Return a body of the same length with every surrogate in it replaced.

    JSON may hold half of a surrogate pair, which is no character (RFC 8259, 8.2). msgspec refuses the
    whole page for it; what stands around it can be read from this copy.
    """
    return _SURROGATE.sub(rb"\\ufffd", body)


def find_hit_spans(body: bytes) -> list[tuple[int, int]]:
    """Return where each hit of an answer begins and ends, without recursion: hits may nest any number deep.

    Raises:
        ValueError: there are no hits in it.

    """
    plain = _without_escapes(body)
    found = 0
    for _ in range(2):  # hits.hits
        found = _member(plain, found, b"hits")
    return list(_items(plain, found))


def members(value: bytes) -> dict[bytes, bytes]:
    """Return the members of a JSON object, unread, without recursion; none where it is not an object.

    Names that are written with escapes are left out.
    """
    plain = _without_escapes(value)
    if not plain.lstrip().startswith(b"{"):
        return {}
    named = ((_NAME.match(plain, start, end), end) for start, end in _items(plain, 0))
    return {name[1]: value[name.end() : end] for name, end in named if name}


def _without_escapes(text: bytes) -> bytes:
    """Return JSON of the same length in which each quotation mark begins or ends a string."""
    return text.replace(b"\\\\", b"__").replace(b'\\"', b"__")


def _member(plain: bytes, start: int, name: bytes) -> int:
    """Return where the value of a member begins, in the first object after `start`."""
    found = None
    for first, end in _items(plain, start):
        named = _NAME.match(plain, first, end)
        if named and named[1] == name:
            found = named.end()
    if found is None:
        raise ValueError(f"no {name.decode()} in it")
    return found


def _items(plain: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Give where the items of the first array or object after `start` begin and end."""
    depth = first = 0
    for token in islice(_TOKEN.finditer(plain, start), MOST_TOKENS):
        kind, at, length = token[0][:1], token.start(), len(token[0])
        if kind in b"[{":
            first = first if depth else at + 1
            depth += length
        elif kind == b"," and depth == 1:
            yield first, at
            first = at + 1
        elif kind in b"]}":
            if length >= depth:
                end = at + depth - 1
                if plain[first:end].strip():
                    yield first, end
                return
            depth -= length
    raise ValueError("a value has no end, or is too complex")
