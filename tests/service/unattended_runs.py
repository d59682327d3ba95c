"""Helpers for the tests of unattended runs."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import Chain, Run, Serve, Served
from tests.raw import answer, serving

MINUTE = ("--timestamp", "2026-11-22T0926")
NOWHERE = "http://127.0.0.1:9/"


def read_record(chain: Chain, minute: str = "20261122T0926Z") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(chain.file(f"{minute}.run.json").read_text())
    return found


def stored_minutes(chain: Chain) -> list[str]:
    """Return the minutes that have a Data Package: their chain is complete."""
    return [path.name.split(".")[0] for path in chain.files(".datapackage.json")]


def start_hanging(
    chain: Chain, *arguments: str, asked: int, served: Serve
) -> tuple[subprocess.Popen[str], Any]:
    """Start a run with pages of 10; return it when it hangs at request `asked`."""
    server = served(100, f"{asked}:hang")
    walk = ("--limit", "0", "--ccdb-page-size", "10", "--ccdb-read-timeout", "8")
    process = chain.start(*chain.unattended_command(*MINUTE, *walk, *arguments), url=server.url)
    wait_until_asked(server, asked)
    return process, server


def wait_until_asked(server: Served, times: int) -> None:
    deadline = time.monotonic() + 30
    while len(server.asked) < times:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def find_worker(process: subprocess.Popen[str]) -> int:
    """Return the id of the process that runs Luigi for an unattended run."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise TimeoutError("no worker")


def sync(chain: Chain, minute: str, *arguments: str, url: str) -> Run:
    return chain.unattended("--timestamp", minute, *arguments, task="SyncComplaints", url=url)


def list_runs(chain: Chain) -> list[tuple[str, str, str]]:
    """Return the minute, outcome and error of each run, oldest first."""
    runs = json.loads(chain.program("luigi-etl", "runs", "--json", "--since", "2026-11-22").out)
    return [(run["minute"][11:16], run["outcome"], run["error"] or "") for run in reversed(runs)]


@contextlib.contextmanager
def serve_error(text: str, status: int = 400) -> Iterator[str]:
    """Serve an API that returns an error with a text for each query."""
    body = json.dumps({"detail": text}).encode()
    with serving(answer(body, status=f"{status} Error")) as server:
        yield server.url
