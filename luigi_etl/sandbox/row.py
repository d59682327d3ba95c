"""A complaint in the index, and its sort keys."""

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from luigi_etl.sandbox.generate import Source

Key = tuple[float, str]
SCORE = 1.0
NO_DATE = -(2**63)  # the engine's sort value, in milliseconds, of a complaint without a date


@dataclass(frozen=True)
class Row:
    """A complaint in the index; its id is compared as text."""

    identifier: str
    milliseconds: int
    sent: str
    source: Source
    envelope: dict[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Return a field, or None: a recorded hit may have any format."""
        return self.source.get(name) if isinstance(self.source, dict) else None

    @property
    def key(self) -> Key:
        """The sort key of `created_date`."""
        return (self.milliseconds, self.identifier)

    @property
    def received(self) -> str:
        """The UTC day on which it was received; empty without a date."""
        return "" if self.milliseconds == NO_DATE else moment_of(self.milliseconds).date().isoformat()


def row_of(source: Source) -> Row:
    """Return the row of a complaint."""
    sent = source.get("date_sent_to_company") or ""
    return Row(str(source["complaint_id"]), milliseconds_of(source.get("date_received")), sent[:10], source)


def sort_values(row: Row, by_date: bool) -> list[Any]:
    """Return the values of the cursor `search_after`."""
    return [row.milliseconds if by_date else SCORE, row.identifier]


def key_by_date(row: Row) -> Key:
    """Return the sort key of `created_date`."""
    return row.key


def key_by_id(row: Row) -> Key:
    """Return the sort key of `relevance`: all complaints have the same score."""
    return (SCORE, row.identifier)


def milliseconds_of(instant: str | None) -> int:
    """Return the sort value of a date."""
    if instant is None:
        return NO_DATE
    return int(datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp() * 1000)


def moment_of(milliseconds: int) -> datetime:
    """Return the time (UTC) of a sort value."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
