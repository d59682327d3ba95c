"""A checked query, with one spelling and one file name for all ways to write it."""

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from luigi_etl.api.filters import Pair, add_search_field, check_combination, check_filter
from luigi_etl.api.query_string import split_query
from luigi_etl.api.search_page import read_search_page

SLUG_LENGTH = 180  # a file name has at most 255 bytes; suffixes need the rest
HASH_LENGTH = 16


@dataclass(frozen=True)
class Query:
    """A checked query: its filters as `pairs`, sorted and unique.

    `notes` list what was dropped or translated; two queries that differ only in notes are equal.
    """

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        """Return the one spelling of this query; it parses to an equal query."""
        return "&".join(f"{name}={quote(value, safe='')}" for name, value in self.pairs)

    @property
    def has_only_days(self) -> bool:
        """Return whether all filters are days, which can't be misspelt."""
        return all(name.endswith(("_min", "_max")) for name, _ in self.pairs)

    def slug(self, limit: int) -> str:
        """Return a file name that is unique to this query and limit (0 = all complaints).

        It has at most 180 ASCII letters, digits and `._-+%,=`. A longer one is cut and ends with `~` and
        a SHA-256 hash; no other slug contains `~`.
        """
        filters = ",".join(f"{name}={_encode(value)}" for name, value in self.pairs)
        slug = (filters or "all") + (f"-newest-{limit}" if limit else "")
        if len(slug) <= SLUG_LENGTH:
            return slug
        digest = hashlib.sha256(slug.encode()).hexdigest()[:HASH_LENGTH]
        return f"{slug[: SLUG_LENGTH - HASH_LENGTH - 1]}~{digest}"


def parse_query(text: str) -> Query:
    """Check a query string, or an address copied from the CFPB's search page.

    Raises:
        QueryError: the API does not know a name, would refuse a value or find nothing with it, or takes
            one value where the query has two.

    """
    text = text.strip(" \t\r\n")
    if re.match(r"https?://", text, re.IGNORECASE):
        pairs, notes = read_search_page(text)
    else:
        pairs, notes = split_query(text.removeprefix("?")), []
    checked = {(name, check_filter(name, value)) for name, value in pairs}
    check_combination(checked)
    if len({name for name, _ in checked if name.startswith("not_")}) > 1:
        notes = [*notes, "with several not_ filters the API excludes only complaints that match all of them"]
    return Query(tuple(sorted(add_search_field(checked))), tuple(notes))


def parse_stored_query(text: str) -> Query:
    """Read a stored spelling without checks: the rules may have become stricter since."""
    return Query(tuple(sorted(split_query(text))))


def _encode(value: str) -> str:
    """Encode a value for a file name; only the slug itself may contain `~` and `-newest-`."""
    return quote_plus(value).replace("~", "%7E").replace("-newest-", "%2Dnewest%2D")
