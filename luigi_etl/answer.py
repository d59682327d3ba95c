"""An answer of the search API, as far as paging and its proof need it; the complaints are left unread."""

from typing import Generic, TypeVar

import msgspec

from luigi_etl.errors import PassingError
from luigi_etl.pages import readable

H = TypeVar("H")


class _Place(msgspec.Struct, frozen=True, gc=False):
    sort: tuple[int | float | str | None, str | int] | None = None

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

    id: str | int | None = msgspec.field(name="_id", default=None)
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw())

    @property
    def identity(self) -> str | int | None:
        """What tells it from other hits, where anything does."""
        return self.id if self.id is not None else self.sort and self.sort[1]


class Total(msgspec.Struct, frozen=True):
    """How many complaints match, over all pages."""

    value: int
    relation: str = "eq"


class Hits(msgspec.Struct, Generic[H], frozen=True):
    """A page's hits; `total` was a bare number before September 2021."""

    total: Total | int
    hits: list[H]


class Shards(msgspec.Struct, frozen=True):
    """How many parts of the index could not answer."""

    failed: int = 0


class Meta(msgspec.Struct, frozen=True):
    """The state of the index; `sandbox` is set only by the stand-in that comes with this project."""

    last_indexed: str | None = None
    total_record_count: int | None = None
    is_data_stale: bool = False
    has_data_issue: bool = False
    sandbox: str | None = None

    @property
    def is_flagged(self) -> bool:
        """Whether the CFPB itself warns of the data: then what is missing proves nothing."""
        return self.is_data_stale or self.has_data_issue


class AnswerOf(msgspec.Struct, Generic[H], frozen=True):
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


class Answer(AnswerOf[Hit], frozen=True):
    """An answer of the search API, as far as paging needs it."""

    @property
    def cursor(self) -> str | None:
        """What `search_after` has to be for the next page; None where the last hit does not tell."""
        last = self.hits.hits[-1].key if self.hits.hits else None
        return f"{last[0]}_{last[1]}" if last else None


_answers = msgspec.json.Decoder(Answer)
_answers_of_any_hits = msgspec.json.Decoder(AnswerOf[msgspec.Raw])


def expected(total: int, limit: int) -> int:
    """Return how many of `total` matches a walk for `limit` (0 = every one) has to bring."""
    return min(limit or total, total)


def read_answer(body: bytes) -> Answer:
    """Read an answer; hits that are not hits are kept as empty ones.

    Raises:
        PassingError: the body is cut, damaged, or not an answer of the search.

    """
    try:
        return _answers.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_answer_hit_by_hit(body)


def _read_answer_hit_by_hit(body: bytes) -> Answer:
    """Read an answer of which a part, perhaps one hit, is not as it should be."""
    try:
        answer = _answers_of_any_hits.decode(readable(body).decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise PassingError(f"the answer is cut or damaged ({len(body):,} bytes: {error})") from None
    hits = [read_hit(raw) for raw in answer.hits.hits]
    return Answer(Hits(answer.hits.total, hits), answer.timed_out, answer.shards, answer.meta)


def read_hit(raw: msgspec.Raw) -> Hit:
    """Read of a hit what can be read: all, or at least its place in the order, or nothing."""
    for kind in (Hit, _Place):
        try:
            place: _Place = msgspec.json.decode(raw, type=kind)
        except msgspec.DecodeError:
            continue
        return place if isinstance(place, Hit) else Hit(sort=place.sort)
    return Hit()
