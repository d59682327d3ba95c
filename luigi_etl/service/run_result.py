"""The result of one unattended run."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RunResult:
    """The result of a run: times (aware UTC), the exit code, and the error of a failure in one line.

    `is_skipped`: another run of the job is under way.
    """

    began: datetime
    ended: datetime
    exit_code: int
    error: str = ""
    is_skipped: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the run did its work."""
        return self.exit_code == 0

    @property
    def is_failure(self) -> bool:
        """Whether the run failed and was not skipped."""
        return not (self.is_success or self.is_skipped)
