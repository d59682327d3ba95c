"""Extraction: fetch all pages of a query, and prove that they are complete.

The API's index can change between two pages. A walk over the pages is complete if it collects, without
duplicates, as many complaints as the API reports (or the limit), and if neither that total nor the date of
the index changed. Otherwise the walk starts again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from luigi_etl.api.client import Client
from luigi_etl.api.contradiction import Pairs, find_contradiction_in_page
from luigi_etl.api.page import Page
from luigi_etl.api.response import SearchResponse, count_expected, read_response
from luigi_etl.common.errors import TransientError
from luigi_etl.common.terminal import brief
from luigi_etl.snapshot.ids import IdSet
from luigi_etl.snapshot.page_file import PageFile

_MOST_WALKS = 3


@dataclass(frozen=True)
class Progress:
    """The progress of a walk: complaints `collected` of `expected`, in `pages` pages."""

    collected: int
    expected: int
    pages: int


ReportPages = Callable[[Progress], None]


def extract(client: Client, query: Pairs, limit: int, path: Path, report: ReportPages) -> None:
    """Fetch the newest `limit` matching complaints (0 = all) into the page file `path`.

    Pages of an interrupted extraction of the same file are not fetched again.

    Raises:
        TransientError: the API did not answer, or its index changed during every walk.
        PermanentError: the API refused the request, or the file can't be written.

    """
    with PageFile(path).open_locked() as pages:
        if path.exists():  # another process finished it between the caller's check and the lock
            pages.discard()
            return
        walk = _resume(pages, client, query, limit)
        for _ in range(_MOST_WALKS):
            _fetch_pages(walk, pages, client, query, report)
            if walk.is_proven:
                pages.finish()
                return
            pages.discard()
            problem, walk = walk.problem, Walk(limit)
    raise TransientError(
        f"{client.host}: the pages were read {_MOST_WALKS} times and were never complete: {problem}"
    )


class _IndexState(NamedTuple):
    """The state of the index from which a page came."""

    total: int
    last_indexed: str | None


class Walk:
    """A walk over pages, and the proof of its completeness.

    It ends when the complaints are complete, or with a page without new complaints. A page with fewer hits
    than requested does not end it, because the API may send smaller pages than requested.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.cursor: str | None = None
        self.problem = ""
        self._first: _IndexState | None = None
        self._pages = 0
        self._without_id = 0
        self._ids = IdSet()
        self._cap_hint = ""

    @property
    def collected(self) -> int:
        """The number of different complaints in the pages."""
        return len(self._ids) + self._without_id

    @property
    def expected(self) -> int:
        """The number of complaints that a complete walk collects; a guess before the first page."""
        if self._first is None:
            return self.limit or 1
        return count_expected(self._first.total, self.limit)

    @property
    def is_over(self) -> bool:
        """Whether no further page is needed."""
        return bool(self.problem) or self.is_proven

    @property
    def is_proven(self) -> bool:
        """Whether the pages have all requested complaints, from one state of the index."""
        return self._first is not None and not self.problem and self.collected == self.expected

    @property
    def progress(self) -> Progress:
        """The progress of the walk."""
        return Progress(self.collected, self.expected, self._pages)

    def next_size(self, page_size: int) -> int:
        """Return how many complaints the next request asks for."""
        return min(page_size, self.limit - self.collected) if self.limit else page_size

    def add(self, response: SearchResponse, requested: int | None = None) -> None:
        """Add a page; `requested` is the number of complaints in its request, if known."""
        state = _IndexState(response.total, response.meta.last_indexed)
        first = self._first = self._first or state
        collected_before = self.collected
        self._pages += 1
        identities = [hit.identity for hit in response.hits.hits]
        self._ids.add([identity for identity in identities if identity is not None])
        self._without_id += identities.count(None)
        self.cursor = response.cursor
        if requested and 0 < len(identities) < requested and self.collected < self.expected:
            self._cap_hint = _hint_at_cap(len(identities), requested)
        if state.total != first.total:
            self.problem = f"the number of matches changed from {first.total:,} to {state.total:,}"
        elif state != first:
            before, after = brief(first.last_indexed), brief(state.last_indexed)
            self.problem = f"the index changed from {before} to {after}"
        elif not self.is_proven:
            self.problem = self._find_dead_end(collected_before)

    def _find_dead_end(self, collected_before: int) -> str:
        """Return why no further page can complete the walk, or "".

        `collected_before` is the number of complaints before the last page.
        """
        if self.collected == collected_before or self.collected > self.expected:
            return f"received {self.collected:,} of {self.expected:,} complaints{self._cap_hint}"
        return "" if self.cursor else "a page has no cursor for the next page"


def _hint_at_cap(received: int, requested: int) -> str:
    return (
        f"; a page had {received:,} of {requested:,} requested complaints: "
        f"if the API sends no larger pages, set [ccdb] page_size={received}"
    )


def _resume(pages: PageFile, client: Client, query: Pairs, limit: int) -> Walk:
    """Continue the walk of an interrupted extraction, if its pages are from this API and match the query."""
    walk = Walk(limit)
    for page in pages.recover():
        if not page.address.startswith(f"{client.settings.url}?"):
            walk.problem = "its pages are from another address"
        if not walk.problem:
            _add_saved_page(walk, page, query)
        del page  # frees the memory before the next page is read
    if walk.problem:
        pages.discard()
        return Walk(limit)
    return walk


def _add_saved_page(walk: Walk, page: Page, query: Pairs) -> None:
    response = read_response(page.body)
    walk.problem = find_contradiction_in_page(query, response, walk.cursor) or ""
    if not walk.problem:
        walk.add(response)


def _fetch_pages(walk: Walk, pages: PageFile, client: Client, query: Pairs, report: ReportPages) -> None:
    while not walk.is_over:
        _fetch_page(walk, pages, client, query)
        report(walk.progress)


def _fetch_page(walk: Walk, pages: PageFile, client: Client, query: Pairs) -> None:
    """Fetch one page; its memory is free when this returns, before the next page arrives."""
    size = walk.next_size(client.settings.page_size)
    page, response = client.fetch_page(query, size, walk.cursor)
    pages.append(page)
    walk.add(response, size)
