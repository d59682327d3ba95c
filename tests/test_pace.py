import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luigi_etl.pace import default_pace_file, shared_pace
from luigi_etl.sandbox.server import Throttle
from tests.conftest import Serve

TAKE = (
    "import sys, time, pathlib; from luigi_etl.pace import shared_pace\n"
    "pace = shared_pace(pathlib.Path(sys.argv[1]), 'host', 5)\n"
    "print(sum(pace.try_acquire('host', blocking=False) for _ in range(5)))\n"
)
WALK = (
    "import sys, pathlib; from luigi_etl.ccdb import Client; from luigi_etl.settings import Settings\n"
    "with Client(Settings(url=sys.argv[1], pace_file=pathlib.Path(sys.argv[2]))) as client:\n"
    "    for _ in range(int(sys.argv[3])): client.page((), 1, None)\n"
)


def test_processes_share_one_count(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "pace.sqlite")]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    taken = [int(taker.communicate(timeout=60)[0]) for taker in takers]
    assert sum(taken) == 5


def test_what_is_counted_while_a_process_waits_to_start_stays_counted(tmp_path: Path) -> None:
    path = tmp_path / "pace.sqlite"
    shared_pace(path, "host", 1)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(shared_pace, path, "host", 1)
        time.sleep(0.3)
        database.execute("INSERT INTO requests_to_host VALUES ('host', ?)", (int(time.time() * 1000),))
        database.execute("COMMIT")
        pace = starting.result(timeout=30)
    assert not pace.try_acquire("host", blocking=False)


def test_hosts_are_counted_apart(tmp_path: Path) -> None:
    for host in ("one.example:443", "two.example"):
        assert shared_pace(tmp_path / "pace.sqlite", host, 1).try_acquire(host, blocking=False)


def test_requests_of_the_last_minute_count_for_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "pace.sqlite"
    assert shared_pace(path, "host", 1).try_acquire("host", blocking=False)
    assert not shared_pace(path, "host", 1).try_acquire("host", blocking=False)


@pytest.mark.parametrize("seconds", [-120, 3600])
def test_old_requests_and_those_of_a_clock_set_back_do_not_count(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "pace.sqlite"
    assert shared_pace(path, "host", 1).try_acquire("host", blocking=False)
    with sqlite3.connect(path) as database:
        moment = int((time.time() + seconds) * 1000)
        database.execute("UPDATE requests_to_host SET item_timestamp = ?", (moment,))
    assert shared_pace(path, "host", 1).try_acquire("host", blocking=False)


def test_the_count_is_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_pace_file() == tmp_path / "luigi_etl" / "pace.sqlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert default_pace_file() == Path("/home/user/.cache/luigi_etl/pace.sqlite")


@pytest.mark.slow
def test_twenty_five_requests_of_two_processes_meet_no_429(served: Serve, tmp_path: Path) -> None:
    server = served(throttle=Throttle())
    command = [sys.executable, "-c", WALK, server.url, str(tmp_path / "pace.sqlite")]
    walkers = [subprocess.Popen([*command, number]) for number in ("13", "12")]
    assert [walker.wait(timeout=150) for walker in walkers] == [0, 0]
    assert server.statuses == [200] * 25
