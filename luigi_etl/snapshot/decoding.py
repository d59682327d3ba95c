"""The decoding of a page: each hit becomes a complaint or a rejection."""

import base64
from datetime import date, datetime, timezone
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from luigi_etl.api.response import DECODE_ERRORS, SearchResponseOf, read_hit, separate_hits
from luigi_etl.snapshot.complaint import Complaint, Rejection

LONGEST_ID = 100  # digits; PostgreSQL can't index a text of any length
_KNOWN_FIELDS = frozenset(Complaint.__struct_fields__)


class DecodedPage(NamedTuple):
    """What a page holds, in its order, the fields in it that this module does not know, and its answer."""

    results: list[Complaint | Rejection]
    unknown_fields: set[str]
    answer: SearchResponseOf[Any]


Instant = datetime | UnsetType | None


class _ComplaintOfToday(Complaint, forbid_unknown_fields=True, kw_only=True):
    """A complaint as the API sends it today: no field that is not in the record, and instants for days."""

    date_received: Instant = UNSET  # type: ignore[assignment]  # until it is normalised
    date_sent_to_company: Instant = UNSET  # type: ignore[assignment]


class _HitOfToday(msgspec.Struct, gc=False):
    source: _ComplaintOfToday = msgspec.field(name="_source")


class _Hit(msgspec.Struct, gc=False):
    source: Complaint = msgspec.field(name="_source")


class _HitFields(msgspec.Struct):
    source: dict[str, msgspec.Raw] = msgspec.field(name="_source")


_answers_of_today = msgspec.json.Decoder(SearchResponseOf[_HitOfToday])
_answers = msgspec.json.Decoder(SearchResponseOf[_Hit])
_fields_of_answers = msgspec.json.Decoder(SearchResponseOf[_HitFields])
_raw_hit = msgspec.json.Decoder(msgspec.Raw)
_one_hit = msgspec.json.Decoder(_Hit)
_one_hits_fields = msgspec.json.Decoder(_HitFields)


class _NotAComplaintError(Exception):
    """A hit whose JSON is as it should be, but not what it says."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.field = field


def read_page(body: bytes) -> DecodedPage:
    """Turn a page into complaints and rejections; one bad hit never costs the others.

    The page is read at once where all is as expected, hit by hit where anything is not.

    Raises:
        TransientError: this is no page of hits.
        RefusedError: a hit is longer than complaints are.

    """
    for read in (_read_as_of_today, _read_at_once):
        try:
            return read(body)
        except (*DECODE_ERRORS, _NotAComplaintError):
            pass
    return _read_hit_by_hit(body)


def _read_as_of_today(body: bytes) -> DecodedPage:
    answer = _answers_of_today.decode(body)
    return DecodedPage([_normalised(hit.source) for hit in answer.hits.hits], set(), answer)


def _read_at_once(body: bytes) -> DecodedPage:
    """Read a page with a field that is not in the record, or with days that are no instants."""
    answer = _answers.decode(body)
    fields = {field for hit in _fields_of_answers.decode(body).hits.hits for field in hit.source}
    return DecodedPage([_normalised(hit.source) for hit in answer.hits.hits], fields - _KNOWN_FIELDS, answer)


def _read_hit_by_hit(body: bytes) -> DecodedPage:
    unknown: set[str] = set()
    answer = separate_hits(body)
    return DecodedPage([_read_hit(raw, unknown) for raw in answer.hits.hits], unknown, answer)


def _read_hit(raw: bytes, unknown: set[str]) -> Complaint | Rejection:
    try:
        complaint = _normalised(_one_hit.decode(raw).source)
        unknown.update(_one_hits_fields.decode(raw).source.keys() - _KNOWN_FIELDS)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        return Rejection(reason, path.strip("`") or "$", _verbatim(raw))
    except RecursionError:
        return Rejection("nested too deeply", "$", _as_bytes(raw))
    except DECODE_ERRORS:
        return Rejection("not Unicode text", "$", _verbatim(raw))
    except _NotAComplaintError as error:
        return Rejection(str(error), f"$._source.{error.field}", _verbatim(raw))
    return complaint


def _verbatim(raw: bytes) -> msgspec.Raw:
    """Return a hit as JSON; one that no JSON reader would read as an object that holds its bytes."""
    try:
        _raw_hit.decode(raw.decode())
    except msgspec.DecodeError:  # half of a character: `readable` mends that
        return msgspec.Raw(raw)
    except (UnicodeDecodeError, RecursionError):
        return _as_bytes(raw)
    return msgspec.Raw(raw)


def _as_bytes(raw: bytes) -> msgspec.Raw:
    """Return a hit that no JSON reader would read as an object that holds its bytes, beside its id."""
    encoded = {"_id": read_hit(raw).identity, "base64": base64.b64encode(raw).decode()}
    return msgspec.Raw(msgspec.json.encode(encoded))


def _normalised(complaint: Complaint) -> Complaint:
    """Check and bring to one form what the types alone can't: the id and the days."""
    identifier = str(complaint.complaint_id)
    if not (identifier.isascii() and identifier.isdecimal()):
        shown = identifier if len(identifier) <= 40 else identifier[:40] + "..."
        raise _NotAComplaintError(f"the id is not a number: {shown!r}", "complaint_id")
    if len(identifier) > LONGEST_ID:
        raise _NotAComplaintError(f"the id has {len(identifier):,} digits", "complaint_id")
    complaint.complaint_id = identifier
    if received := complaint.date_received:
        complaint.date_received = _utc_day(received, "date_received")
    if sent := complaint.date_sent_to_company:
        complaint.date_sent_to_company = _utc_day(sent, "date_sent_to_company")
    return complaint


def _utc_day(when: str | datetime, field: str) -> Any:
    """Return the UTC day, a `date`, of an instant (RFC 3339; UTC where it has no offset) or a plain date."""
    if isinstance(when, datetime) and when.tzinfo is timezone.utc:  # each complaint has two
        return when.date()
    try:
        if isinstance(when, str) and len(when) == 10:
            return msgspec.convert(when, date)
        instant = msgspec.convert(when, datetime) if isinstance(when, str) else when
        if instant.tzinfo is not timezone.utc and instant.tzinfo is not None:
            instant = instant.astimezone(timezone.utc)
        return instant.date()
    except (ValueError, OverflowError):
        raise _NotAComplaintError(f"not a date: {str(when)[:40]!r}", field) from None
