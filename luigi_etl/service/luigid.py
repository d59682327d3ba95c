"""The address of luigid, and a check that a run may use it."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

import luigi

from luigi_etl.common.errors import SettingError
from luigi_etl.service.listeners import find_foreign_listener

PROBE_SECONDS = 2.0
_LARGEST_RESPONSE = 65_536  # bytes


class Address(NamedTuple):
    """The address of luigid; `path` is the prefix of its paths behind a proxy."""

    host: str
    port: int
    scheme: str = "http"
    path: str = ""
    credentials: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def read_address() -> Address:
    """Return the address that Luigi uses: `[core] scheduler_url`, else `scheduler_host` and `scheduler_port`.

    Raises:
        SettingError: the setting can't be used.

    """
    core = luigi.interface.core()
    if not core.scheduler_url:
        return Address(core.scheduler_host, core.scheduler_port)
    try:
        url = urlsplit(core.scheduler_url)
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        url, port = urlsplit(""), 0
    if url.scheme not in ("http", "https") or not url.hostname:
        raise SettingError(
            "[core] scheduler_url (or default_scheduler_url): it is not an address such as "
            "http://127.0.0.1:8082; correct it, or set scheduler_host and scheduler_port instead"
        )
    credentials = f"{url.username}:{url.password or ''}" if url.username else ""
    return Address(url.hostname, port, url.scheme, url.path.rstrip("/"), credentials)


def find_problem(luigid: Address) -> str:
    """Return why a run must not use luigid, or an empty string.

    luigid chooses the tasks that run, so on this machine it must belong to this user or root.
    """
    try:
        foreign = find_foreign_listener(luigid.host, luigid.port)
    except socket.gaierror:
        return f"luigid does not answer at {luigid}"
    except OSError as error:
        return f"the owner of luigid at {luigid} is unknown ({error.filename}: {error.strerror})"
    if foreign:
        return f"another user's program (uid {foreign.uid}) listens at {luigid}"
    return _check_response(luigid)


def is_usable(luigid: Address) -> bool:
    """Return whether luigid responds and a run may use it."""
    return not find_problem(luigid)


def _check_response(luigid: Address) -> str:
    try:
        status, body = _probe(luigid)
    except (OSError, HTTPException):
        return f"luigid does not answer at {luigid}"
    if status == 200 and _is_from_luigid(body):
        return ""
    return f"the program at {luigid} is not luigid (status {status})"


def _is_from_luigid(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body)["response"]["enabled"], bool)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _probe(luigid: Address) -> tuple[int, bytes]:
    """Return the status and body of a request to luigid's API that changes nothing."""
    kind = HTTPSConnection if luigid.scheme == "https" else HTTPConnection
    connection = kind(luigid.host, luigid.port, timeout=PROBE_SECONDS)
    headers = {"Authorization": _basic_authorization(luigid.credentials)} if luigid.credentials else {}
    try:
        connection.connect()
        with _cut_after(connection.sock, PROBE_SECONDS):
            connection.request("GET", f"{luigid.path}/api/is_pause_enabled", headers=headers)
            response = connection.getresponse()
            return response.status, response.read(_LARGEST_RESPONSE)
    finally:
        connection.close()


@contextlib.contextmanager
def _cut_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Cut a connection after a time: the socket's own timeout restarts with each byte."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of the underlying socket, also for TLS

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _basic_authorization(credentials: str) -> str:
    import base64

    return "Basic " + base64.b64encode(credentials.encode()).decode()
