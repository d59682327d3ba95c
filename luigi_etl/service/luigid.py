"""luigid, as luigi.cfg describes it: on loopback, its state kept, its log bounded, its metrics on."""

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import luigi

from luigi_etl.common.errors import SettingError
from luigi_etl.common.files import storage_errors
from luigi_etl.common.log_files import add_bounded_file
from luigi_etl.common.private import make_private, others_can_write
from luigi_etl.service.listeners import foreign_listener

PROBE_SECONDS = 2.0
_LARGEST_ANSWER = 65_536  # bytes


class Address(NamedTuple):
    """Where luigid is, or should be; `path` is what its paths begin with, behind a proxy."""

    host: str
    port: int
    scheme: str = "http"
    path: str = ""
    credentials: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def address() -> Address:
    """Return the address that Luigi uses: `[core] scheduler_url`, else `scheduler_host` and `scheduler_port`.

    Raises:
        SettingError: it can't be used.

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


def problem_of(luigid: Address) -> str:
    """Return why a run must not use luigid, or nothing if it can.

    Luigid decides what runs, so one on this machine counts only if it belongs to this user or root.
    """
    try:
        foreign = foreign_listener(luigid.host, luigid.port)
    except socket.gaierror:
        return f"luigid does not answer at {luigid}"
    except OSError as error:
        return f"the owner of luigid at {luigid} is unknown ({error.filename}: {error.strerror})"
    if foreign:
        return f"another user's program (uid {foreign.uid}) listens at {luigid}"
    return _problem_of_answer(luigid)


def answers(luigid: Address) -> bool:
    """Return whether luigid answers, and may be used."""
    return not problem_of(luigid)


def _problem_of_answer(luigid: Address) -> str:
    try:
        status, body = _asked(luigid)
    except (OSError, HTTPException):
        return f"luigid does not answer at {luigid}"
    if status == 200 and _is_of_luigid(body):
        return ""
    return f"what answers at {luigid} is not luigid (status {status})"


def _is_of_luigid(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body)["response"]["enabled"], bool)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _asked(luigid: Address) -> tuple[int, bytes]:
    """Ask luigid's API whether it can be paused, which changes nothing; return the status and the answer."""
    kind = HTTPSConnection if luigid.scheme == "https" else HTTPConnection
    connection = kind(luigid.host, luigid.port, timeout=PROBE_SECONDS)
    headers = {"Authorization": _basic(luigid.credentials)} if luigid.credentials else {}
    try:
        connection.connect()
        with _cut_after(connection.sock, PROBE_SECONDS):
            connection.request("GET", f"{luigid.path}/api/is_pause_enabled", headers=headers)
            response = connection.getresponse()
            return response.status, response.read(_LARGEST_ANSWER)
    finally:
        connection.close()


@contextlib.contextmanager
def _cut_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Cut a connection when time is up: a timeout of its own begins anew with each byte."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # of the socket beneath, also for TLS

    timer = threading.Timer(seconds, cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _basic(credentials: str) -> str:
    import base64

    return "Basic " + base64.b64encode(credentials.encode()).decode()


def run_luigid(luigid: Address, folder: Path) -> None:
    """Run luigid until it is told to end; its log and, over restarts, its state are in `folder`.

    Raises:
        SettingError: the address is not of this machine alone, or it is taken.
        StorageError: the folder can't be used.

    """
    _check_loopback(luigid)
    _configure(folder / "luigid.pickle")
    state = Path(luigi.configuration.get_config().get("scheduler", "state_path"))
    os.umask(0o077)
    with storage_errors(folder, "set [service] folder"):
        make_private(folder)
        _log_to(folder / "luigid.log")
        _check_state(state)
    from luigi import server

    try:
        server.run(api_port=luigid.port, address=luigid.host)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        there = "luigid is there already: stop it" if answers(luigid) else "stop what listens there"
        message = f"luigid can't listen at {luigid}: {reason}; {there}, or set [core] scheduler_port"
        logging.getLogger().error(message)  # noqa: TRY400  # one line
        raise SettingError(message) from error


def _check_state(state: Path) -> None:
    """Refuse a state that others may have written: it is a pickle, so they could run code here.

    Raises:
        SettingError: others can write the file or its folder.

    """
    import shlex

    for path in (state.parent, state):
        if path.exists() and others_can_write(path):
            raise SettingError(
                f"{path.absolute()}: others can write it, and run code here by luigid's state; delete "
                f"{state.name} if you don't trust them, then `chmod go-w {shlex.quote(str(path.absolute()))}`"
            )
    if state.exists():
        state.chmod(0o600)


def _check_loopback(luigid: Address) -> None:
    import ipaddress

    if luigid.scheme != "http" or luigid.path:
        raise SettingError(
            f"[core] scheduler_url: luigid can't serve {luigid}, only plain http without a path; start it "
            "where luigi.cfg has scheduler_host and scheduler_port instead"
        )
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(luigid.host, luigid.port)}
    except OSError as error:
        raise SettingError(f"[core] scheduler_host: {luigid.host!r} has no address ({error})") from error
    if not all(ipaddress.ip_address(one).is_loopback for one in found):
        raise SettingError(
            f"[core] scheduler_host: {luigid.host!r} is not of this machine alone, and luigid lets anyone in "
            "who reaches it; use 127.0.0.1, and a proxy that asks who is there"
        )


def _log_to(path: Path) -> None:
    add_bounded_file(logging.getLogger(), path)
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("tornado.access").setLevel(logging.WARNING)  # a dozen requests each minute


def _configure(state: Path) -> None:
    """Set what luigid reads from the configuration and luigi.cfg leaves open."""
    configuration = luigi.configuration.get_config()
    if not configuration.has_option("scheduler", "state_path"):
        configuration.set("scheduler", "state_path", str(state).replace("%", "%%"))
    if not configuration.has_option("scheduler", "metrics_collector") and _has_prometheus():
        configuration.set("scheduler", "metrics_collector", "prometheus")


def _has_prometheus() -> bool:
    import importlib.util

    return importlib.util.find_spec("prometheus_client") is not None
