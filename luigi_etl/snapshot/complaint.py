"""The typed record: a complaint, its columns, and how a hit of the API becomes one or is rejected.

Every field of every era of the API is here: 19 until June 2026, 17 until August, 15 since (16 in a
page the publisher edited). A field may be missing, null or an empty string; missing stays missing,
so that "no longer sent" can be told from "empty".
"""

import base64
from datetime import date, datetime, timezone
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from luigi_etl.api.response import DECODE_ERRORS, SearchResponseOf, read_hit, separate_hits
from luigi_etl.common.errors import SettingError

Text = str | UnsetType | None


class Complaint(msgspec.Struct, kw_only=True, gc=False):
    """A complaint as the API's `_source` has it; a date that `read_page` found is a UTC day, a `date`.

    Its type does not say so, because a text may be empty, and msgspec can't tell that from a date.
    """

    complaint_id: str | int
    date_received: Text = UNSET
    product: Text = UNSET
    sub_product: Text = UNSET
    issue: Text = UNSET
    sub_issue: Text = UNSET
    complaint_what_happened: Text = UNSET
    company_public_response: Text = UNSET
    company: Text = UNSET
    state: Text = UNSET
    zip_code: Text = UNSET
    tags: Text = UNSET
    consumer_consent_provided: Text = UNSET
    submitted_via: Text = UNSET
    date_sent_to_company: Text = UNSET
    company_response: Text = UNSET
    timely: Text = UNSET
    consumer_disputed: Text = UNSET
    has_narrative: bool | Literal[""] | UnsetType | None = UNSET


class Rejection(msgspec.Struct, frozen=True):
    """A hit that is no complaint: why, where in it (a JSON path), and the hit itself."""

    reason: str
    path: str
    hit: msgspec.Raw


class Column(NamedTuple):
    """A column of the CSV: the API's `field`, the CFPB's own `label`, its Table Schema `type`."""

    field: str
    label: str
    type: str
    description: str


# Order and labels are those of the CFPB's own complaints.csv with all of its 18 columns: a notebook
# written for any era of that file reads ours. The last column is the API's alone.
COLUMNS = (
    Column("date_received", "Date received", "date", "Day (UTC) the CFPB received the complaint"),
    Column("product", "Product", "string", "Type of product the consumer named"),
    Column("sub_product", "Sub-product", "string", "Type of sub-product"),
    Column("issue", "Issue", "string", "Issue the consumer named"),
    Column("sub_issue", "Sub-issue", "string", "Sub-issue"),
    Column(
        "complaint_what_happened",
        "Consumer complaint narrative",
        "string",
        "The consumer's account, personal data masked by the CFPB with X; not published since 2026-08",
    ),
    Column("company_public_response", "Company public response", "string", "The company's public response"),
    Column("company", "Company", "string", "Company the complaint is about"),
    Column("state", "State", "string", "State or territory of the consumer's mailing address"),
    Column(
        "zip_code", "ZIP code", "string", "ZIP code, or its first three digits and XX; text, not a number"
    ),
    Column("tags", "Tags", "string", "Older American, Servicemember, or both"),
    Column(
        "consumer_consent_provided",
        "Consumer consent provided?",
        "string",
        "Whether the consumer agreed to publish the narrative; not published since 2026-06",
    ),
    Column("submitted_via", "Submitted via", "string", "How the complaint reached the CFPB"),
    Column(
        "date_sent_to_company", "Date sent to company", "date", "Day (UTC) the CFPB sent it to the company"
    ),
    Column("company_response", "Company response to consumer", "string", "How the company responded"),
    Column("timely", "Timely response?", "string", "Whether the company responded in time: Yes or No"),
    Column(
        "consumer_disputed",
        "Consumer disputed?",
        "string",
        "Whether the consumer disputed the response; not published since 2026-06",
    ),
    Column("complaint_id", "Complaint ID", "string", "The complaint's number; compare it as text"),
    Column(
        "has_narrative", "Has narrative?", "boolean", "Whether there is a narrative; not sent since 2026-08"
    ),
)
DEFAULT_COLUMNS = COLUMNS[:-1]
LONGEST_ID = 100  # digits; PostgreSQL can't index a text of any length
_BY_FIELD = {column.field: column for column in COLUMNS}
_BY_LABEL = {column.label: column for column in COLUMNS}


def parse_columns(text: str) -> tuple[Column, ...]:
    """Return the columns named by the API's field names, comma-separated; all of the CFPB's for none.

    Raises:
        SettingError: a name is unknown or repeated.

    """
    fields = [name.strip() for name in text.split(",") if name.strip()]
    for name in fields:
        if name not in _BY_FIELD:
            import difflib

            near = difflib.get_close_matches(name, _BY_FIELD, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(_BY_FIELD)}"
            raise SettingError(f"[storage] columns: there is no column {name!r}; {hint}")
    if len(set(fields)) < len(fields):
        raise SettingError(f"[storage] columns: a column is named twice in {text!r}")
    return tuple(_BY_FIELD[name] for name in fields) or DEFAULT_COLUMNS


def columns_labelled(labels: list[str]) -> tuple[Column, ...]:
    """Return the columns of a document's header.

    Raises:
        ValueError: a label is not one of ours, or there twice, or there is none.

    """
    if not labels or len(set(labels)) < len(labels):
        raise ValueError("its header is empty or names a column twice")
    try:
        return tuple(_BY_LABEL[label] for label in labels)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is not a column") from None


# --- from a page to complaints -------------------------------------------------------------------


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
    return DecodedPage(
        [_normalised(hit.source) for hit in answer.hits.hits], fields - _BY_FIELD.keys(), answer
    )


def _read_hit_by_hit(body: bytes) -> DecodedPage:
    unknown: set[str] = set()
    answer = separate_hits(body)
    return DecodedPage([_read_hit(raw, unknown) for raw in answer.hits.hits], unknown, answer)


def _read_hit(raw: bytes, unknown: set[str]) -> Complaint | Rejection:
    try:
        complaint = _normalised(_one_hit.decode(raw).source)
        unknown.update(_one_hits_fields.decode(raw).source.keys() - _BY_FIELD.keys())
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
