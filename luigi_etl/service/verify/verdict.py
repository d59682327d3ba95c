"""The verdict on a snapshot or the database."""

from datetime import datetime
from typing import Literal, NamedTuple

LONGEST_DIFFERENCE = 500  # characters


class Verdict(NamedTuple):
    """The verdict on a snapshot's files, or on the database; `difference` is empty if all is equal."""

    minute: datetime
    query: str
    what: Literal["snapshot", "database"]
    rows: int
    difference: str = ""
