"""A client of the CFPB's complaint search API, with a rate limit, short retries and a deadline.

Facts about the API come from cfpb/ccdb5-api 1.15 and from recorded responses.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from luigi_etl.api.body import UnusableBodyError, WebError
from luigi_etl.api.clock import check_clock, read_server_time
from luigi_etl.api.contradiction import Pairs, find_contradiction_in_page
from luigi_etl.api.page import Page
from luigi_etl.api.rate_limit import Pace, default_pace_file
from luigi_etl.api.response import SearchResponse, read_response
from luigi_etl.api.session import NotSentError, Response, Session, Timeouts
from luigi_etl.api.settings import NEWEST_FIRST, Settings
from luigi_etl.api.status import EngineError, check_status
from luigi_etl.common.errors import EtlError, RefusedError, TransientError
from luigi_etl.common.minutes import as_time

SHORT_RETRIES = 3
LONGEST_SHORT_WAIT = 60.0  # seconds; the caller handles longer ones, because it can show them
LONGEST_REQUEST = 900.0  # seconds: a page of 24 MiB at 28 kB a second
LONGEST_SILENT_WAIT = 5.0  # seconds; the caller is notified of longer waits for the rate limit

T = TypeVar("T")
Notify = Callable[[str], None]


class Client:
    """A connection to the API with a rate limit, short retries and a deadline; use it in a `with` block.

    The deadline is `settings.deadline` seconds after the creation. `notify` gets a message before each
    long wait for the rate limit.

    All methods raise `TransientError` after a few attempts or at the deadline, and `RefusedError` if the
    API refuses the request.
    """

    def __init__(self, settings: Settings, notify: Notify = lambda _: None) -> None:
        self.settings = settings
        self._notify = notify
        self.host = urlsplit(settings.url).netloc
        self._pace = _create_pace(settings, self.host)
        self._session = Session(settings.url, {"Accept": "application/json", **settings.agent_header})
        self._ends = time.monotonic() + settings.deadline if settings.deadline else float("inf")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def fetch_page(self, query: Pairs, size: int, search_after: str | None) -> tuple[Page, SearchResponse]:
        """Fetch `size` complaints that match `query`, newest first, after the cursor `search_after`.

        Raises:
            RefusedError: also if the response contradicts the request.

        """
        page, response = self._fetch_page(query, size, search_after)
        problem = find_contradiction_in_page(query, response, search_after)
        if len(response.hits.hits) > size:
            problem = f"the API ignored size={size}: it returned {len(response.hits.hits):,} complaints"
        if problem:
            raise RefusedError(f"{self.host}: {problem}; the response is discarded")
        return page, response

    def _fetch_page(self, query: Pairs, size: int, search_after: str | None) -> tuple[Page, SearchResponse]:
        address = self._build_address(query, size, search_after)
        try:
            return self._with_retries(lambda: self._search(address))
        except EngineError as error:
            if any(name == "search_term" for name, _ in query) and self._is_engine_up():
                raise RefusedError(
                    f"{self.host}: the API always refuses this query (424): check the syntax of "
                    "search_term (quotes, brackets, AND, OR, NOT)"
                ) from error
            raise

    def probe(self) -> datetime | None:
        """Send one request without retries; return the server's time (aware), or None without one."""
        response = self._send(self._build_address((), 0, None))
        check_status(self.host, response)
        return read_server_time(response.headers)

    def _build_address(self, query: Pairs, size: int, search_after: str | None) -> str:
        paging = {"sort": NEWEST_FIRST, "size": str(size), "no_aggs": "true", "no_highlight": "true"}
        if search_after is not None:
            paging["search_after"] = search_after
        return f"{self.settings.url}?{urlencode([*query, *paging.items()])}"

    def _is_engine_up(self) -> bool:
        """Return whether a request without a query succeeds; if so, 424 was caused by the query."""
        try:
            self._search(self._build_address((), 0, None))
        except TransientError:
            return False
        return True

    def _with_retries(self, action: Callable[[], T]) -> T:
        for retry in range(SHORT_RETRIES):
            try:
                return action()
            except TransientError as error:
                wait = max(self.settings.backoff * 2**retry, error.retry_after)
                if wait > LONGEST_SHORT_WAIT or wait >= self._remaining_seconds():
                    raise
                time.sleep(wait)
        return action()

    def _remaining_seconds(self) -> float:
        """Return the seconds until the deadline, or raise if there are none."""
        remaining = self._ends - time.monotonic()
        if remaining <= 0:
            raise TransientError(
                f"{self.host}: not finished within the deadline of {self.settings.deadline:g} s"
            )
        return remaining

    def _search(self, address: str) -> tuple[Page, SearchResponse]:
        response = self._send(address)
        check_status(self.host, response)
        check_clock(self.host, response)
        try:
            result = read_response(response.body)
        except EtlError as error:
            raise type(error)(f"{self.host}: {error}") from None
        if problem := _find_problem(result):
            raise TransientError(f"{self.host}: {problem}")
        return Page(address, _join_lines(response.body)), result

    def _send(self, address: str) -> Response:
        """Wait for the rate limit, send a request, and return the response."""
        self._await_turn()
        remaining = self._remaining_seconds()
        settings = self.settings
        timeouts = Timeouts(
            min(settings.connect_timeout, remaining),
            min(settings.read_timeout, remaining),
            min(LONGEST_REQUEST, remaining),
        )
        try:
            return self._session.fetch(address, timeouts)
        except UnusableBodyError as error:
            raise RefusedError(f"{self.host}: {error}") from None
        except WebError as error:
            if self._pace and isinstance(error, NotSentError):
                self._pace.give_back()
            self._remaining_seconds()
            raise TransientError(f"{self.host}: {error}") from None

    def _await_turn(self) -> None:
        """Wait until the rate limit allows a request."""
        while self._pace and (wait := self._pace.take_turn()):
            limit = f"{self.host}: the limit of {self.settings.requests_per_minute} requests per minute"
            if wait >= self._remaining_seconds():
                raise TransientError(f"{limit} allows no request before the deadline")
            if wait > LONGEST_SILENT_WAIT:
                then = datetime.now(timezone.utc) + timedelta(seconds=wait)
                self._notify(f"next request at {as_time(then)}, in {wait:.0f} s: {limit} is reached")
            time.sleep(wait)


def _find_problem(result: SearchResponse) -> str | None:
    """Return why a successful response must not be used, if so; a retry may help."""
    if result.timed_out:
        return "the search timed out on the server"
    if not result.is_exact:
        return "hits.total is only a lower bound, so completeness can't be proven"
    if result.meta.total_record_count == 0:  # for a minute while the index is loaded
        return "its index is empty (total_record_count is 0)"
    if result.shards.failed:
        return f"{result.shards.failed} shards of the index failed"
    return None


def _join_lines(body: bytes) -> bytes:
    """Replace line ends by spaces; in JSON they occur only between tokens (RFC 8259, 2 and 7)."""
    if b"\n" not in body and b"\r" not in body:
        return body
    return body.translate(bytes.maketrans(b"\r\n", b"  "))


def _create_pace(settings: Settings, host: str) -> Pace | None:
    if not settings.requests_per_minute:
        return None
    return Pace(settings.pace_file or default_pace_file(), host, settings.requests_per_minute)
