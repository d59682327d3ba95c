"""Observations: a snapshot's complaints with the types of the database's columns."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from luigi_etl.api.page import replace_surrogates
from luigi_etl.api.response import read_hit
from luigi_etl.common.errors import DamagedFileError
from luigi_etl.database.schema import DATES, FIELDS
from luigi_etl.snapshot.complaint import Complaint, Rejection
from luigi_etl.snapshot.datapackage import HASH_PREFIX
from luigi_etl.snapshot.decoding import find_fault_of_id

Value = str | date | bool | None
ObservedValue = Value | UnsetType  # UNSET: the API did not send the field
FIELD_BITS = {field: 1 << at for at, field in enumerate(FIELDS)}  # of the column `sent`
_BITS = list(FIELD_BITS.values())
_ALL_SENT = sum(_BITS)
ALL_UNSET: tuple[ObservedValue, ...] = (UNSET,) * len(FIELDS)
_complaint_decoder = msgspec.json.Decoder(Complaint)


class Observation(NamedTuple):
    """A complaint in one snapshot; `values` are in the order of `schema.FIELDS`."""

    complaint_id: str
    values: tuple[ObservedValue, ...]

    @property
    def sent(self) -> int:
        """A bit mask of the fields that were sent."""
        if UNSET not in self.values:
            return _ALL_SENT
        return sum([bit for value, bit in zip(self.values, _BITS, strict=True) if value is not UNSET])


def read_observations(parsed: Path, parsed_hash: str) -> Iterator[Observation]:
    """Yield the parsed complaints of a snapshot.

    Null and the empty string become None. NUL, which PostgreSQL can't store, becomes U+FFFD.

    Raises:
        DamagedFileError: the file can't be read, or, at its end, its hash differs.

    """
    sha256 = hashlib.sha256()
    try:
        with parsed.open("rb") as stream:
            for line in stream:
                sha256.update(line)
                complaint = _complaint_decoder.decode(line)
                yield Observation(str(complaint.complaint_id), _values(complaint))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError.of(parsed, error, "parse again") from error
    if HASH_PREFIX + sha256.hexdigest() != parsed_hash:
        raise DamagedFileError.of(parsed, "was changed since it was stored", "parse again")


def read_rejected_ids(rejected: Path) -> Iterator[str | None]:
    """Yield the ids of rejected hits, and None for a hit without a valid id.

    Raises:
        DamagedFileError: the file can't be read.

    """
    try:
        with rejected.open("rb") as stream:
            for line in stream:
                identity = read_hit(_rejection_decoder.decode(replace_surrogates(line)).hit).identity
                yield _as_id(identity)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFileError.of(rejected, error, "parse again") from error


def convert_observations(results: Iterable[Complaint | Rejection]) -> Iterator[Observation]:
    """Yield the observations of a page; a rejected hit has only its id."""
    for one in results:
        if isinstance(one, Complaint):
            yield Observation(str(one.complaint_id), _values(one))
        elif identity := _as_id(read_hit(one.hit).identity):
            yield Observation(identity, ALL_UNSET)


def as_history_text(value: Value) -> str | None:
    """Return a value as the history stores it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else value


def _as_id(identity: object) -> str | None:
    text = str(identity)
    return None if find_fault_of_id(text) else text


class _Rejected(msgspec.Struct):
    hit: msgspec.Raw


_rejection_decoder = msgspec.json.Decoder(_Rejected)


def _values(complaint: Complaint) -> tuple[ObservedValue, ...]:
    return tuple([_value(field, getattr(complaint, field)) for field in FIELDS])


def _value(field: str, sent: Any) -> ObservedValue:
    if sent is None or sent == "":
        return None
    if field in DATES and isinstance(sent, str):
        return date.fromisoformat(sent)
    return _without_nul(sent) if isinstance(sent, str) else sent


def _without_nul(text: str) -> str:
    """Replace NUL, which PostgreSQL can't store."""
    return text.replace("\0", "\ufffd")
