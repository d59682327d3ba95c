"""An HTTP session based on requests, with limits of time and size, and errors in one line."""

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

CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_CHUNK_BYTES = 1 << 18
_ADDRESS_ERRORS = (InvalidSchema, InvalidURL, MissingSchema, LocationValueError)


class NotSentError(WebError):
    """A request that was never sent, because there was no connection."""


class Timeouts(NamedTuple):
    """Seconds to wait for a connection, for the next bytes, and for a whole request."""

    connect: float
    read: float
    total: float = 900.0


class Response(NamedTuple):
    """An HTTP response and its arrival (UTC); unless the status is 200, only the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    arrived: datetime


class OpenResponse(NamedTuple):
    """An HTTP response whose body arrives in chunks, as the server encoded it."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Session(requests.Session):
    """A session with one server, for one request at a time, without redirects, cookies or credentials.

    Raises:
        PermanentError: the address, or a proxy or certificates in the environment, can't be used.

    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.headers.update({"Accept-Encoding": "gzip", **headers})
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.auth = _send_no_credentials
        # requests would read .netrc, and ignore SSL_CERT_FILE and the ports in NO_PROXY.
        self.trust_env = False
        self._watchdog = Watchdog()
        adapter = WatchedAdapter(self._watchdog)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        with _translate_address_errors(url):
            self.prepare_request(requests.Request("GET", url))
        self.proxies = _find_proxies(url, adapter)
        self.verify = _find_certificates() if urlsplit(url).scheme == "https" else True

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no redirect; with `allow_redirects=False`, requests would still read its whole body."""

    def fetch(self, address: str, timeouts: Timeouts) -> Response:
        """Get an address of the server.

        Raises:
            NotSentError: there is no connection.
            WebError: the response is missing, incomplete or late.
            UnusableBodyError: the response is too long, or has an encoding that was not requested.
            PermanentError: the address can't be used.

        """
        with self.opening(address, timeouts, {}) as response:
            arrived = datetime.now(timezone.utc)
            read = read_body if response.status == 200 else read_beginning
            body = read(response.chunks, response.headers.get("Content-Encoding", ""))
        return Response(response.status, response.headers, body, arrived)

    @contextmanager
    def opening(self, address: str, timeouts: Timeouts, headers: Mapping[str, str]) -> Iterator[OpenResponse]:
        """Open an address of the server, and read its body in the block; raise errors as `fetch` does."""
        with self._watchdog.guarding(timeouts.total) as is_over:
            try:
                with self._open(address, timeouts, headers) as response:
                    yield OpenResponse(response.status_code, response.headers, _read_chunks(response))
            except WebError:
                if not is_over.is_set():
                    raise
        if is_over.is_set():  # truncated headers look complete
            raise WebError(f"the response did not end within {timeouts.total:g} s")

    def _open(self, address: str, timeouts: Timeouts, headers: Mapping[str, str]) -> requests.Response:
        """Send a request and return the response before its body is read."""
        try:
            with _translate_address_errors(address):
                wait = (timeouts.connect, timeouts.read)
                return self.get(address, timeout=wait, stream=True, headers=headers)
        except (requests.RequestException, HTTPError) as error:
            kind = NotSentError if _is_unsent(error) else WebError
            raise kind(_format_reason(error)) from None


def _read_chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield the encoded body of a response as it arrives."""
    try:
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise WebError(_format_reason(error)) from None


def _send_no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


@contextmanager
def _translate_address_errors(address: str) -> Iterator[None]:
    try:
        yield
    except _ADDRESS_ERRORS as error:
        raise PermanentError(f"{address}: {_format_reason(error)}; check [ccdb] url") from None


# --- the environment -----------------------------------------------------------------------------


def _find_proxies(url: str, adapter: HTTPAdapter) -> dict[str, str]:
    """Return the environment's proxy for an address, with the address's scheme as the key."""
    parts = urlsplit(url)
    proxy = None if proxy_bypass(parts.netloc) else select_proxy(url, get_environ_proxies(url))
    if not proxy:
        return {}
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    # The address and the library's error may contain a password, so no message shows them.
    variable = f"{parts.scheme.upper()}_PROXY or ALL_PROXY in the environment is"
    try:
        adapter.proxy_manager_for(proxy)
    except InvalidSchema:
        raise PermanentError(f"{variable} a SOCKS proxy: install requests[socks]") from None
    except (HTTPError, ValueError):
        proxy = ""
    if not proxy or not urlsplit(proxy).hostname:
        raise PermanentError(f"{variable} not a web address: correct it")
    return {parts.scheme: proxy}


def _find_certificates() -> str | bool:
    """Return the path of the trusted certificates, or True for those that requests includes."""
    name = next((name for name in CERTIFICATE_VARIABLES if os.environ.get(name)), "")
    if not name:
        return True
    path = Path(os.environ[name])
    if not path.exists():
        raise PermanentError(f"there are no certificates at {path}: correct {name} in the environment")
    return str(path)


# --- errors --------------------------------------------------------------------------------------


def _is_unsent(error: Exception) -> bool:
    """Return whether there was no connection; requests has no class for some causes."""
    unsent = (requests.ConnectTimeout, requests.exceptions.ProxyError, NewConnectionError)
    return isinstance(error, unsent) or isinstance(_find_innermost(error), NewConnectionError)


def _format_reason(error: Exception) -> str:
    """Return the reason of a failed request without the library's nested errors."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.ReadTimeout | ReadTimeoutError):
        return "no answer in time"
    source = "proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    innermost = _find_innermost(error)
    text = re.sub(r"^.*?: (?=Failed to )", "", brief(innermost, 500))
    return source + (text if " " in text else f"{type(innermost).__name__} {text}".strip())


def _find_innermost(error: BaseException) -> BaseException:
    while causes := [one for one in (getattr(error, "reason", None), *error.args) if _is_error(one)]:
        error = causes[0]
    return error


def _is_error(cause: object) -> bool:
    return isinstance(cause, BaseException)
