"""HTTP by requests, with limits of time and size and errors in one line."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ReadTimeoutError

from luigi_etl.api.body import WebError, read_beginning, read_body
from luigi_etl.api.watchdog import Watchdog, WatchedAdapter
from luigi_etl.common.errors import PermanentError
from luigi_etl.common.terminal import brief

TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_READ_AT_ONCE = 1 << 18
_UNUSABLE = (InvalidSchema, InvalidURL, MissingSchema, LocationValueError)


class NotSentError(WebError):
    """There was no connection, so the request was never sent."""


class Timeouts(NamedTuple):
    """The longest wait for a connection, silence in an answer, and time of a request, in seconds."""

    connect: float
    read: float
    total: float = 900.0


class Response(NamedTuple):
    """An answer and its arrival (UTC); of other statuses than 200 only the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    arrived: datetime


class Session(requests.Session):
    """A session with one server, one request at a time: no redirects, cookies or credentials of .netrc.

    Raises:
        PermanentError: the address, or the proxy or certificates of the environment, can't be used.

    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.headers.update({"Accept-Encoding": "gzip", **headers})
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.auth = _send_no_credentials
        # requests would read .netrc, ignore SSL_CERT_FILE, and miss the ports in NO_PROXY.
        self.trust_env = False
        self._watchdog = Watchdog()
        adapter = WatchedAdapter(self._watchdog)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        with _address_errors(url):
            self.prepare_request(requests.Request("GET", url))
        self.proxies = _proxies(url, adapter)
        self.verify = _certificates() if urlsplit(url).scheme == "https" else True

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Follow no redirect; requests would read its whole body even if asked not to follow it."""

    def fetch(self, address: str, timeouts: Timeouts) -> Response:
        """Get an address of the server.

        Raises:
            NotSentError: there is no connection.
            WebError: there is no answer, or no end of it in time.
            UnusableBodyError: the answer is too long, or encoded in another way than asked for.
            PermanentError: the address can't be used.

        """
        with self._watchdog.guarding(timeouts.total) as is_over:
            try:
                response = self._fetch(address, timeouts)
            except WebError:
                if not is_over.is_set():
                    raise
        if is_over.is_set():  # headers that end there look whole
            raise WebError(f"no end of the answer within {timeouts.total:g} s")
        return response

    def _fetch(self, address: str, timeouts: Timeouts) -> Response:
        with self._opened(address, timeouts) as response:
            arrived = datetime.now(timezone.utc)
            read = read_body if response.status_code == 200 else read_beginning
            body = read(_chunks(response), response.headers.get("Content-Encoding", ""))
        return Response(response.status_code, response.headers, body, arrived)

    def _opened(self, address: str, timeouts: Timeouts) -> requests.Response:
        """Send a request and return the answer, whose body is still to be read."""
        try:
            with _address_errors(address):
                return self.get(address, timeout=(timeouts.connect, timeouts.read), stream=True)
        except (requests.RequestException, HTTPError) as error:
            kind = NotSentError if _is_unsent(error) else WebError
            raise kind(_reason(error)) from None


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the body of an answer as it arrives, not decoded."""
    try:
        while chunk := response.raw.read1(_READ_AT_ONCE, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise WebError(_reason(error)) from None


def _send_no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@contextmanager
def _address_errors(address: str) -> Iterator[None]:
    try:
        yield
    except _UNUSABLE as error:
        raise PermanentError(f"{address}: {_reason(error)}; check [ccdb] url") from None


# --- the environment -----------------------------------------------------------------------------


def _proxies(url: str, adapter: HTTPAdapter) -> dict[str, str]:
    """Return the proxy of the environment for an address, by its scheme."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.netloc) else select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return {}
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    # Neither the address nor the library's error is shown: there may be a password in them.
    named = f"{parts.scheme.upper()}_PROXY or ALL_PROXY in the environment is"
    try:
        adapter.proxy_manager_for(proxy)
    except InvalidSchema:
        raise PermanentError(f"{named} a SOCKS proxy: install requests[socks]") from None
    except (HTTPError, ValueError):
        proxy = ""
    if not proxy or not urlsplit(proxy).hostname:
        raise PermanentError(f"{named} no web address: correct it")
    return {parts.scheme: proxy}


def _certificates() -> str | bool:
    """Return the path of the trusted certificates; True means those that come with requests."""
    name = next((name for name in TRUSTED if os.environ.get(name)), "")
    if not name:
        return True
    path = Path(os.environ[name])
    if not path.exists():
        raise PermanentError(f"there are no certificates at {path}: correct {name} in the environment")
    return str(path)


# --- errors --------------------------------------------------------------------------------------


def _is_unsent(error: Exception) -> bool:
    """Return whether there was no connection; requests has no class for some of the causes."""
    unsent = (requests.ConnectTimeout, requests.exceptions.ProxyError, NewConnectionError)
    return isinstance(error, unsent) or isinstance(_innermost(error), NewConnectionError)


def _reason(error: Exception) -> str:
    """Return why a request failed, without the library's nesting."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.ReadTimeout | ReadTimeoutError):
        return "no answer in time"
    by = "proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    innermost = _innermost(error)
    text = re.sub(r"^.*?: (?=Failed to )", "", brief(innermost, 500))
    return by + (text if " " in text else f"{type(innermost).__name__} {text}".strip())


def _innermost(error: BaseException) -> BaseException:
    while causes := [one for one in (getattr(error, "reason", None), *error.args) if _is_error(one)]:
        error = causes[0]
    return error


def _is_error(cause: object) -> bool:
    return isinstance(cause, BaseException)
