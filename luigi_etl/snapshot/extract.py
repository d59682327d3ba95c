"""From the API to the file of pages: a walk over all pages that match, which has to prove itself.

The API gives no snapshot: each page is a fresh answer of an index that may be updated meanwhile. A
walk counts as complete only if the complaints collected, without duplicates, are as many as the
last page says there are (or as many as were asked for), and neither that number nor the day of the
last indexing changed on the way. Otherwise the walk is made again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from luigi_etl.api.client import Client
from luigi_etl.api.contradiction import Pairs, find_contradiction_in_page
from luigi_etl.api.page import Page
from luigi_etl.api.response import SearchResponse, expected, read_response
from luigi_etl.common.errors import TransientError
from luigi_etl.common.terminal import brief
from luigi_etl.snapshot.ids import IdSet
from luigi_etl.snapshot.page_file import PageFile

WALKS = 3


@dataclass(frozen=True)
class Progress:
    """How far a walk is: complaints `collected` of `expected`, in `pages` pages."""

    collected: int
    expected: int
    pages: int


ReportPages = Callable[[Progress], None]


def extract(client: Client, query: Pairs, limit: int, path: Path, report: ReportPages) -> None:
    """Bring the newest `limit` complaints that match (0 = every one) into the page file `path`.

    Pages an earlier, interrupted call left for the same path are not fetched again.

    Raises:
        TransientError: the API did not answer, or its index changed during every walk.
        PermanentError: the API will not answer, or the file can't be written.

    """
    with PageFile(path).opened() as pages:
        if path.exists():  # another process finished while this one waited for the file
            pages.discard()
            return
        walk = _resumed(pages, client, query, limit)
        for _ in range(WALKS):
            _go_on(walk, pages, client, query, report)
            if walk.is_proven:
                pages.finish()
                return
            pages.discard()
            problem, walk = walk.problem, Walk(limit)
    raise TransientError(f"{client.host}: no complete walk in {WALKS}: {problem}")


class _State(NamedTuple):
    """The state of the index that a page is of."""

    total: int
    last_indexed: str | None


class Walk:
    """What the pages seen so far prove.

    It ends when the complaints are complete, or at a page that brings nothing new. A page with fewer hits
    than asked for is not the end: the API may cap pages.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.cursor: str | None = None
        self.problem = ""
        self._first: _State | None = None
        self._pages = 0
        self._nameless = 0
        self._ids = IdSet()
        self._cap = ""

    @property
    def collected(self) -> int:
        """How many different complaints the pages hold."""
        return len(self._ids) + self._nameless

    @property
    def expected(self) -> int:
        """How many there should be, as far as is known."""
        if self._first is None:
            return self.limit or 1
        return expected(self._first.total, self.limit)

    @property
    def is_over(self) -> bool:
        """Tell whether another page is of no use."""
        return bool(self.problem) or self.is_proven

    @property
    def is_proven(self) -> bool:
        """Tell whether the pages are all of the complaints asked for, in one state of the index."""
        return self._first is not None and not self.problem and self.collected == self.expected

    @property
    def progress(self) -> Progress:
        """How far the walk is."""
        return Progress(self.collected, self.expected, self._pages)

    def next_size(self, page_size: int) -> int:
        """How many complaints to ask for next."""
        return min(page_size, self.limit - self.collected) if self.limit else page_size

    def add(self, answer: SearchResponse, asked: int | None = None) -> None:
        """Take in a page; `asked` is how many complaints were asked for, where that is known."""
        state = _State(answer.total, answer.meta.last_indexed)
        first = self._first = self._first or state
        collected = self.collected
        self._pages += 1
        identities = [hit.identity for hit in answer.hits.hits]
        self._ids.add([identity for identity in identities if identity is not None])
        self._nameless += identities.count(None)
        self.cursor = answer.cursor
        if asked and 0 < len(identities) < asked and self.collected < self.expected:
            sizes = f"{len(identities):,} of {asked:,} asked for"
            self._cap = (
                f"; a page held {sizes}: if the API caps pages, set [ccdb] page_size={len(identities)}"
            )
        if state.total != first.total:
            self.problem = f"the number of matches changed from {first.total:,} to {state.total:,} meanwhile"
        elif state != first:
            days = [brief(one.last_indexed) for one in (first, state)]
            self.problem = f"the index of {days[0]} became that of {days[1]}"
        elif not self.is_proven:
            self.problem = self._dead_end(collected)

    def _dead_end(self, collected: int) -> str:
        """Return why no further page can complete the walk, if so; `collected` is before the last page."""
        if self.collected == collected or self.collected > self.expected:
            return f"{self.collected:,} complaints came of {self.expected:,}{self._cap}"
        return "" if self.cursor else "a page did not lead on to the next"


def _resumed(pages: PageFile, client: Client, query: Pairs, limit: int) -> Walk:
    """Take up the walk an earlier process left, if it was over the same API and answers the query."""
    walk = Walk(limit)
    for page in pages.recover():
        if not page.address.startswith(f"{client.settings.url}?") or walk.problem:
            walk.problem = "its pages are of another address"
        else:
            _take_up(walk, page, query)
        del page  # before the next one is read
    if walk.problem:
        pages.discard()
        return Walk(limit)
    return walk


def _take_up(walk: Walk, page: Page, query: Pairs) -> None:
    answer = read_response(page.body)
    walk.problem = find_contradiction_in_page(query, answer, walk.cursor) or ""
    if not walk.problem:
        walk.add(answer)


def _go_on(walk: Walk, pages: PageFile, client: Client, query: Pairs, report: ReportPages) -> None:
    while not walk.is_over:
        _take_a_page(walk, pages, client, query)
        report(walk.progress)


def _take_a_page(walk: Walk, pages: PageFile, client: Client, query: Pairs) -> None:
    """Fetch a page; only here is it held, so that it is gone before the next one comes."""
    size = walk.next_size(client.settings.page_size)
    page, answer = client.page(query, size, walk.cursor)
    pages.append(page)
    walk.add(answer, size)
