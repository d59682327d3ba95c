"""Why something failed, as every record, log and message shows it: one bounded line without row data."""

import re

from luigi_etl.common.errors import EtlError
from luigi_etl.common.terminal import one_line

LONGEST_REASON = 500  # characters

# What SQLAlchemy and PostgreSQL append to a message: statements, parameters, rows, links.
_APPENDED = re.compile(
    r"\[SQL: |\[parameters: |\(Background on this error at: "
    r"|^(DETAIL|HINT|CONTEXT|QUERY|STATEMENT|WHERE|LINE \d+):\s",
    re.MULTILINE,
)


def reason(error: BaseException) -> str:
    """Return the reason in one line, after the kind of the error where that is not one of ours."""
    try:
        text = str(error)
    except Exception:  # an error whose own text fails still has a kind
        text = ""
    if isinstance(error, EtlError) and text.strip():
        return bounded(text)
    kind = type(error).__name__
    text = _shown(text)
    return bounded(f"{kind}: {text}" if text else kind)


def bounded(text: str) -> str:
    """Return a text in one line of at most 500 characters, without statements and rows of a database."""
    line = _shown(text)
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


def _shown(text: str) -> str:
    text = text.lstrip()[: 4 * LONGEST_REASON]  # it may be gigabytes; its line is not
    found = _APPENDED.search(text)
    return one_line(text[: found.start()] if found else text)
