"""The verdict on a snapshot or the database."""

from datetime import datetime
from typing import Literal, NamedTuple


class Verdict(NamedTuple):
    """What was found of a snapshot's files, or of the database beside them; no `difference`: all is well."""

    minute: datetime
    query: str
    what: Literal["snapshot", "database"]
    rows: int
    difference: str = ""
