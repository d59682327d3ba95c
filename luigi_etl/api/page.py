"""A response of the API as bytes, and the positions of its hits, found without recursion."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MOST_TOKENS = 3_000_000  # a page of 10,000 complaints has a quarter of that
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TOKEN = re.compile(rb'"[^"]*"|[\[{]+|[\]}]+|,')  # a run of brackets is one token
_NAME = re.compile(rb'\s*"([^"]*)"\s*:')


@dataclass(frozen=True)
class Page:
    """A response of the API: the requested `address` (ASCII) and the `body`, one line of JSON (UTF-8).

    A body from a file still has its final line feed.
    """

    address: str
    body: bytes


def replace_surrogates(body: bytes) -> bytes:
    """Return a body of the same length with every surrogate replaced.

    JSON may contain half of a surrogate pair (RFC 8259, 8.2). msgspec then refuses the whole page; the other
    hits can be decoded from this copy.
    """
    return _SURROGATE.sub(rb"\\ufffd", body)


def find_hit_spans(body: bytes) -> list[tuple[int, int]]:
    """Return where each hit begins and ends; without recursion, because a hit may be nested at any depth.

    Raises:
        ValueError: the body has no hits.

    """
    plain = _mask_escapes(body)
    start = 0
    for _ in range(2):  # hits.hits
        start = _find_member(plain, start, b"hits")
    return list(_find_items(plain, start))


def split_members(value: bytes) -> dict[bytes, bytes]:
    """Return the undecoded members of a JSON object, without recursion; none if it is not an object.

    Names with escapes are left out.
    """
    plain = _mask_escapes(value)
    if not plain.lstrip().startswith(b"{"):
        return {}
    named = ((_NAME.match(plain, start, end), end) for start, end in _find_items(plain, 0))
    return {name[1]: value[name.end() : end] for name, end in named if name}


def _mask_escapes(text: bytes) -> bytes:
    """Return JSON of the same length in which every quotation mark begins or ends a string."""
    return text.replace(b"\\\\", b"__").replace(b'\\"', b"__")


def _find_member(plain: bytes, start: int, name: bytes) -> int:
    """Return where the value of a member begins, in the first object after `start`."""
    found = None
    for first, end in _find_items(plain, start):
        named = _NAME.match(plain, first, end)
        if named and named[1] == name:
            found = named.end()
    if found is None:
        raise ValueError(f"it has no {name.decode()}")
    return found


def _find_items(plain: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each item of the first array or object after `start` begins and ends."""
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
