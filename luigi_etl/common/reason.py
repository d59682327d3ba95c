"""The reason of a failure in one bounded line without row data, for records, logs and messages."""

import re

from luigi_etl.common.errors import EtlError
from luigi_etl.common.terminal import one_line

LONGEST_REASON = 500  # characters

# SQLAlchemy and PostgreSQL append statements, parameters, rows and links to a message.
_APPENDED = re.compile(
    r"\[SQL: |\[parameters: |\(Background on this error at: "
    r"|^(DETAIL|HINT|CONTEXT|QUERY|STATEMENT|WHERE|LINE \d+):\s",
    re.MULTILINE,
)


def reason(error: BaseException) -> str:
    """Return the reason in one line; an unexpected error begins with its type."""
    try:
        text = str(error)
    except Exception:  # its `__str__` may fail
        text = ""
    if isinstance(error, EtlError) and text.strip():
        return bounded(text)
    kind = type(error).__name__
    text = _shown(text)
    return bounded(f"{kind}: {text}" if text else kind)


def bounded(text: str) -> str:
    """Return a text as one line of at most 500 characters, without SQL statements and rows."""
    line = _shown(text)
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."


def _shown(text: str) -> str:
    text = text.lstrip()[: 4 * LONGEST_REASON]  # the text may have gigabytes
    found = _APPENDED.search(text)
    return one_line(text[: found.start()] if found else text)
