"""`luigi-etl sandbox`: serve a stand-in for the CFPB's API and files."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from luigi_etl.cli import Subcommands

if TYPE_CHECKING:
    from luigi_etl.sandbox.state import Sandbox

COMMAND_NOT_FOUND = 127  # as in shells
SIGNALLED = 128
LARGEST_PORT = 65_535
MOST_DAYS = 36_500


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "sandbox",
        help="serve a stand-in for the CFPB's API and files on loopback",
        usage="luigi-etl sandbox [options] [-- COMMAND ...]",
        description="Serve a stand-in for the CFPB's API and files on loopback, until interrupted. With "
        "COMMAND: run it with CCDB_URL, CCDB_DAILY_FILE and CCDB_ARCHIVE set, serve until it ends, and "
        "return its exit code.",
    )
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--port", type=int, default=0, help="port to serve on (default: a free one)")
    add("--complaints", type=int, default=1000, metavar="N", help="complaints to generate (default: 1000)")
    add("--days", type=int, default=90, metavar="N", help="days in which they were received (default: 90)")
    add("--today", metavar="DAY", help="last of these days, such as 2026-09-26 (default: today, up to now)")
    add(
        "--era",
        default="2026-08",
        help="month whose API to imitate: 2021-09, 2025-11, 2026-06, 2026-07, 2026-08 (default)",
    )
    add("--seed", type=int, default=1, metavar="N", help="same seed, same complaints (default: 1)")
    add("--replay", type=Path, nargs="+", default=[], metavar="FILE", help="serve recorded responses")
    add("--no-throttle", action="store_true", help="accept more than 20 requests a minute")
    add("--gzip", action="store_true", help="compress responses")
    add("--at", action="append", default=[], metavar="N:EVENT", help="cause EVENT at request N")
    add("--every", action="append", default=[], metavar="N:EVENT", help="cause EVENT at each Nth request")


def run(options: argparse.Namespace) -> int:
    """Serve until the command ends, or until an interrupt."""
    try:
        return _serve(options)
    except OSError as error:
        raise ValueError(str(error)) from error  # about a file or port in the options


def _serve(options: argparse.Namespace) -> int:
    from luigi_etl.sandbox.server import serve

    sandbox = _make_sandbox(options)
    with contextlib.ExitStack() as serving:
        try:
            url = serving.enter_context(serve(sandbox, options.port))
        except OSError as error:
            reason = error.strerror or error
            raise ValueError(
                f"--port {options.port}: {reason}; choose another, or omit --port for a free one"
            ) from error
        if options.command:
            return _run_with(url, options.command)
        with contextlib.suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            lines = (f"{name}={address}" for name, address in _addresses(url).items())
            print(f"{sandbox.index.description}, until Ctrl-C at", *lines, sep="\n", flush=True)
            while True:
                time.sleep(3600)
    return 0


def _make_sandbox(options: argparse.Namespace) -> "Sandbox":
    from luigi_etl.sandbox.eras import ERAS
    from luigi_etl.sandbox.index import generated_index
    from luigi_etl.sandbox.replay import replayed_index
    from luigi_etl.sandbox.script import Script, read_rule
    from luigi_etl.sandbox.state import Sandbox, Throttle

    if options.era not in ERAS:
        raise ValueError(f"--era {options.era!r} is not one of {', '.join(ERAS)}")
    if options.complaints < 0 or not 0 <= options.port <= LARGEST_PORT:
        raise ValueError("--complaints must be 0 or more, --port from 0 to 65535")
    if not 1 <= options.days <= MOST_DAYS:
        raise ValueError(f"--days must be from 1 to {MOST_DAYS}")
    era = ERAS[options.era]
    rules = [read_rule(text) for text in options.at] + [read_rule(text, True) for text in options.every]
    if options.replay:
        index = replayed_index(options.replay, options.seed, era)
    else:
        index = generated_index(
            options.complaints, options.seed, era, options.days, _last_moment(options.today)
        )
    throttle = None if options.no_throttle else Throttle()
    return Sandbox(index, era, throttle, Script(rules), options.gzip)


def _last_moment(day: str | None) -> datetime:
    """Return the time of the last complaint: 22:00 UTC of a given day, or now."""
    if day is None:
        return datetime.now(timezone.utc)
    try:
        return datetime.fromisoformat(f"{date.fromisoformat(day)}T22:00:00+00:00")
    except ValueError:
        raise ValueError(f"--today {day!r} is not a day such as 2026-09-26") from None


def _addresses(url: str) -> dict[str, str]:
    """Return the environment variables with the sandbox's addresses."""
    from luigi_etl.sandbox.archive import PAGE
    from luigi_etl.sandbox.files import DAILY

    return {"CCDB_URL": url, "CCDB_DAILY_FILE": urljoin(url, DAILY), "CCDB_ARCHIVE": urljoin(url, PAGE)}


def _run_with(url: str, command: list[str]) -> int:
    """Run a command with its addresses set to the sandbox; return its exit code."""
    unproxied = ",".join(filter(None, (os.environ.get("NO_PROXY"), urlsplit(url).hostname)))
    proxies = {"NO_PROXY": unproxied, "no_proxy": unproxied}
    environment = {**os.environ, **_addresses(url), **proxies}
    with _passing_signals_on() as run:
        try:
            code = run(subprocess.Popen(command, env=environment))  # noqa: S603  # the user's command
        except OSError as error:
            sys.stderr.write(f"luigi-etl: cannot run {command[0]!r}: {error.strerror}\n")
            return COMMAND_NOT_FOUND
    return code if code >= 0 else SIGNALLED - code


@contextlib.contextmanager
def _passing_signals_on() -> Iterator[Callable[[subprocess.Popen[bytes]], int]]:
    """Handle signals for a command; yield the function that waits for its exit code.

    The handlers are there before the command, and raise nothing: an exception while Python waits for a
    process can lose its exit code.
    """
    started: list[subprocess.Popen[bytes]] = []
    received: list[int] = []

    def terminate(number: int, _: object) -> None:
        received.append(number)
        for process in started:
            process.terminate()

    def wait(process: subprocess.Popen[bytes]) -> int:
        started.append(process)
        if received:
            process.terminate()
        return process.wait()

    # The command gets the terminal's Ctrl-C, too, and handles it itself.
    handlers = {signal.SIGTERM: terminate, signal.SIGHUP: terminate, signal.SIGINT: lambda *_: None}
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield wait
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
