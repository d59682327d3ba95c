"""The proof that a snapshot's pages are complete."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from luigi_etl.api.contradiction import find_contradiction_in_page
from luigi_etl.api.page import Page
from luigi_etl.api.response import read_response
from luigi_etl.api.settings import NEWEST_FIRST
from luigi_etl.common.terminal import brief
from luigi_etl.service.verify.expected import differs
from luigi_etl.snapshot.datapackage import SnapshotSpec
from luigi_etl.snapshot.extract import Walk

PAGING = {"sort", "size", "no_aggs", "no_highlight", "search_after"}


class Proof:
    """The proof of the walk, from the pages as they pass."""

    def __init__(self, path: Path, asked: SnapshotSpec) -> None:
        self._path = path
        self._asked = asked
        self._walk = Walk(asked.limit)
        self._address = ""

    def passing(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Give the pages on, each after it was checked."""
        for page in pages:
            self._take(page)
            yield page
            del page  # before the next one is read

    def check(self) -> None:
        """Check that the walk is complete."""
        if not self._walk.is_proven:
            counts = f"{self._walk.collected:,} complaints of {self._walk.expected:,}"
            raise differs(self._path, f"holds {counts}")

    def _take(self, page: Page) -> None:
        if self._walk.is_over:
            raise differs(self._path, "holds a page after the last")
        self._check_address(page.address)
        answer = read_response(page.body)
        size = _size_asked(page.address)
        problem = find_contradiction_in_page(self._asked.query.pairs, answer, self._walk.cursor)
        if answer.timed_out or answer.shards.failed or not answer.is_exact:
            problem = "a page is no complete answer"
        most = min(size, self._asked.limit - self._walk.collected) if self._asked.limit else size
        if not len(answer.hits.hits) <= most == size:
            problem = f"a page of {len(answer.hits.hits):,} complaints, {size:,} asked for"
        self._walk.add(answer)
        if problem or self._walk.problem:
            raise differs(self._path, f"proves nothing: {problem or self._walk.problem}")

    def _check_address(self, address: str) -> None:
        parts = urlsplit(address)
        server = urlunsplit(parts._replace(query=""))
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        paging = {name: value for name, value in pairs if name in PAGING}
        filters = [pair for pair in pairs if pair[0] not in PAGING]
        asked = brief(parts.query)
        if filters != list(self._asked.query.pairs) or paging.get("sort") != NEWEST_FIRST:
            raise differs(self._path, f"holds the answer to another question: {asked}")
        if paging.get("search_after") != self._walk.cursor:
            raise differs(self._path, f"holds a page that does not follow the one before: {asked}")
        if server != (self._address or server):
            raise differs(self._path, f"holds pages of {brief(self._address)} and {brief(server)}")
        self._address = server


def _size_asked(address: str) -> int:
    """Return how many complaints an address asks for, 0 where that is malformed."""
    values = dict(parse_qsl(urlsplit(address).query))
    is_plain = values.get("no_aggs", "true") == values.get("no_highlight", "true") == "true"
    size = values.get("size", "")
    return int(size) if is_plain and size.isascii() and size.isdecimal() and len(size) < 10 else 0
