"""The proof that a snapshot's pages are complete."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from luigi_etl.api.contradiction import find_contradiction_in_page
from luigi_etl.api.page import Page
from luigi_etl.api.response import read_response
from luigi_etl.api.settings import NEWEST_FIRST
from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.terminal import brief
from luigi_etl.snapshot.datapackage import SnapshotSpec
from luigi_etl.snapshot.extract import Walk

PAGING = {"sort", "size", "no_aggs", "no_highlight", "search_after"}


class PageProof:
    """The proof that a file's pages answer the query completely."""

    def __init__(self, path: Path, spec: SnapshotSpec) -> None:
        self._path = path
        self._spec = spec
        self._walk = Walk(spec.limit)
        self._server = ""

    def checked(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Yield the pages, each after its check."""
        for page in pages:
            self._check_page(page)
            yield page
            del page  # frees the memory before the next page is read

    def check_end(self) -> None:
        """Check that the pages are complete.

        Raises:
            DamagedFileError: complaints are missing.

        """
        if not self._walk.is_proven:
            counts = f"{self._walk.collected:,} complaints of {self._walk.expected:,}"
            raise DamagedFileError(f"{self._path} holds {counts}")

    def _check_page(self, page: Page) -> None:
        if self._walk.is_over:
            raise DamagedFileError(f"{self._path} holds a page after the last one")
        self._check_address(page.address)
        response = read_response(page.body)
        size = _requested_size(page.address)
        problem = find_contradiction_in_page(self._spec.query.pairs, response, self._walk.cursor)
        if response.timed_out or response.shards.failed or not response.is_exact:
            problem = "a page is an incomplete response"
        most = min(size, self._spec.limit - self._walk.collected) if self._spec.limit else size
        if not len(response.hits.hits) <= most == size:
            problem = f"a page has {len(response.hits.hits):,} complaints, {size:,} were requested"
        self._walk.add(response)
        if problem or self._walk.problem:
            raise DamagedFileError(f"{self._path} is not proven: {problem or self._walk.problem}")

    def _check_address(self, address: str) -> None:
        parts = urlsplit(address)
        server = urlunsplit(parts._replace(query=""))
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        paging = {name: value for name, value in pairs if name in PAGING}
        filters = [pair for pair in pairs if pair[0] not in PAGING]
        request = brief(parts.query)
        if filters != list(self._spec.query.pairs) or paging.get("sort") != NEWEST_FIRST:
            raise DamagedFileError(f"{self._path} holds the response to another query: {request}")
        if paging.get("search_after") != self._walk.cursor:
            raise DamagedFileError(f"{self._path} holds a page that does not follow the last one: {request}")
        if server != (self._server or server):
            raise DamagedFileError(f"{self._path} holds pages of {brief(self._server)} and {brief(server)}")
        self._server = server


def _requested_size(address: str) -> int:
    """Return the page size in an address, or 0 if the address is malformed."""
    values = dict(parse_qsl(urlsplit(address).query))
    is_plain = values.get("no_aggs", "true") == values.get("no_highlight", "true") == "true"
    size = values.get("size", "")
    return int(size) if is_plain and size.isascii() and size.isdecimal() and len(size) < 10 else 0
