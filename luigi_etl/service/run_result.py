"""The result of one unattended run."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Ended:
    """When a run began and ended (aware UTC), its exit code, and of a failed one why, in one line.

    `is_skipped`: another run is at it.
    """

    began: datetime
    at: datetime
    code: int
    error: str = ""
    is_skipped: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the run did what it was to do."""
        return self.code == 0

    @property
    def is_failure(self) -> bool:
        """Whether the run failed, and no other is at it."""
        return not (self.is_success or self.is_skipped)
