"""Unattended runs that are killed or get a signal."""

import contextlib
import os
import random
import shlex
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import Chain, Luigid, Serve
from tests.service.unattended_runs import (
    MINUTE,
    NOWHERE,
    find_worker,
    read_record,
    serve_error,
    start_hanging,
    stored_minutes,
    wait_until_asked,
)

pytestmark = pytest.mark.slow


def test_killed_worker_is_reported_and_recorded(chain: Chain, served: Serve) -> None:
    process, _ = start_hanging(chain, asked=3, served=served)
    os.kill(find_worker(process), signal.SIGKILL)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 128 + signal.SIGKILL
    assert "(exit code 137): killed by signal 9 (Killed)" in err
    assert (read_record(chain)["outcome"], read_record(chain)["error"]) == (
        "failed",
        "killed by signal 9 (Killed)",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_run_ended_by_a_signal_is_reported_and_recorded(chain: Chain, served: Serve, number: int) -> None:
    process, server = start_hanging(chain, asked=3, served=served)
    worker = find_worker(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f"(exit code {128 + number}): killed by signal {number} ({signal.strsignal(number)})" in err
    assert not Path(f"/proc/{worker}").exists()
    assert read_record(chain)["error"].startswith("killed by signal ")
    again = chain.unattended("--timestamp", "2026-11-22T0927", "--limit", "0", url=server.url)
    assert (again.code, "works again" in again.err) == (0, True)


def is_alive(pid: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_signal_ends_all_workers_of_a_run(chain: Chain, served: Serve) -> None:
    process, _ = start_hanging(chain, "--workers", "2", asked=3, served=served)
    worker = find_worker(process)
    others = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    assert others
    process.terminate()
    process.communicate(timeout=30)
    assert not [pid for pid in others if is_alive(pid)]


def test_ignored_signal_stays_ignored(chain: Chain, served: Serve) -> None:
    """nohup ignores SIGHUP; a shell in the background ignores SIGINT."""
    server = served(100, "3:hang")
    walk = ("--limit", "0", "--ccdb-page-size", "10", "--ccdb-read-timeout", "3")
    command = shlex.join(chain.unattended_command(*MINUTE, *walk))
    process = chain.start("sh", "-c", f"trap '' HUP INT; exec {command}", url=server.url)
    wait_until_asked(server, 3)
    for pid in (process.pid, find_worker(process)):
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGINT)

    assert (process.communicate(timeout=60), process.returncode) == (("", ""), 0)


def test_signal_before_the_worker_starts_ends_the_run(chain: Chain) -> None:
    """The signal comes during the probe of luigid."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        chain.configure("core", scheduler_port=silent.getsockname()[1])
        process = chain.start(*chain.unattended_command(*MINUTE), url=NOWHERE)
        silent.accept()
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "killed by signal 15 (Terminated)" in err
    assert read_record(chain)["outcome"] == "failed"


def test_worker_without_parent_releases_the_lock(chain: Chain) -> None:
    """The worker writes more than a pipe holds, and nobody reads it: writes must fail, not block."""
    with serve_error("x" * 490, status=503) as url:
        process = chain.start(*chain.unattended_command(*MINUTE, "--ccdb-retries", "120"), url=url)
        worker = find_worker(process)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 90
        while Path(f"/proc/{worker}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert chain.unattended("--timestamp", "2026-11-22T0927", "--ccdb-retries", "0", url=NOWHERE).code == 30


def test_runs_after_twenty_random_kills_are_complete(chain: Chain, served: Serve, luigid: Luigid) -> None:
    """Kill in turn luigid, the whole run, and its parent process alone."""
    server = served(60)
    walk = ("--limit", "0", "--ccdb-page-size", "10")
    generator = random.Random(3)
    for turn in range(20):
        process = chain.start(
            *chain.unattended_command("--timestamp", f"2026-11-22T10{turn:02}", *walk),
            url=server.url,
            start_new_session=True,
        )
        time.sleep(generator.uniform(0.2, 1.0))
        if turn % 3 == 0:
            luigid.kill()
            luigid.start()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if turn % 3 == 1 else os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        minute = ("--timestamp", f"2026-11-22T11{turn:02}")
        while (run := chain.unattended(*minute, *walk, url=server.url)).code == 10:
            time.sleep(0.1)  # the worker of a killed run still holds the lock
        assert run.code == 0, (turn, run.err)

    assert [minute for minute in stored_minutes(chain) if "T11" in minute] == [
        f"20261122T11{turn:02}Z" for turn in range(20)
    ]
    assert {path.read_bytes() for path in chain.files("Z.complaints.csv")} == {
        chain.files("Z.complaints.csv")[0].read_bytes()
    }
