"""HTTP by urllib3: the environment's proxies and certificates, and errors in one line.

urllib3 is what requests is made of; requests would take twice as long to import, each minute.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
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

from luigi_etl.errors import PermanentError
from luigi_etl.lines import one_line

TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_READ_AT_ONCE = 1 << 20


class WebError(Exception):
    """A request that failed and may pass; its text is one line."""


class Timeouts(NamedTuple):
    """The longest wait for a connection, and the longest silence in an answer, in seconds."""

    connect: float
    read: float


class Response(NamedTuple):
    """An answer, and when its headers `arrived` (UTC).

    `chunks` gives its body, decoded, as it arrives, and raises `WebError` where that is cut.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    arrived: datetime


class Session:
    """What asks a server, without following redirects.

    Raises:
        PermanentError: the address, or what the environment says of the way there, can't be used.

    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._headers = {"Accept-Encoding": "gzip", **headers}
        self._pools = _pools(_parsed(url))

    def get(self, address: str, timeouts: Timeouts) -> Response:
        """Ask for an address of the server.

        Raises:
            WebError: there is no connection, or no answer.
            PermanentError: the address can't be used.

        """
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
        except HTTPError as error:
            raise WebError(_reason(error)) from None
        return Response(raw.status, raw.headers, _chunks(raw), datetime.now(timezone.utc))

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
    try:
        while chunk := raw.read1(_READ_AT_ONCE, decode_content=True):
            yield chunk
    except HTTPError as error:
        raise WebError(_reason(error)) from None
    finally:
        raw.close()  # the connection is kept where all was read


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
    text = re.sub(r"^.*?: (?=Failed to )", "", one_line(str(innermost)))
    return by + (text if " " in text else f"{type(innermost).__name__} {text}".strip())


def _is_error(cause: object) -> bool:
    return isinstance(cause, BaseException)
