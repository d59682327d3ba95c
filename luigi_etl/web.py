"""HTTP, as much of it as the API's client needs: one server, a connection that is kept open, no redirects.

The standard library does it. Luigi has loaded that already, while to import requests, or urllib3 alone, takes
longer than all of a minute's work. As with them, the environment names the proxy (HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY, NO_PROXY) and the certificates that are trusted (`TRUSTED`; else certifi's are).
"""

import base64
import contextlib
import os
import re
import select
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from pathlib import Path
from socket import gaierror
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from luigi_etl.errors import PermanentError

TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|[0-9a-f]*:[0-9a-f:.]*(?:%\w+)?", re.ASCII)
_READ_AT_ONCE = 1 << 20


class WebError(Exception):
    """A request that failed and may pass; its text is one line, without the server's name."""


class Timeouts(NamedTuple):
    """The longest wait for a connection, and the longest silence in an answer, in seconds."""

    connect: float
    read: float


class Response(NamedTuple):
    """An answer. `chunks` gives its body, decoded, as it arrives, and raises `WebError` where that is cut."""

    status: int
    headers: Message
    chunks: Iterator[bytes]


class Session:
    """A connection to the server of a web address, opened when it is needed and kept for the next request.

    Raises:
        PermanentError: the address, or what the environment says of the way there, can't be used.

    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._server = _server(url, "check [ccdb] url")
        self._proxy = _proxy_to(self._server)
        self._is_relayed = self._proxy is not None and self._server.scheme == "http"
        self._is_tunnelled = self._proxy is not None and self._server.scheme == "https"
        self._to_proxy = _credentials(self._proxy) if self._proxy else {}
        self._headers = {"Accept-Encoding": "gzip", **headers, **(self._to_proxy if self._is_relayed else {})}
        self._certificates: ssl.SSLContext | None = None
        self._connection: HTTPConnection | None = None
        self._is_at_rest = False

    def get(self, address: str, timeouts: Timeouts) -> Response:
        """Ask for an address of the server.

        Raises:
            WebError: there is no connection, or no answer.
            PermanentError: the address can't be used.

        """
        connection = self._at_rest() or self._connect(timeouts.connect)
        self._is_at_rest = False
        target = address if self._is_relayed else urlsplit(address)._replace(scheme="", netloc="").geturl()
        try:
            with _told():
                connection.sock.settimeout(timeouts.read)
                connection.request("GET", target, headers=self._headers)
                raw = connection.getresponse()
        except (InvalidURL, UnicodeError) as error:
            raise PermanentError(f"{address}: {error}; check [ccdb] url") from None
        return Response(raw.status, raw.headers, self._body(raw))

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _body(self, raw: HTTPResponse) -> Iterator[bytes]:
        with _told():
            pieces = _pieces(raw)
            yield from _unzipped(pieces) if raw.headers.get("Content-Encoding") == "gzip" else pieces
        raw.close()
        self._is_at_rest = True

    def _at_rest(self) -> HTTPConnection | None:
        """Return the connection, if it is fit for another request: a server may have closed it since."""
        if self._is_at_rest and self._connection and self._connection.sock:
            poll = select.poll()
            poll.register(self._connection.sock, select.POLLIN)
            if not poll.poll(0):
                return self._connection
        return None

    def _connect(self, seconds: float) -> HTTPConnection:
        self.close()
        to = self._proxy or self._server
        port = to.port or _PORTS[to.scheme]
        if "https" in (to.scheme, self._server.scheme):
            self._certificates = self._certificates or _certificates()
            connection: HTTPConnection = HTTPSConnection(
                str(to.hostname), port, timeout=seconds, context=self._certificates
            )
        else:
            connection = HTTPConnection(str(to.hostname), port, timeout=seconds)
        if self._is_tunnelled:
            connection.set_tunnel(str(self._server.hostname), self._server.port, self._to_proxy)
        with _told_of_connecting(f"proxy {to.hostname}:{port}: " if self._proxy else "", to.hostname):
            connection.connect()
        self._connection = connection
        return connection


# --- the way there -------------------------------------------------------------------------------


def _server(address: str, remedy: str) -> SplitResult:
    try:
        server = urlsplit(address)
        usable = _HOST.fullmatch(server.hostname or "") and server.port != 0
    except ValueError:
        usable = None
    if not usable:
        raise PermanentError(f"{address}: there is no such host; {remedy}")
    return server


def _proxy_to(server: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for a server."""
    named = getproxies()
    address = named.get(server.scheme) or named.get("all")
    if not address or proxy_bypass(server.netloc) or _is_within(named.get("no", ""), str(server.hostname)):
        return None
    remedy = f"correct {server.scheme.upper()}_PROXY or ALL_PROXY in the environment"
    proxy = _server(address if "://" in address else f"http://{address}", remedy)
    if proxy.scheme not in _PORTS or proxy.scheme == server.scheme == "https":
        raise PermanentError(
            f"a proxy spoken to by {proxy.scheme} can't be used for {server.scheme}: {remedy}"
        )
    return proxy


def _is_within(networks: str, host: str) -> bool:
    """Tell whether a host given by its number is in a network of NO_PROXY, such as 10.0.0.0/8."""
    if "/" not in networks:
        return False
    from ipaddress import ip_address, ip_network

    with contextlib.suppress(ValueError):
        address = ip_address(host)
        return any(
            address in ip_network(one.strip(), strict=False) for one in networks.split(",") if "/" in one
        )
    return False


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _certificates() -> ssl.SSLContext:
    """Return what a server's certificate is checked against."""
    name = next((name for name in TRUSTED if os.environ.get(name)), "")
    if name:
        path = os.environ[name]
    else:
        import certifi

        path = certifi.where()
    try:
        at = Path(path)
        context = ssl.create_default_context(
            cafile=None if at.is_dir() else path, capath=path if at.is_dir() else None
        )
    except OSError as error:
        raise PermanentError(f"no certificates can be read from {path} ({error}); correct {name}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


# --- the body ------------------------------------------------------------------------------------


def _pieces(raw: HTTPResponse) -> Iterator[bytes]:
    """Give what arrives, and see to it that it is as much as was announced, if that was."""
    announced, got = raw.length, 0
    while announced is None or got < announced:
        piece = raw.read1(_READ_AT_ONCE if announced is None else min(_READ_AT_ONCE, announced - got))
        if not piece:
            break
        got += len(piece)
        yield piece
    if announced is not None and got < announced:
        raise WebError(f"IncompleteRead({got} bytes read, {announced - got} more expected)")


def _unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield decoder.decompress(piece)
    if not decoder.eof:
        raise WebError("the compressed answer is cut")


# --- errors --------------------------------------------------------------------------------------


@contextlib.contextmanager
def _told_of_connecting(by: str, host: str | None) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise WebError(f"{by}no connection in time") from None
    except gaierror as error:
        raise WebError(f"{by}Failed to resolve {host!r} ({error})") from None
    except ssl.SSLError as error:
        raise WebError(f"{by}{error}") from None
    except (OSError, HTTPException) as error:
        raise WebError(f"{by}Failed to establish a new connection: {error}") from None


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except InvalidURL:
        raise
    except TimeoutError:
        raise WebError("no answer in time") from None
    except (OSError, HTTPException, zlib.error) as error:
        text = " ".join(str(error).split())
        raise WebError(text if " " in text else f"{type(error).__name__} {text}".strip()) from None
