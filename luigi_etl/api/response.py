"""An answer of the search API, as far as paging and its proof need it; the complaints are left unread."""

from contextlib import suppress
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta as Limits

from luigi_etl.api.page import find_hit_spans, members, replace_surrogates
from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.common.terminal import brief

# Commas in an answer, and so the objects that may be made of it, each of a hundred bytes or two. A hit has
# 25 of them, and with a narrative about 40.
MOST_COMMAS = 600_000
MOST_BYTES_OF_A_HIT = 4_000_000  # the longest complaint has a thirtieth of that

H = TypeVar("H")
P = TypeVar("P", bound="_Place")
Count = Annotated[int, Limits(ge=0, le=10**12)]  # what any database can keep
Line = Annotated[str, Limits(max_length=200, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
Identifier = Annotated[str, Limits(max_length=200)] | int


class _Place(msgspec.Struct, frozen=True, gc=False):
    sort: tuple[int | float | Annotated[str, Limits(max_length=200)] | None, Identifier] | None = None

    @property
    def key(self) -> tuple[int, str] | None:
        """The place in the order: epoch milliseconds and the id as text; None where it can't be read."""
        if not self.sort:
            return None
        moment, identifier = self.sort
        if isinstance(moment, float) and moment.is_integer():
            moment = int(moment)
        return (moment, str(identifier)) if isinstance(moment, int) else None


class Hit(_Place, frozen=True, gc=False):
    """A hit as far as paging and its checks need it; `source` is the unread complaint."""

    id: Identifier | None = msgspec.field(name="_id", default=None)
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw())

    @property
    def identity(self) -> str | int | None:
        """What tells it from other hits, where anything does."""
        return self.id if self.id is not None else self.sort and self.sort[1]


class Total(msgspec.Struct, frozen=True):
    """How many complaints match, over all pages."""

    value: Count
    relation: str = "eq"


class Hits(msgspec.Struct, Generic[H], frozen=True):
    """A page's hits; `total` was a bare number before September 2021."""

    total: Total | Count
    hits: list[H]


class Shards(msgspec.Struct, frozen=True):
    """How many parts of the index could not answer."""

    failed: Count = 0


class Meta(msgspec.Struct, frozen=True):
    """The state of the index; `sandbox` is set only by the stand-in that comes with this project."""

    last_indexed: Line | None = None
    total_record_count: Count | None = None
    is_data_stale: bool | None = False
    has_data_issue: bool | None = False
    sandbox: Line | None = None

    @property
    def is_flagged(self) -> bool:
        """Whether the CFPB itself warns of the data: then what is missing proves nothing."""
        return bool(self.is_data_stale or self.has_data_issue)


class SearchResponseOf(msgspec.Struct, Generic[H], frozen=True):
    """An answer of the search API, whatever is read of its hits."""

    hits: Hits[H]
    timed_out: bool = False
    shards: Shards = msgspec.field(name="_shards", default_factory=Shards)
    meta: Meta = msgspec.field(name="_meta", default_factory=Meta)

    @property
    def is_exact(self) -> bool:
        """Tell whether `total` is the number of matches, not a lower bound of it."""
        return isinstance(self.hits.total, int) or self.hits.total.relation == "eq"

    @property
    def total(self) -> int:
        """How many complaints match."""
        total = self.hits.total
        return total if isinstance(total, int) else total.value


class SearchResponse(SearchResponseOf[Hit], frozen=True):
    """An answer of the search API, as far as paging needs it."""

    @property
    def cursor(self) -> str | None:
        """What `search_after` has to be for the next page; None where the last hit does not tell."""
        last = self.hits.hits[-1].key if self.hits.hits else None
        return f"{last[0]}_{last[1]}" if last else None


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_answers = msgspec.json.Decoder(SearchResponse)
_answers_of_any_hits = msgspec.json.Decoder(SearchResponseOf[msgspec.Raw])


def expected(total: int, limit: int) -> int:
    """Return how many of `total` matches a walk for `limit` (0 = every one) has to bring."""
    return min(limit or total, total)


def read_response(body: bytes) -> SearchResponse:
    """Read an answer; hits that are not hits are kept as empty ones.

    Raises:
        TransientError: the body is cut, damaged, or not an answer of the search.
        RefusedError: it holds more than a page can.

    """
    if (commas := body.count(b",")) > MOST_COMMAS:
        raise RefusedError(f"the answer holds {commas:,} values; lower [ccdb] page_size")
    try:
        answer = _answers.decode(body)
    except DECODE_ERRORS:
        return _read_answer_hit_by_hit(body)
    if len(body) > MOST_BYTES_OF_A_HIT:
        _check_longest([memoryview(hit.source).nbytes for hit in answer.hits.hits])
    return answer


def _read_answer_hit_by_hit(body: bytes) -> SearchResponse:
    """Read an answer of which a part, perhaps one hit, is not as it should be."""
    answer = separate_hits(body)
    found = Hits(answer.hits.total, list(map(read_hit, answer.hits.hits)))
    return SearchResponse(found, answer.timed_out, answer.shards, answer.meta)


def separate_hits(body: bytes) -> SearchResponseOf[bytes]:
    """Return an answer with its hits as they came, unread.

    Raises:
        TransientError: the body is cut, damaged, or not an answer of the search.
        RefusedError: a hit is longer than complaints are.

    """
    text = replace_surrogates(body)
    try:
        with suppress(RecursionError):  # of one hit: the others may be as they should be
            _answers_of_any_hits.decode(text)
        spans = find_hit_spans(text)
        start, end = (spans[0][0], spans[-1][1]) if spans else (0, 0)
        answer = _answers_of_any_hits.decode(text[:start] + text[end:])
    except (*DECODE_ERRORS, ValueError) as error:
        raise TransientError(f"the answer is cut or damaged ({len(body):,} bytes: {brief(error)})") from None
    _check_longest([end - start for start, end in spans])
    hits = Hits(answer.hits.total, [body[start:end].strip() for start, end in spans])
    return SearchResponseOf(hits, answer.timed_out, answer.shards, answer.meta)


def _check_longest(lengths: list[int]) -> None:
    if (longest := max(lengths, default=0)) > MOST_BYTES_OF_A_HIT:
        raise RefusedError(f"a complaint of {longest:,} bytes can't be true; nothing of the answer is used")


def read_hit(raw: bytes | msgspec.Raw) -> Hit:
    """Read of a hit what can be read: all, or its id and its place in the order, or nothing."""
    try:
        return msgspec.json.decode(raw, type=Hit)
    except DECODE_ERRORS:
        pass
    parts = members(bytes(raw))
    return Hit(
        sort=_part(parts.get(b"sort"), _Place, b'{"sort":%s}').sort,
        id=_part(parts.get(b"_id"), Hit, b'{"_id":%s}').id,
    )


def _part(value: bytes | None, kind: type[P], whole: bytes) -> P:
    """Read a part of a hit, if there is one and it can be read."""
    try:
        return msgspec.json.decode(whole % value if value else b"{}", type=kind)
    except DECODE_ERRORS:
        return kind()
