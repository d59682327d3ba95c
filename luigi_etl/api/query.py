"""Which complaints: the API's own query string, checked and brought to one spelling.

The API ignores names it does not know and answers zero hits to values it does not know, so a
misspelt query looks like an answer. Here it is refused, with the nearest right name.
"""

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from luigi_etl.api.filters import Pair, check_together, check_value, with_search_field
from luigi_etl.api.query_string import split_query
from luigi_etl.api.search_page import read_search_page

SLUG_LENGTH = 180  # a file name holds 255 bytes; the rest is for suffixes
HASH_LENGTH = 16


@dataclass(frozen=True)
class Query:
    """A checked query: `pairs` are its filters, sorted, each once.

    `notes` say what was dropped or translated on the way here; they are not part of the query.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        """Return the one spelling of this query; it parses to an equal query."""
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in self.pairs)

    @property
    def is_of_days_only(self) -> bool:
        """Tell whether it asks for days and nothing that could be misspelt."""
        return all(name.endswith(("_min", "_max")) for name, _ in self.pairs)

    def slug(self, limit: int) -> str:
        """Return a file name for this query and limit (0 = every complaint), unique to the two.

        ASCII letters, digits and `._-+%,=` only, at most 180 long. It is cut and ended by `~` and
        a hash (SHA-256) only where it would be longer; no other slug holds a `~`.
        """
        filters = ",".join(f"{name}={_safe(value)}" for name, value in self.pairs)
        slug = (filters or "all") + (f"-newest-{limit}" if limit else "")
        if len(slug) <= SLUG_LENGTH:
            return slug
        digest = hashlib.sha256(slug.encode()).hexdigest()[:HASH_LENGTH]
        return f"{slug[: SLUG_LENGTH - HASH_LENGTH - 1]}~{digest}"


def parse_query(text: str) -> Query:
    """Read a query string, or a whole address copied from the CFPB's search page.

    Raises:
        QueryError: a name the API does not know, a value it would refuse or silently match nothing
            with, or two values where it takes one.

    """
    text = text.strip(" \t\r\n")
    notes: list[str] = []
    if re.match(r"https?://", text, re.IGNORECASE):
        pairs = read_search_page(text, notes)
    else:
        pairs = split_query(text.removeprefix("?"))
    checked = {(name, check_value(name, value)) for name, value in pairs}
    check_together(checked)
    checked = with_search_field(checked)
    if len({name for name, _ in checked if name.startswith("not_")}) > 1:
        notes.append("with several not_ filters the API leaves out only what matches all of them")
    return Query(tuple(sorted(checked)), tuple(notes))


def parse_stored_query(text: str) -> Query:
    """Read the one spelling of a query that was checked when it was stored.

    It is not checked again: the rules may have become stricter since.
    """
    return Query(tuple(sorted(split_query(text))))


def _safe(value: str) -> str:
    """Encode a value for a file name; `~` and `-newest-` are kept for the slug's own marks."""
    return quote_plus(value).replace("~", "%7E").replace("-newest-", "%2Dnewest%2D")
