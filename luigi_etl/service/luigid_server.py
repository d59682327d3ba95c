"""luigid as a program: on loopback, with a state over restarts, a bounded log and metrics."""

import importlib.util
import ipaddress
import logging
import os
import shlex
import socket
from pathlib import Path

import luigi
from luigi import server

from luigi_etl.common.errors import SettingError
from luigi_etl.common.files import storage_errors
from luigi_etl.common.log_files import add_bounded_file
from luigi_etl.common.private import is_writable_by_others, make_private
from luigi_etl.service.luigid import Address, is_usable


def run_luigid(luigid: Address, folder: Path) -> None:
    """Run luigid until a signal ends it; `folder` has its log and the state that survives restarts.

    Raises:
        SettingError: the address is taken, or other machines can reach it.
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
    try:
        server.run(api_port=luigid.port, address=luigid.host)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        there = (
            "luigid runs there already: stop it"
            if is_usable(luigid)
            else "stop the program that listens there"
        )
        message = f"luigid can't listen at {luigid}: {reason}; {there}, or set [core] scheduler_port"
        logging.getLogger().error(message)  # noqa: TRY400  # one line
        raise SettingError(message) from error


def _check_state(state: Path) -> None:
    """Refuse a state that others can write: it is a pickle, so they could run code here."""
    for path in (state.parent, state):
        if path.exists() and is_writable_by_others(path):
            raise SettingError(
                f"{path.absolute()}: others can write it, and run code here by luigid's state; delete "
                f"{state.name} if you don't trust them, then `chmod go-w {shlex.quote(str(path.absolute()))}`"
            )
    if state.exists():
        state.chmod(0o600)


def _check_loopback(luigid: Address) -> None:
    if luigid.scheme != "http" or luigid.path:
        raise SettingError(
            f"[core] scheduler_url: luigid can't serve {luigid}, only plain http without a path; start it "
            "where luigi.cfg has scheduler_host and scheduler_port instead"
        )
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(luigid.host, luigid.port)}
    except OSError as error:
        raise SettingError(f"[core] scheduler_host: {luigid.host!r} has no address ({error})") from error
    if not all(ipaddress.ip_address(host).is_loopback for host in found):
        raise SettingError(
            f"[core] scheduler_host: {luigid.host!r} can be reached from other machines, and luigid has "
            "no access control; use 127.0.0.1, and a proxy with a login"
        )


def _log_to(path: Path) -> None:
    add_bounded_file(logging.getLogger(), path)
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("tornado.access").setLevel(logging.WARNING)  # a dozen lines a minute


def _configure(state: Path) -> None:
    """Set the settings of luigid that luigi.cfg does not have."""
    configuration = luigi.configuration.get_config()
    if not configuration.has_option("scheduler", "state_path"):
        configuration.set("scheduler", "state_path", str(state).replace("%", "%%"))
    if not configuration.has_option("scheduler", "metrics_collector") and _has_prometheus():
        configuration.set("scheduler", "metrics_collector", "prometheus")


def _has_prometheus() -> bool:
    return importlib.util.find_spec("prometheus_client") is not None
