"""The result of a check: whether it passed, and a message."""

import io
from dataclasses import dataclass

from luigi_etl.common.luigi_cfg import without_values


@dataclass(frozen=True)
class Finding:
    """What a check found: whether it is well, and in one line what is so and, if not well, what to do."""

    check: str
    well: bool
    message: str


def reason_of(said: io.StringIO, error: BaseException) -> str:
    """Return the reason why a setting was refused."""
    refused = said.getvalue().removeprefix("luigi: error: ").strip()
    return refused or without_values(error) or type(error).__name__


def passed(message: str) -> Finding:
    """Return the finding of a check that passed; the report adds the check's name."""
    return Finding("", True, message)


def failed(message: str) -> Finding:
    """Return the finding of a check that failed; the report adds the check's name."""
    return Finding("", False, message)
