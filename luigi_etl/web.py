"""HTTP by urllib3: the environment's proxies and certificates, and errors in one line.

urllib3 is what requests is made of; requests would take twice as long to import, each minute.
"""

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    URLSchemeUnknown,
)
from urllib3.util import Url, make_headers, parse_url

from luigi_etl.body import WebError, read_beginning, read_body
from luigi_etl.errors import PermanentError
from luigi_etl.lines import brief

TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_READ_AT_ONCE = 1 << 18


class NotSentError(WebError):
    """There was no connection, so the request never left."""


class Timeouts(NamedTuple):
    """The longest wait for a connection, silence in an answer, and time of a request, in seconds."""

    connect: float
    read: float
    total: float = 900.0


class Response(NamedTuple):
    """An answer, and when it began to arrive (UTC); of other statuses than 200 the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    arrived: datetime


class Session:
    """What asks a server, without following redirects.

    Raises:
        PermanentError: the address, or what the environment says of the way there, can't be used.

    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._headers = {"Accept-Encoding": "gzip", **headers}
        self._watchdog = _Watchdog()
        self._pools = _pools(_parsed(url))
        try:
            pool = self._pools.connection_from_url(url)
        except (LocationValueError, URLSchemeUnknown) as error:
            raise PermanentError(f"{url}: {error}; check [ccdb] url") from None
        pool.ConnectionCls = self._watchdog.watching(pool.ConnectionCls)

    def get(self, address: str, timeouts: Timeouts) -> Response:
        """Ask for an address of the server.

        Raises:
            NotSentError: there is no connection.
            WebError: there is no answer, or no end of it in time.
            UnusableBodyError: the answer is too long, or encoded in another way than asked for.
            PermanentError: the address can't be used.

        """
        with self._watchdog.guarding(timeouts.total) as is_over:
            try:
                response = self._get(address, timeouts)
            except WebError:
                if not is_over.is_set():
                    raise
        if is_over.is_set():  # where headers end there, they look whole
            raise WebError(f"no end of the answer within {timeouts.total:g} s")
        return response

    def _get(self, address: str, timeouts: Timeouts) -> Response:
        try:
            raw = self._pools.request(
                "GET",
                address,
                headers=self._headers,
                timeout=urllib3.Timeout(connect=timeouts.connect, read=timeouts.read),
                preload_content=False,
                redirect=False,
                retries=False,
            )
        except (LocationValueError, URLSchemeUnknown) as error:
            raise PermanentError(f"{address}: {error}; check [ccdb] url") from None
        except (NewConnectionError, ConnectTimeoutError, ProxyError) as error:
            raise NotSentError(_reason(error)) from None
        except HTTPError as error:
            raise WebError(_reason(error)) from None
        arrived = datetime.now(timezone.utc)
        read = read_body if raw.status == 200 else read_beginning
        try:
            body = read(_chunks(raw), raw.headers.get("Content-Encoding", ""))
        finally:
            raw.close()  # the connection is kept where all was read
        return Response(raw.status, raw.headers, body, arrived)

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._pools.clear()


def _parsed(address: str) -> Url:
    try:
        parsed = parse_url(address)
    except LocationValueError as error:
        raise PermanentError(f"{address}: {error}; check [ccdb] url") from None
    if not parsed.host or parsed.host.startswith(("*", ".")):
        raise PermanentError(f"{address}: there is no such host; check [ccdb] url")
    return parsed


def _pools(server: Url) -> urllib3.PoolManager:
    """Return what opens connections, through the proxy that the environment names for the server."""
    settings: dict[str, Any] = _certificates() if server.scheme == "https" else {}
    named = getproxies()
    proxy = named.get(str(server.scheme)) or named.get("all")
    if not proxy or proxy_bypass(str(server.netloc)) or proxy_bypass(str(server.host)):
        return urllib3.PoolManager(**settings)
    try:
        address = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        credentials = make_headers(proxy_basic_auth=unquote(address.auth)) if address.auth else None
        return urllib3.ProxyManager(address.url, proxy_headers=credentials, **settings)
    except (HTTPError, ValueError):
        pass
    # The address is not told, nor the error that does: there may be a password in it.
    names = f"{str(server.scheme).upper()}_PROXY or ALL_PROXY"
    raise PermanentError(f"{names} in the environment is no web address: correct it")


def _certificates() -> dict[str, str]:
    """Return where the certificates are that a server's is checked against."""
    name = next((name for name in TRUSTED if os.environ.get(name)), "")
    if not name:
        import certifi

        return {"ca_certs": certifi.where()}
    path = Path(os.environ[name])
    if not path.exists():
        raise PermanentError(f"there are no certificates at {path}: correct {name} in the environment")
    return {"ca_cert_dir" if path.is_dir() else "ca_certs": str(path)}


def _chunks(raw: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Give the body of an answer as it arrives, not decoded."""
    try:
        while chunk := raw.read1(_READ_AT_ONCE, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise WebError(_reason(error)) from None


class _Watchdog:
    """Shuts a connection down when its request takes too long.

    The timeouts of a socket are those of each wait: a server that sends a byte now and then passes them.
    """

    def __init__(self) -> None:
        self._connection: Any = None
        self._socket: Any = None  # the connection gives it up where the answer is the last one

    def watching(self, kind: Any) -> Any:
        """Return a class of connections that are known here once they connect."""

        def connect(connection: Any) -> None:
            self._connection = connection
            kind.connect(connection)
            self._socket = connection.sock

        return type(kind.__name__, (kind,), {"connect": connect})

    @contextmanager
    def guarding(self, seconds: float) -> Iterator[Event]:
        """Guard a request; the event is set once its time is over."""
        is_over, is_done = Event(), Event()
        thread = Thread(target=self._guard, args=(seconds, is_over, is_done), daemon=True)
        thread.start()
        try:
            yield is_over
        finally:
            is_done.set()
            thread.join()

    def _guard(self, seconds: float, is_over: Event, is_done: Event) -> None:
        if is_done.wait(seconds):
            return
        is_over.set()
        while not is_done.wait(0.05):  # the connection may just be under way
            for one in (getattr(self._connection, "sock", None), self._socket):
                if isinstance(one, socket.socket):
                    with suppress(OSError):  # the method of TLS sockets is not thread-safe
                        socket.socket.shutdown(one, socket.SHUT_RDWR)


def _reason(error: BaseException) -> str:
    """Return why a request failed, without the library's nesting."""
    by = "proxy: " if isinstance(error, ProxyError) else ""
    innermost = error
    while causes := list(filter(_is_error, (getattr(innermost, "reason", None), *innermost.args))):
        innermost = causes[0]
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "no connection in time"
    if isinstance(error, ReadTimeoutError):
        return "no answer in time"
    text = re.sub(r"^.*?: (?=Failed to )", "", brief(innermost, 500))
    return by + (text if " " in text else f"{type(innermost).__name__} {text}".strip())


def _is_error(cause: object) -> bool:
    return isinstance(cause, BaseException)
