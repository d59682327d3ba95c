"""luigid, as luigi.cfg describes it: on loopback, its state kept, its log bounded, its metrics on."""

import logging
import os
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import luigi

from luigi_etl.errors import SettingError
from luigi_etl.files import storage_errors
from luigi_etl.logs import add_bounded_file

PROBE_SECONDS = 2.0


class Address(NamedTuple):
    """Where luigid is, or should be."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}"


def address() -> Address:
    """Return the address of luigi.cfg: `[core] scheduler_host` and `scheduler_port`."""
    core = luigi.interface.core()
    return Address(core.scheduler_host, core.scheduler_port)


def answers(luigid: Address) -> bool:
    """Tell whether luigid answers: `HEAD /` with 204, within two seconds."""
    connection = HTTPConnection(luigid.host, luigid.port, timeout=PROBE_SECONDS)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().status == 204
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def run_luigid(luigid: Address, folder: Path) -> None:
    """Run luigid until it is told to end; its log and, over restarts, its state are in `folder`.

    Raises:
        SettingError: the address is not of this machine alone, or it is taken.
        StorageError: the folder can't be used.

    """
    _check_loopback(luigid)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _log_to(folder / "luigid.log")
    _configure(folder / "luigid.pickle")
    from luigi import server

    os.umask(0o077)  # the state is a pickle: who can write it can run code here
    try:
        server.run(api_port=luigid.port, address=luigid.host)
    except OSError as error:
        raise SettingError(
            f"luigid can't listen at {luigid}: {error.strerror or error}; if it is not there already, "
            "set [core] scheduler_port"
        ) from error


def _check_loopback(luigid: Address) -> None:
    import ipaddress

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
