"""Limits that separate a plausible change of the data from a fault of its source.

The CFPB's index can be empty or half loaded for a while, and fields can change. A run then keeps every row
and draws no conclusion. A person or a later day decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from luigi_etl.common.terminal import one_line
from luigi_etl.snapshot.parse import Summary

# Every complaint has these fields since 2026-08-14 (cfpb/ccdb5-api 1.19).
CURRENT_FIELDS = frozenset(
    (
        *("complaint_id", "company", "company_public_response", "company_response", "date_received"),
        *("date_sent_to_company", "issue", "product", "state", "sub_issue", "sub_product"),
        *("submitted_via", "tags", "timely", "zip_code"),
    )
)
_LONGEST_MESSAGE = 500  # characters: the server chooses the names of new fields
_CONFIRMED_AFTER = timedelta(hours=6)  # and on a later day, because one faulty load can last over midnight
HELD_BACK_REMEDY = "wait (a later day confirms a real loss), or accept it in a new run: --guard-accept"


@dataclass(frozen=True)
class Guard:
    """Limits for lost and rejected complaints; beyond them a run holds back its conclusions.

    - `lost_complaints`, `lost_percent`: a loss above both is implausible
    - `rejected_percent`: the share of a run's hits that may be rejected
    - `expected_fields`: fields that may be missing or new
    - `accept`: hold nothing back
    """

    lost_percent: float = 5.0
    lost_complaints: int = 100
    rejected_percent: float = 1.0
    expected_fields: frozenset[str] = frozenset()
    accept: bool = False

    def holds_back(self, lost: int, before: int) -> bool:
        """Return whether to hold back the loss of `lost` complaints out of `before`."""
        return not self.accept and self.is_implausible(lost, before)

    def is_implausible(self, lost: int, before: int) -> bool:
        """Return whether a loss exceeds both limits."""
        return lost > self.lost_complaints and 100 * lost > self.lost_percent * before

    def find_drift(self, profile: "HitProfile") -> "HitProfile | None":
        """Return the unexpected differences between a run's hits and the API's current form, if any."""
        rejected = profile.rejected if 100 * profile.rejected > self.rejected_percent * profile.hits else 0
        drift = HitProfile(
            profile.hits,
            rejected,
            sorted(set(profile.missing_fields) - self.expected_fields),
            sorted(set(profile.unknown_fields) - self.expected_fields),
        )
        return drift if not self.accept and (drift.is_loss or drift.unknown_fields) else None


class HitProfile(NamedTuple):
    """The number of a run's hits and of the rejected ones, and the missing and unknown fields.

    A field is missing if no complaint of the run has it. `is_flagged`: the CFPB flags its data.
    """

    hits: int = 0
    rejected: int = 0
    missing_fields: Sequence[str] = ()
    unknown_fields: Sequence[str] = ()
    is_flagged: bool = False

    @property
    def is_loss(self) -> bool:
        """Whether data is missing; a new field alone is no loss."""
        return bool(self.rejected or self.missing_fields)

    def __str__(self) -> str:
        problems = [f"{self.rejected:,} of {self.hits:,} hits are not valid complaints"] * bool(self.rejected)
        problems += [f"the API no longer sends {field}" for field in self.missing_fields]
        problems += [f"the API sends a new field {field}" for field in self.unknown_fields]
        fields = [*self.missing_fields, *self.unknown_fields]
        remedy = f"; if this is permanent, set [guard] expected_fields={','.join(fields)}" if fields else ""
        return one_line("; ".join(problems) + remedy)[:_LONGEST_MESSAGE]


def profile_hits(summaries: Iterable[Summary]) -> HitProfile:
    """Return the profile of a run's hits, from the summaries of its parts."""
    parts = list(summaries)
    absent = [set(part.absent_fields) for part in parts if part.parsed]
    return HitProfile(
        sum(part.hits for part in parts),
        sum(part.rejected for part in parts),
        sorted(set.intersection(*absent) & CURRENT_FIELDS) if absent else [],
        sorted({field for part in parts for field in part.unknown_fields}),
        any(part.is_flagged for part in parts),
    )


def latest_confirmed(now: datetime) -> datetime:
    """Return the latest moment of a first observation that `now` confirms."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return min(now - _CONFIRMED_AFTER, midnight - timedelta(minutes=1))


def is_confirmed(first_seen: datetime, now: datetime) -> bool:
    """Return whether `now` confirms a loss: on a later UTC day than `first_seen`, and hours after it."""
    return first_seen <= latest_confirmed(now)
