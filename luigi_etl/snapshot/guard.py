"""Limits between a plausible change of the data and a fault of its source.

The CFPB's index can be empty or half loaded for a while, and its fields can change their form. A run must not
take either for news: it keeps every row, draws no conclusion, and leaves it to a person or to a later day.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from luigi_etl.common.terminal import one_line
from luigi_etl.snapshot.parse import Summary

# The fields of every complaint since 2026-08-14 (cfpb/ccdb5-api 1.19).
FIELDS_OF_TODAY = frozenset(
    (
        *("complaint_id", "company", "company_public_response", "company_response", "date_received"),
        *("date_sent_to_company", "issue", "product", "state", "sub_issue", "sub_product"),
        *("submitted_via", "tags", "timely", "zip_code"),
    )
)
LONGEST = 500  # characters of a message: the names of new fields are the server's
CONFIRMED_AFTER = timedelta(hours=6)  # and on a later UTC day: two looks at one faulty load prove nothing
RELEASE = "wait, a later day confirms a real loss, or let a new run believe it: --guard-accept"


@dataclass(frozen=True)
class Guard:
    """How much of the known data may vanish, or be unreadable, before a run holds its conclusions back.

    A loss is implausible if it is more than `lost_complaints` and more than `lost_percent` of what was there.
    `rejected_percent` is of a run's hits. `expected_fields` may be missing or unknown without a word.
    `accept` lets every conclusion through.
    """

    lost_percent: float = 5.0
    lost_complaints: int = 100
    rejected_percent: float = 1.0
    expected_fields: frozenset[str] = frozenset()
    accept: bool = False

    def holds_back(self, lost: int, before: int) -> bool:
        """Return whether it is implausible that so many of the complaints that were there are gone."""
        return not self.accept and self.is_implausible(lost, before)

    def is_implausible(self, lost: int, before: int) -> bool:
        """Return whether a loss is above both limits."""
        return lost > self.lost_complaints and 100 * lost > self.lost_percent * before

    def find_drift(self, form: "HitProfile") -> "HitProfile | None":
        """Return how the hits of a run differ from what the API sends today, if they do."""
        rejected = form.rejected if 100 * form.rejected > self.rejected_percent * form.hits else 0
        drift = HitProfile(
            form.hits,
            rejected,
            sorted(set(form.missing_fields) - self.expected_fields),
            sorted(set(form.unknown_fields) - self.expected_fields),
        )
        return drift if not self.accept and (drift.is_loss or drift.unknown_fields) else None


class HitProfile(NamedTuple):
    """What the hits of a run were: how many of them no valid complaints, and their unexpected fields.

    A field of today's API is missing if no complaint of the run has it. `is_flagged`: by the CFPB itself.
    """

    hits: int = 0
    rejected: int = 0
    missing_fields: Sequence[str] = ()
    unknown_fields: Sequence[str] = ()
    is_flagged: bool = False

    @property
    def is_loss(self) -> bool:
        """Whether something is not there: a new field alone costs nothing."""
        return bool(self.rejected or self.missing_fields)

    def __str__(self) -> str:
        problems = [f"{self.rejected:,} of {self.hits:,} hits are no valid complaints"] * bool(self.rejected)
        problems += [f"the API sends no {field} any more" for field in self.missing_fields]
        problems += [f"the API sends a new field {field}" for field in self.unknown_fields]
        fields = [*self.missing_fields, *self.unknown_fields]
        expected = (
            f"; if that is so for good, set [guard] expected_fields={','.join(fields)}" if fields else ""
        )
        return one_line("; ".join(problems) + expected)[:LONGEST]


def profile_hits(summaries: Iterable[Summary]) -> HitProfile:
    """Return what the hits of a run were, from the summaries of its parts."""
    run = list(summaries)
    absent = [set(one.absent_fields) for one in run if one.parsed]
    return HitProfile(
        sum(one.hits for one in run),
        sum(one.rejected for one in run),
        sorted(set.intersection(*absent) & FIELDS_OF_TODAY) if absent else [],
        sorted({field for one in run for field in one.unknown_fields}),
        any(one.is_flagged for one in run),
    )


def latest_confirmed(now: datetime) -> datetime:
    """Return the latest moment at which a loss must have been seen to be confirmed `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return min(now - CONFIRMED_AFTER, midnight - timedelta(minutes=1))


def is_confirmed(first_seen: datetime, now: datetime) -> bool:
    """Return whether `now` is a later UTC day than the moment a loss was first seen, hours after it."""
    return first_seen <= latest_confirmed(now)
