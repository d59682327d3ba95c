"""The expected database and history, computed from reads of the index."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from itertools import groupby
from typing import Any, NamedTuple

from luigi_etl.sandbox.generate import Source
from luigi_etl.sandbox.index import Index

STATES = ("CA", "FL", "GA", "IL", "NC", "NY", "OH", "PA", "TX", "VA")  # the query: most complaints match
FIELDS = (
    *("date_received", "product", "sub_product", "issue", "sub_issue", "complaint_what_happened"),
    *("company_public_response", "company", "state", "zip_code", "tags", "consumer_consent_provided"),
    *("submitted_via", "date_sent_to_company", "company_response", "timely", "consumer_disputed"),
    "has_narrative",
)

Values = dict[str, str | None]  # a complaint's fields as text, as in the history
Truth = Mapping[str, Values]  # the index's complaints by id


class Line(NamedTuple):
    """A line of the history."""

    complaint_id: str
    change: str
    field: str | None
    old: str | None
    new: str | None
    minute: datetime


class IndexRead(NamedTuple):
    """A read of the index in one minute: all complaints of some days, the newest ones, or some ids."""

    minute: datetime
    seen: Truth
    first: str = ""
    last: str = ""
    ids: frozenset[str] = frozenset()

    def covers(self, values: Values) -> bool:
        return self.first <= str(values["date_received"]) <= self.last and is_in_query(values)


def is_in_query(values: Values) -> bool:
    return values["state"] in STATES


def read_days(minute: datetime, truth: Truth, first: str, last: str) -> IndexRead:
    read = IndexRead(minute, {}, first, last)
    return read._replace(seen={one: values for one, values in truth.items() if read.covers(values)})


def read_ids(minute: datetime, truth: Truth, ids: Iterable[str]) -> IndexRead:
    wanted = frozenset(ids)
    return IndexRead(minute, {one: truth[one] for one in wanted & truth.keys()}, ids=wanted)


def read_newest(minute: datetime, truth: Truth, ids: Iterable[str]) -> IndexRead:
    return IndexRead(minute, {one: truth[one] for one in ids})


class Ledger:
    """The expected database and history, computed from each read of the index."""

    def __init__(self) -> None:
        self.held: dict[str, Values] = {}
        self.withdrawn: dict[str, datetime] = {}
        self.lines: list[Line] = []
        self.missed: set[str] = set()

    @property
    def current(self) -> dict[str, Values]:
        return {one: values for one, values in self.held.items() if one not in self.withdrawn}

    def follow(self, reads: Iterable[IndexRead]) -> None:
        """Record reads of the index; withdraw a missing complaint once a lookup by its id finds nothing."""
        for minute, of_minute in groupby(sorted(reads, key=_minute_of), _minute_of):
            in_order = list(of_minute)
            self._note(minute, [read for read in in_order if not read.ids])
            for read in in_order:
                self._look_up(read)

    def _look_up(self, read: IndexRead) -> None:
        self._see(read.minute, read.seen)
        for one in sorted((self.missed & read.ids) - read.seen.keys()):
            self.withdrawn[one] = read.minute
            self.lines.append(Line(one, "withdrawn", None, None, None, read.minute))
        self.missed -= read.ids

    def _note(self, minute: datetime, reads: list[IndexRead]) -> None:
        """Record the reads of one minute."""
        seen: dict[str, Values] = {}
        for read in reads:
            seen |= read.seen
        self._see(minute, seen)
        self.missed -= seen.keys()
        self.missed |= {
            one
            for one, values in self.current.items()
            if one not in seen and any(read.covers(values) for read in reads)
        }

    def _see(self, minute: datetime, seen: Truth) -> None:
        """Record complaints as sent; fields that were not sent keep their values."""
        for one, sent in seen.items():
            if one not in self.held:
                self.held[one] = dict.fromkeys(FIELDS) | sent
                self.lines.append(Line(one, "new", None, None, None, minute))
            before = self.held[one]
            for field, value in sent.items():
                if before[field] != value:
                    self.lines.append(Line(one, "changed", field, before[field], value, minute))
            if self.withdrawn.pop(one, None):
                self.lines.append(Line(one, "returned", None, None, None, minute))
            self.held[one] = before | sent


def _minute_of(read: IndexRead) -> datetime:
    return read.minute


def truth_of(index: Index) -> Truth:
    """Return the complaints of an index, with UTC days, and None for an empty text."""
    return {row.identifier: _values(row.source) for row in index.rows.values()}


def _values(source: Source) -> Values:
    return {field: _text(field, source[field]) for field in FIELDS if field in source}


def _text(field: str, sent: Any) -> str | None:
    if sent is None or sent == "":
        return None
    if field == "has_narrative":
        return "true" if sent else "false"
    if field.startswith("date_"):
        instant = datetime.fromisoformat(str(sent).replace("Z", "+00:00"))
        return instant.astimezone(timezone.utc).date().isoformat() if instant.tzinfo else str(sent)[:10]
    return str(sent)
