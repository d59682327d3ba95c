"""The decoding of a page: each hit becomes a complaint or a rejected hit."""

import base64
from datetime import date, datetime, timezone
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from luigi_etl.api.response import DECODE_ERRORS, SearchResponseOf, read_hit, separate_hits
from luigi_etl.snapshot.complaint import Complaint, Rejection

LONGEST_ID = 18  # digits; they fit into 64 bits
_KNOWN_FIELDS = frozenset(Complaint.__struct_fields__)


class DecodedPage(NamedTuple):
    """The complaints and rejected hits of a page, in its order; its unknown fields; the response."""

    results: list[Complaint | Rejection]
    unknown_fields: set[str]
    response: SearchResponseOf[Any]


_Instant = datetime | UnsetType | None


class _CurrentComplaint(Complaint, forbid_unknown_fields=True, kw_only=True):
    """A complaint in the API's current form: known fields only, and dates as instants."""

    date_received: _Instant = UNSET  # type: ignore[assignment]  # `_normalize` replaces it
    date_sent_to_company: _Instant = UNSET  # type: ignore[assignment]


class _CurrentHit(msgspec.Struct, gc=False):
    source: _CurrentComplaint = msgspec.field(name="_source")


class _Hit(msgspec.Struct, gc=False):
    source: Complaint = msgspec.field(name="_source")


class _HitFields(msgspec.Struct):
    source: dict[str, msgspec.Raw] = msgspec.field(name="_source")


_current_page_decoder = msgspec.json.Decoder(SearchResponseOf[_CurrentHit])
_page_decoder = msgspec.json.Decoder(SearchResponseOf[_Hit])
_page_fields_decoder = msgspec.json.Decoder(SearchResponseOf[_HitFields])
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)
_hit_decoder = msgspec.json.Decoder(_Hit)
_hit_fields_decoder = msgspec.json.Decoder(_HitFields)


class _InvalidValueError(Exception):
    """A value of a hit that has the right type but is invalid."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.field = field


def read_page(body: bytes) -> DecodedPage:
    """Decode a page into complaints and rejected hits; an invalid hit does not affect the others.

    A page in the expected form is decoded as a whole, which is fast; any other page hit by hit.

    Raises:
        TransientError: the body is not a page of hits.
        RefusedError: a hit is too long for a complaint.

    """
    for read in (_read_current_form, _read_any_form):
        try:
            return read(body)
        except (*DECODE_ERRORS, _InvalidValueError):
            pass
    return _read_hit_by_hit(body)


def _read_current_form(body: bytes) -> DecodedPage:
    response = _current_page_decoder.decode(body)
    return DecodedPage([_normalize(hit.source) for hit in response.hits.hits], set(), response)


def _read_any_form(body: bytes) -> DecodedPage:
    """Decode a page with unknown fields, or with dates that are not instants."""
    response = _page_decoder.decode(body)
    fields = {field for hit in _page_fields_decoder.decode(body).hits.hits for field in hit.source}
    unknown = fields - _KNOWN_FIELDS
    return DecodedPage([_normalize(hit.source) for hit in response.hits.hits], unknown, response)


def _read_hit_by_hit(body: bytes) -> DecodedPage:
    unknown: set[str] = set()
    response = separate_hits(body)
    return DecodedPage([_read_hit(raw, unknown) for raw in response.hits.hits], unknown, response)


def _read_hit(raw: bytes, unknown: set[str]) -> Complaint | Rejection:
    try:
        complaint = _normalize(_hit_decoder.decode(raw).source)
        unknown.update(_hit_fields_decoder.decode(raw).source.keys() - _KNOWN_FIELDS)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        return Rejection(reason, path.strip("`") or "$", _keep_verbatim(raw))
    except RecursionError:
        return Rejection("nested too deeply", "$", _keep_as_base64(raw))
    except DECODE_ERRORS:
        return Rejection("not Unicode text", "$", _keep_verbatim(raw))
    except _InvalidValueError as error:
        return Rejection(str(error), f"$._source.{error.field}", _keep_verbatim(raw))
    return complaint


def _keep_verbatim(raw: bytes) -> msgspec.Raw:
    """Return a hit unchanged, or as base64 if it would make the file of rejected hits invalid JSON."""
    try:
        _raw_decoder.decode(raw.decode())
    except msgspec.DecodeError:  # half a surrogate pair, which other JSON readers accept
        return msgspec.Raw(raw)
    except (UnicodeDecodeError, RecursionError):
        return _keep_as_base64(raw)
    return msgspec.Raw(raw)


def _keep_as_base64(raw: bytes) -> msgspec.Raw:
    """Return a JSON object with a hit's id and its bytes in base64."""
    encoded = {"_id": read_hit(raw).identity, "base64": base64.b64encode(raw).decode()}
    return msgspec.Raw(msgspec.json.encode(encoded))


def _normalize(complaint: Complaint) -> Complaint:
    """Check the id and the dates of a complaint, and replace dates with UTC days."""
    identifier = str(complaint.complaint_id)
    if fault := find_fault_of_id(identifier):
        raise _InvalidValueError(fault, "complaint_id")
    complaint.complaint_id = identifier
    if received := complaint.date_received:
        complaint.date_received = _utc_day(received, "date_received")
    if sent := complaint.date_sent_to_company:
        complaint.date_sent_to_company = _utc_day(sent, "date_sent_to_company")
    return complaint


def find_fault_of_id(identifier: str) -> str:
    """Return the reason why a text is no complaint's id, or an empty text."""
    if not (identifier.isascii() and identifier.isdecimal()):
        shown = identifier if len(identifier) <= 40 else identifier[:40] + "..."
        return f"the id is not a number: {shown!r}"
    if identifier[0] == "0" < identifier:
        return f"the id starts with 0: {identifier[:40]}"
    return f"the id has {len(identifier):,} digits" if len(identifier) > LONGEST_ID else ""


def _utc_day(when: str | datetime, field: str) -> Any:
    """Return the UTC day of a date or of an instant (RFC 3339; without an offset it is UTC)."""
    if isinstance(when, datetime) and when.tzinfo is timezone.utc:  # the fast path, for almost all dates
        return when.date()
    try:
        if isinstance(when, str) and len(when) == 10:
            return msgspec.convert(when, date)
        instant = msgspec.convert(when, datetime) if isinstance(when, str) else when
        if instant.tzinfo is not timezone.utc and instant.tzinfo is not None:
            instant = instant.astimezone(timezone.utc)
        return instant.date()
    except (ValueError, OverflowError):
        raise _InvalidValueError(f"not a date: {str(when)[:40]!r}", field) from None
