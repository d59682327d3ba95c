"""Unattended syncs and merges."""

import contextlib
import json
import os
import signal
import sqlite3
import time

import pytest

from tests.conftest import Chain, Luigid, Serve
from tests.postgres import PostgresServer
from tests.service.unattended_runs import (
    MINUTE,
    NOWHERE,
    find_worker,
    read_record,
    start_hanging,
    stored_minutes,
    sync,
    wait_until_asked,
)

pytestmark = pytest.mark.slow


def held(chain: Chain) -> int:
    with contextlib.closing(sqlite3.connect(chain.folder / "data/complaints.db")) as connection:
        number: int = connection.execute("SELECT count(*) FROM complaints").fetchone()[0]
        return number


def test_sync_is_silent_recorded_and_logged(chain: Chain, served: Serve) -> None:
    run = sync(chain, "2026-11-22T0926", url=served(2000).url)
    assert (run.code, run.out, run.err) == (0, "", "")
    assert held(chain) > 0
    assert (read_record(chain)["outcome"], read_record(chain)["task"]) == ("synced", "SyncComplaints")
    log = chain.log("all~sync", task="SyncComplaints")
    assert (
        f"] {held(chain):,} new, 0 changed, 0 withdrawn, 0 returned, among complaints received since" in log
    )


def test_sync_without_changes_is_silent_and_recorded(chain: Chain, served: Serve) -> None:
    server = served(2000)
    sync(chain, "2026-11-22T0926", url=server.url)
    before = len(server.asked)
    run = sync(chain, "2026-11-22T0927", url=server.url)

    assert (run.code, run.out, run.err) == (0, "", "")
    assert len(server.asked) == before + 1
    assert read_record(chain, "20261122T0927Z")["outcome"] == "synced"
    assert "] up to date: nothing changed since the last sync" in chain.log("all~sync", task="SyncComplaints")


def test_sync_of_a_query_has_its_own_log(chain: Chain, served: Serve) -> None:
    assert sync(chain, "2026-11-22T0926", "--query", "state=CA", url=served(2000).url).code == 0
    assert "exit code 0" in chain.log("state=CA~sync", task="SyncComplaints")


def test_sync_beside_another_sync_is_skipped_and_recorded(chain: Chain, served: Serve) -> None:
    server = served(2000, "2:hang")
    command = chain.unattended_command(
        "--timestamp", "2026-11-22T0926", "--ccdb-read-timeout", "3", task="SyncComplaints"
    )
    process = chain.start(*command, url=server.url)
    wait_until_asked(server, 2)
    skipped = sync(chain, "2026-11-22T0927", url=server.url)

    assert (skipped.code, skipped.out, skipped.err) == (10, "", "")
    assert read_record(chain, "20261122T0927Z")["outcome"] == "skipped"
    assert process.wait(timeout=60) == 0


def test_sync_beside_the_chain_of_its_query_is_not_skipped(chain: Chain, served: Serve) -> None:
    process, server = start_hanging(chain, asked=2, served=served)
    assert sync(chain, "2026-11-22T0927", url=server.url).code == 0
    assert process.wait(timeout=60) == 0


def test_syncs_without_network_are_reported_once(chain: Chain, served: Serve) -> None:
    failing = ("--ccdb-retries", "0")
    first, second = (sync(chain, f"2026-11-22T092{minute}", *failing, url=NOWHERE) for minute in (6, 7))
    assert [(run.code, len(run.err.splitlines())) for run in (first, second)] == [(30, 1), (30, 0)]
    assert "SyncComplaints.all~sync of 20" in first.err
    assert read_record(chain)["outcome"] == "failed"
    recovered = sync(chain, "2026-11-22T0928", url=served(2000).url)
    assert (recovered.code, "SyncComplaints.all~sync works again since" in recovered.err) == (0, True)


def test_failed_window_fails_the_sync(chain: Chain, served: Serve) -> None:
    run = sync(chain, "2026-11-22T0926", url=served(2000, "2:status=400").url)
    assert run.code == 30
    assert "(exit code 30): ExtractWindow: " in run.err
    (on_record,) = (chain.folder / "data/snapshots/all~sync").rglob("*.run.json")
    assert json.loads(on_record.read_text())["outcome"] == "failed"


def test_next_sync_continues_where_a_window_failed(chain: Chain, served: Serve, luigid: Luigid) -> None:
    server = served(2000, "2:status=400")
    assert sync(chain, "2026-11-22T0926", url=server.url).code == 30
    assert sync(chain, "2026-11-22T0927", url=server.url).code == 0
    assert held(chain) > 0
    assert {task["name"] for task in luigid.tasks("DONE").values()} >= {"SyncComplaints", "MergeWindow"}


def test_locked_database_is_reported_once_until_it_is_free(chain: Chain, served: Serve) -> None:
    url = served(2000).url
    failing = ("--ccdb-retries", "0")
    (chain.folder / "data").mkdir()
    with contextlib.closing(sqlite3.connect(chain.folder / "data/complaints.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        runs = [sync(chain, f"2026-11-22T092{minute}", *failing, url=url) for minute in (6, 7)]

    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0)]
    assert "complaints.db: locked by another process for more than 10 s" in runs[0].err
    assert "works again" in sync(chain, "2026-11-22T0928", url=url).err


def test_stopped_server_is_reported_once_until_it_is_back(
    chain: Chain, served: Serve, own_postgres: PostgresServer
) -> None:
    chain.configure("storage", database=own_postgres.address("postgres"))
    url = served(2000).url
    failing = ("--ccdb-retries", "0")
    own_postgres.stop()
    runs = [sync(chain, f"2026-11-22T092{minute}", *failing, url=url) for minute in (6, 7)]
    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0)]
    own_postgres.start()
    assert "works again" in sync(chain, "2026-11-22T0928", url=url).err


def test_failed_merge_is_reported_and_keeps_the_snapshot(chain: Chain, served: Serve) -> None:
    (chain.folder / "data").mkdir()
    (chain.folder / "data/complaints.db").write_bytes(b"no database" * 100)
    run = chain.unattended(*MINUTE, task="MergeComplaints", url=served().url)

    assert (run.code, len(run.err.splitlines())) == (30, 1)
    assert "MergeComplaints: data/complaints.db can't be used as a database" in run.err
    assert (read_record(chain)["outcome"], read_record(chain)["task"]) == ("failed", "MergeComplaints")
    assert stored_minutes(chain) == ["20261122T0926Z"]


def test_worker_killed_while_merging_is_recorded(chain: Chain, served: Serve) -> None:
    (chain.folder / "data").mkdir()
    with contextlib.closing(sqlite3.connect(chain.folder / "data/complaints.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        command = chain.unattended_command(*MINUTE, task="MergeComplaints")
        process = chain.start(*command, url=served().url)
        deadline = time.monotonic() + 30
        while not (chain.files(".run.json") and read_record(chain)["outcome"] == "stored"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(find_worker(process), signal.SIGKILL)
        process.communicate(timeout=30)

    assert (read_record(chain)["task"], read_record(chain)["error"]) == (
        "MergeComplaints",
        "killed by signal 9 (Killed)",
    )
