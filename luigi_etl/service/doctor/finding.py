"""The result of a check: whether it passed, and a message."""

import io
from dataclasses import dataclass

from luigi_etl.common.luigi_cfg import describe_config_error


@dataclass(frozen=True)
class Finding:
    """The result of a check; the message of a failed one ends with the remedy."""

    check: str
    well: bool
    message: str


def passed(message: str) -> Finding:
    """Return the finding of a check that passed; the report adds the check's name."""
    return Finding("", True, message)


def failed(message: str) -> Finding:
    """Return the finding of a check that failed; the report adds the check's name."""
    return Finding("", False, message)


def describe_refusal(stderr: io.StringIO, error: BaseException) -> str:
    """Return why a setting was refused, without its value."""
    refusal = stderr.getvalue().removeprefix("luigi: error: ").strip()
    return refusal or describe_config_error(error) or type(error).__name__
