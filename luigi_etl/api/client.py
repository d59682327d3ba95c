"""A client of the CFPB complaint search API: one session, its pace, its retries, its errors.

What the API does is told in the comments where it matters; the facts are those of cfpb/ccdb5-api
1.15 and of recorded answers.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from luigi_etl.api.body import UnusableBodyError, WebError
from luigi_etl.api.clock import check_clock, server_time
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
LONGEST_SHORT_WAIT = 60.0  # seconds; longer ones are the caller's, who can show them
LONGEST_REQUEST = 900.0  # seconds: a page of 24 MiB at 28 kB a second
LONGEST_SILENT_WAIT = 5.0  # seconds for a turn; of longer ones the caller is told

T = TypeVar("T")
Tell = Callable[[str], None]


class Client:
    """Fetches pages. Use it in a `with` block; `deadline` seconds after its making it gives up.

    `tell` hears of each long wait that the pace costs.

    Every method raises `TransientError` when it has tried a few times or has no time left, and
    `RefusedError` when the API will not serve the request.
    """

    def __init__(self, settings: Settings, tell: Tell = lambda _: None) -> None:
        self.settings = settings
        self._tell = tell
        self.host = urlsplit(settings.url).netloc
        self._pace = _pace(settings, self.host)
        named = {"User-Agent": settings.user_agent} if settings.user_agent else {}
        self._session = Session(settings.url, {"Accept": "application/json", **named})
        self._ends = time.monotonic() + settings.deadline if settings.deadline else float("inf")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def page(self, query: Pairs, size: int, search_after: str | None) -> tuple[Page, SearchResponse]:
        """Fetch `size` complaints that match `query`, newest first, after the cursor `search_after`.

        Raises:
            RefusedError: also where the answer is one to another question.

        """
        page, answer = self._page(query, size, search_after)
        problem = find_contradiction_in_page(query, answer, search_after)
        if len(answer.hits.hits) > size:
            problem = f"the API ignored size={size}: {len(answer.hits.hits):,} complaints came"
        if problem:
            raise RefusedError(f"{self.host}: {problem}; nothing of this answer is used")
        return page, answer

    def _page(self, query: Pairs, size: int, search_after: str | None) -> tuple[Page, SearchResponse]:
        address = self._address(query, size, search_after)
        try:
            return self._patiently(lambda: self._ask(address))
        except EngineError as error:
            if any(name == "search_term" for name, _ in query) and self._engine_is_up():
                raise RefusedError(
                    f"{self.host}: the API refuses this query each time (424): check the syntax of "
                    "search_term (quotes, brackets, AND, OR, NOT)"
                ) from error
            raise

    def probe(self) -> datetime | None:
        """Make one request, whatever comes of it; return the server's time (aware), if it tells."""
        response = self._get(self._address((), 0, None))
        check_status(self.host, response)
        return server_time(response.headers)

    def _address(self, query: Pairs, size: int, search_after: str | None) -> str:
        paging = {"sort": NEWEST_FIRST, "size": str(size), "no_aggs": "true", "no_highlight": "true"}
        if search_after is not None:
            paging["search_after"] = search_after
        return f"{self.settings.url}?{urlencode([*query, *paging.items()])}"

    def _engine_is_up(self) -> bool:
        """Tell whether a plain request is answered: then 424 was about the query, not the engine."""
        try:
            self._ask(self._address((), 0, None))
        except TransientError:
            return False
        return True

    def _patiently(self, ask: Callable[[], T]) -> T:
        for retry in range(SHORT_RETRIES):
            try:
                return ask()
            except TransientError as error:
                wait = max(self.settings.backoff * 2**retry, error.retry_after)
                if wait > LONGEST_SHORT_WAIT or wait >= self._remaining():
                    raise
                time.sleep(wait)
        return ask()

    def _remaining(self) -> float:
        remaining = self._ends - time.monotonic()
        if remaining <= 0:
            raise TransientError(f"{self.host}: no end within the deadline of {self.settings.deadline:g} s")
        return remaining

    def _ask(self, address: str) -> tuple[Page, SearchResponse]:
        response = self._get(address)
        check_status(self.host, response)
        check_clock(self.host, response)
        try:
            answer = read_response(response.body)
        except EtlError as error:
            raise type(error)(f"{self.host}: {error}") from None
        if answer.timed_out:
            raise TransientError(f"{self.host}: the search timed out on the server")
        if not answer.is_exact:
            raise TransientError(f"{self.host}: hits.total is only a lower bound, so nothing can be proven")
        if answer.meta.total_record_count == 0:  # for a minute while it is loaded
            raise TransientError(f"{self.host}: its index is empty (total_record_count is 0)")
        if answer.shards.failed:
            raise TransientError(f"{self.host}: {answer.shards.failed} shards of the index did not answer")
        return Page(address, _in_one_line(response.body)), answer

    def _get(self, address: str) -> Response:
        """Send a request at its turn; return the answer."""
        self._await_turn()
        remaining = self._remaining()
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
            self._remaining()
            raise TransientError(f"{self.host}: {error}") from None

    def _await_turn(self) -> None:
        """Wait until the pace lets a request go."""
        while self._pace and (wait := self._pace.take_turn()):
            pace = f"{self.host}: a pace of {self.settings.requests_per_minute} requests per minute"
            if wait >= self._remaining():
                raise TransientError(f"{pace} leaves none for the time until the deadline")
            if wait > LONGEST_SILENT_WAIT:
                then = datetime.now(timezone.utc) + timedelta(seconds=wait)
                self._tell(f"next request at {as_time(then)}, in {wait:.0f} s: {pace} leaves none now")
            time.sleep(wait)


def _in_one_line(body: bytes) -> bytes:
    """Put spaces for line ends, which in JSON stand only between tokens (RFC 8259, 2 and 7)."""
    if b"\n" not in body and b"\r" not in body:
        return body
    return body.translate(bytes.maketrans(b"\r\n", b"  "))


def _pace(settings: Settings, host: str) -> Pace | None:
    if not settings.requests_per_minute:
        return None
    return Pace(settings.pace_file or default_pace_file(), host, settings.requests_per_minute)
