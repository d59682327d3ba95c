"""A response of the search API: the parts that paging and its checks need; complaints stay undecoded."""

from contextlib import suppress
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta as Limits

from luigi_etl.api.page import find_hit_spans, replace_surrogates, split_members
from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.common.terminal import brief

# Commas limit the decoded objects, of 100 to 200 bytes each. A hit has 25, with a narrative about 40.
MOST_COMMAS = 600_000
MOST_BYTES_OF_A_HIT = 4_000_000  # 30 times the longest complaint

H = TypeVar("H")
P = TypeVar("P", bound="_Position")
Count = Annotated[int, Limits(ge=0, le=10**12)]  # fits into every database
Line = Annotated[str, Limits(max_length=200, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
Identifier = Annotated[str, Limits(max_length=200)] | int


class _Position(msgspec.Struct, frozen=True, gc=False):
    sort: tuple[int | float | Annotated[str, Limits(max_length=200)] | None, Identifier] | None = None

    @property
    def key(self) -> tuple[int, str] | None:
        """The position in the order: epoch milliseconds and the id as text; None if it is unreadable."""
        if not self.sort:
            return None
        moment, identifier = self.sort
        if isinstance(moment, float) and moment.is_integer():
            moment = int(moment)
        return (moment, str(identifier)) if isinstance(moment, int) else None


class Hit(_Position, frozen=True, gc=False):
    """A hit with the parts that paging needs; `source` is the undecoded complaint."""

    id: Identifier | None = msgspec.field(name="_id", default=None)
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw())

    @property
    def identity(self) -> str | int | None:
        """The id, also if only `sort` contains it; None if it is unreadable."""
        return self.id if self.id is not None else self.sort and self.sort[1]


class Total(msgspec.Struct, frozen=True):
    """The number of matching complaints, over all pages."""

    value: Count
    relation: str = "eq"


class Hits(msgspec.Struct, Generic[H], frozen=True):
    """The hits of a page; `total` was a plain number before September 2021."""

    total: Total | Count
    hits: list[H]


class Shards(msgspec.Struct, frozen=True):
    """The number of parts of the index that failed."""

    failed: Count = 0


class Meta(msgspec.Struct, frozen=True):
    """The state of the index; only this project's sandbox sets `sandbox`."""

    last_indexed: Line | None = None
    total_record_count: Count | None = None
    is_data_stale: bool | None = False
    has_data_issue: bool | None = False
    sandbox: Line | None = None

    @property
    def is_flagged(self) -> bool:
        """Whether the CFPB warns of its data; if so, a missing complaint proves nothing."""
        return bool(self.is_data_stale or self.has_data_issue)


class SearchResponseOf(msgspec.Struct, Generic[H], frozen=True):
    """A response of the search API with hits of any type."""

    hits: Hits[H]
    timed_out: bool = False
    shards: Shards = msgspec.field(name="_shards", default_factory=Shards)
    meta: Meta = msgspec.field(name="_meta", default_factory=Meta)

    @property
    def is_exact(self) -> bool:
        """Whether `total` is the number of matches, not a lower bound."""
        return isinstance(self.hits.total, int) or self.hits.total.relation == "eq"

    @property
    def total(self) -> int:
        """The number of matching complaints."""
        total = self.hits.total
        return total if isinstance(total, int) else total.value


class SearchResponse(SearchResponseOf[Hit], frozen=True):
    """A response of the search API with the parts that paging needs."""

    @property
    def cursor(self) -> str | None:
        """The `search_after` of the next page; None if the last hit has no position."""
        last = self.hits.hits[-1].key if self.hits.hits else None
        return f"{last[0]}_{last[1]}" if last else None


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decoder = msgspec.json.Decoder(SearchResponse)
_raw_hits_decoder = msgspec.json.Decoder(SearchResponseOf[msgspec.Raw])


def count_expected(total: int, limit: int) -> int:
    """Return how many of `total` matches an extraction with `limit` (0 = all) must return."""
    return min(limit or total, total)


def read_response(body: bytes) -> SearchResponse:
    """Read a response; a malformed hit becomes an empty one.

    Raises:
        TransientError: the body is truncated, damaged, or not a response of the search.
        RefusedError: it has more values than a page can have, or a hit that is too long.

    """
    if (commas := body.count(b",")) > MOST_COMMAS:
        raise RefusedError(f"the response has {commas:,} values; lower [ccdb] page_size")
    try:
        response = _decoder.decode(body)
    except DECODE_ERRORS:
        return _read_hit_by_hit(body)
    if len(body) > MOST_BYTES_OF_A_HIT:
        _check_lengths([memoryview(hit.source).nbytes for hit in response.hits.hits])
    return response


def _read_hit_by_hit(body: bytes) -> SearchResponse:
    """Read a response that has malformed hits."""
    response = separate_hits(body)
    hits = Hits(response.hits.total, list(map(read_hit, response.hits.hits)))
    return SearchResponse(hits, response.timed_out, response.shards, response.meta)


def separate_hits(body: bytes) -> SearchResponseOf[bytes]:
    """Return a response with undecoded hits.

    Raises:
        TransientError: the body is truncated, damaged, or not a response of the search.
        RefusedError: a hit is too long.

    """
    text = replace_surrogates(body)
    try:
        with suppress(RecursionError):  # if one hit is nested too deeply, the others may be valid
            _raw_hits_decoder.decode(text)
        spans = find_hit_spans(text)
        start, end = (spans[0][0], spans[-1][1]) if spans else (0, 0)
        response = _raw_hits_decoder.decode(text[:start] + text[end:])
    except (*DECODE_ERRORS, ValueError) as error:
        problem = f"the response is truncated or damaged ({len(body):,} bytes: {brief(error)})"
        raise TransientError(problem) from None
    _check_lengths([end - start for start, end in spans])
    hits = Hits(response.hits.total, [body[start:end].strip() for start, end in spans])
    return SearchResponseOf(hits, response.timed_out, response.shards, response.meta)


def _check_lengths(lengths: list[int]) -> None:
    if (longest := max(lengths, default=0)) > MOST_BYTES_OF_A_HIT:
        raise RefusedError(f"a complaint of {longest:,} bytes is not plausible; the response is discarded")


def read_hit(raw: bytes | msgspec.Raw) -> Hit:
    """Read a whole hit, or else its id and its position, each if it is valid."""
    try:
        return msgspec.json.decode(raw, type=Hit)
    except DECODE_ERRORS:
        pass
    parts = split_members(bytes(raw))
    return Hit(
        sort=_read_part(parts.get(b"sort"), _Position, b'{"sort":%s}').sort,
        id=_read_part(parts.get(b"_id"), Hit, b'{"_id":%s}').id,
    )


def _read_part(value: bytes | None, kind: type[P], template: bytes) -> P:
    """Read one member of a hit; return an empty record if it is missing or malformed."""
    try:
        return msgspec.json.decode(template % value if value else b"{}", type=kind)
    except DECODE_ERRORS:
        return kind()
