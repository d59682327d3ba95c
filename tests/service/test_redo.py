"""`luigi-etl redo`: the chain runs again from a step on, and no file is lost if it fails."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from luigi_etl.service.redo import redo as redo_files
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.store import publish
from tests.conftest import Chain, Luigid, Run, Serve
from tests.hostile_luigid import HostileLuigid

pytestmark = pytest.mark.slow

MINUTE = "2026-11-22T0926"
PREFIX = "20261122T0926Z"
NOWHERE = "http://127.0.0.1:9/"
MADE_FROM = {
    "create": ["document.csv", "complaints.csv", "datapackage.json", "run.json"],
    "extract": [
        "extracted.jsonl.gz",
        "parsed.jsonl",
        "rejected.jsonl",
        "summary.json",
        "complaints.csv",
        "datapackage.json",
        "run.json",
    ],
    "parse": [
        "parsed.jsonl",
        "rejected.jsonl",
        "summary.json",
        "complaints.csv",
        "datapackage.json",
        "run.json",
    ],
    "store": ["complaints.csv", "datapackage.json", "run.json"],
}


@pytest.fixture
def stored(chain: Chain, served: Serve) -> str:
    """Store a snapshot; return the address of its API."""
    chain.configure("ccdb", requests_per_minute=0, retries=0, backoff=0.01)
    url = served(50).url
    assert chain.luigi("--timestamp", MINUTE, url=url).code == 0
    return url


@pytest.fixture
def merged(chain: Chain, stored: str) -> str:
    """Also merge the snapshot; return the address of its API."""
    assert chain.luigi("--timestamp", MINUTE, task="MergeComplaints", url=stored).code == 0
    return stored


def redo(chain: Chain, *arguments: str, url: str) -> Run:
    return chain.program("luigi-etl", "redo", MINUTE, *arguments, url=url)


def contents(chain: Chain) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in chain.files() if path.name.startswith(PREFIX)}


def in_database(chain: Chain, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(chain.folder / "data/complaints.db")) as connection:
        return connection.execute(statement).fetchall()


def inodes(chain: Chain) -> dict[str, int]:
    return {
        path.name.removeprefix(f"{PREFIX}."): path.stat().st_ino
        for path in chain.files()
        if "Z." in path.name
    }


@pytest.mark.parametrize("stage", ["create", "extract", "parse", "store"])
def test_files_from_the_stage_on_are_rewritten_and_named(chain: Chain, stored: str, stage: str) -> None:
    before = inodes(chain)
    run = redo(chain, "--from", stage, url=stored)
    assert run.code == 0
    *removed, closing = run.out.splitlines()
    folder = "data/snapshots/all-newest-10/2026-11-22"
    assert removed == [f"removed {folder}/{PREFIX}.{name}" for name in MADE_FROM[stage]]
    assert closing.startswith("10 complaints of 50 that match")

    after = inodes(chain)

    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == set(MADE_FROM[stage])
    assert run.err == "luigid does not answer at http://127.0.0.1:8082: the redo runs without luigid\n"


def test_luigid_of_another_user_is_not_used(chain: Chain, stored: str) -> None:
    with HostileLuigid.of_nobody() as hostile:
        chain.configure("core", scheduler_port=hostile.port)
        run = redo(chain, "--from", "parse", url=stored)

    listens = f"another user's program (uid 65534) listens at http://127.0.0.1:{hostile.port}"
    assert (run.code, run.err) == (0, f"{listens}: the redo runs without luigid\n")


def test_default_stage_asks_the_api_again(chain: Chain, served: Serve, stored: str) -> None:
    assert stored

    server = served(60)

    assert redo(chain, url=server.url).code == 0
    assert len(server.asked) == 1
    assert b"of 60" not in contents(chain)[f"{PREFIX}.complaints.csv"]
    assert b'"hits_total": 60' in contents(chain)[f"{PREFIX}.datapackage.json"]


def test_redo_from_parse_is_offline_and_writes_the_same_bytes(chain: Chain, stored: str) -> None:
    assert stored
    before = contents(chain)
    assert redo(chain, "--from", "parse", url=NOWHERE).code == 0

    after = contents(chain)

    assert {name for name in before if before[name] != after[name]} <= {f"{PREFIX}.run.json"}


def test_failed_redo_restores_all_files(chain: Chain, stored: str) -> None:
    assert stored
    before = contents(chain)

    run = redo(chain, url=NOWHERE)

    assert run.code == 30
    assert run.err.endswith("luigi-etl: redo failed; the original files were restored\n")
    assert contents(chain) == before


def test_next_redo_repairs_a_killed_one(chain: Chain, served: Serve, stored: str) -> None:
    assert stored
    before = contents(chain)
    server = served(50, "1:hang")
    process = chain.start("luigi-etl", "redo", MINUTE, url=server.url)
    wait_until(lambda: len(server.asked) == 1)
    process.kill()
    process.communicate()

    run = redo(chain, "--from", "store", url=NOWHERE)

    assert run.code == 0
    assert contents(chain)[f"{PREFIX}.extracted.jsonl.gz"] == before[f"{PREFIX}.extracted.jsonl.gz"]
    assert contents(chain).keys() == before.keys()


def test_new_run_after_a_killed_redo_keeps_its_files(chain: Chain, served: Serve, stored: str) -> None:
    assert stored
    hanging = served(50, "1:hang")
    process = chain.start("luigi-etl", "redo", MINUTE, url=hanging.url)
    wait_until(lambda: len(hanging.asked) == 1)
    process.kill()
    process.communicate()

    assert chain.luigi("--timestamp", MINUTE, url=served(60).url).code == 0
    assert redo(chain, "--from", "store", url=NOWHERE).code == 0
    assert b'"hits_total": 60' in contents(chain)[f"{PREFIX}.datapackage.json"]
    assert not chain.files(".redo")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_during_a_redo_restores_all_files(
    chain: Chain, served: Serve, stored: str, number: signal.Signals
) -> None:
    assert stored
    before = contents(chain)
    server = served(50, "1:hang")
    process = chain.start("luigi-etl", "redo", MINUTE, url=server.url)
    wait_until(lambda: len(server.asked) == 1)
    process.send_signal(number)

    _, err = process.communicate(timeout=30)

    assert process.returncode != 0
    assert "Traceback" not in err
    assert contents(chain) == before


def test_failed_redo_restores_the_newest_csv(chain: Chain, stored: str) -> None:
    assert stored
    latest = chain.folder / "data/latest/all-newest-10.csv"
    before = latest.read_bytes()
    files = SnapshotFiles(chain.folder / "data", "all-newest-10", datetime(2026, 11, 22, 9, 26))

    def fail_after_publishing() -> int:
        files.complaints.write_bytes(b"new")
        os.utime(files.complaints, (latest.stat().st_mtime,) * 2)  # `store` sets it to the minute
        publish(files.complaints, files.latest)
        return 30

    assert redo_files(files, "store", fail_after_publishing) == 30
    assert latest.read_bytes() == before


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_minute_without_a_run_is_one_line(chain: Chain, stored: str) -> None:
    run = chain.program("luigi-etl", "redo", "2026-11-22T0927", url=stored)

    assert (run.code, run.out) == (1, "")
    assert run.err == (
        "luigi-etl: error: no run of 2026-11-22T0927 (UTC) of all-newest-10 left a file: nothing to redo; "
        "list the runs with `luigi-etl runs --since DAY`, and choose one with --query and --limit\n"
    )


def test_query_and_limit_choose_the_snapshot(chain: Chain, stored: str) -> None:
    arguments = ("--query", "state=CA", "--limit", "0")
    assert redo(chain, *arguments, url=stored).code == 1
    assert chain.luigi("--timestamp", MINUTE, *arguments, url=stored).code == 0
    assert redo(chain, *arguments, url=stored).code == 0


@pytest.mark.parametrize("timestamp", ["yesterday", "2026-11-22", "2999-01-01T0000"])
def test_invalid_minute_is_one_line(chain: Chain, timestamp: str) -> None:
    run = chain.program("luigi-etl", "redo", timestamp)

    assert (run.code, run.out, len(run.err.splitlines())) == (2, "", 1)
    assert timestamp in run.err


def test_luigid_tracks_a_redo_and_allows_another_at_once(chain: Chain, stored: str, luigid: Luigid) -> None:
    for _ in range(2):
        run = redo(chain, "--from", "store", url=stored)
        assert (run.code, run.err) == (0, "")

    assert [task["name"] for task in luigid.tasks("DONE").values()].count("StoreComplaints") == 1


@pytest.mark.parametrize("task", ["StoreComplaints", "MergeComplaints"])
def test_redo_is_refused_during_a_run_of_the_query(
    chain: Chain, served: Serve, stored: str, task: str
) -> None:
    server = served(50, "1:hang")
    process: subprocess.Popen[str] = chain.start(
        *chain.unattended_command("--timestamp", "2026-11-22T0930", task=task),
        url=server.url,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(server.asked) == 1)
        before = contents(chain)
        run = redo(chain, url=stored)
        assert run.code == 1
        assert run.err.startswith(
            f"luigi-etl: error: another run is under way (process {process.pid}, begun at"
        )
        assert contents(chain) == before
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_redone_csv_is_published_as_the_newest(chain: Chain, stored: str) -> None:
    assert redo(chain, "--from", "store", url=stored).code == 0

    latest = chain.folder / "data/latest/all-newest-10.csv"
    assert os.path.samestat(latest.stat(), Path(chain.file(".complaints.csv")).stat())


# --- merged snapshots ----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["create", "parse", "store", "merge"])
def test_redo_of_a_merged_snapshot_rewrites_the_changes(chain: Chain, merged: str, stage: str) -> None:
    before = inodes(chain)
    run = redo(chain, "--from", stage, url=merged)
    assert run.code == 0
    made = ["changes.csv", "run.json"] + [name for name in MADE_FROM.get(stage, []) if name != "run.json"]

    after = inodes(chain)

    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} == set(made)
    assert run.out.splitlines()[-1].startswith("10 new, 0 changed, 0 withdrawn, 0 returned: ")


def test_merged_snapshot_is_not_extracted_again(chain: Chain, merged: str) -> None:
    """Today's response must not replace the one that was merged."""
    before = contents(chain)

    run = redo(chain, url=merged)

    assert run.code == 1
    assert run.err == (
        "luigi-etl: error: the snapshot of 2026-11-22T0926 (UTC) of all-newest-10 is in the database, and "
        "the API's response today differs from that of then: run MergeComplaints for a new snapshot, or "
        "redo this one --from parse\n"
    )
    assert contents(chain) == before


def test_redo_from_parse_does_not_change_the_database(chain: Chain, merged: str) -> None:
    assert merged

    files, rows = contents(chain), in_database(chain, "SELECT * FROM complaints ORDER BY 1")

    assert redo(chain, "--from", "parse", url=NOWHERE).code == 0
    assert in_database(chain, "SELECT * FROM complaints ORDER BY 1") == rows
    assert contents(chain)[f"{PREFIX}.changes.csv"] == files[f"{PREFIX}.changes.csv"]


def test_redo_from_merge_merges_a_stored_snapshot(chain: Chain, stored: str) -> None:
    assert stored
    before = inodes(chain)
    assert redo(chain, "--from", "merge", url=NOWHERE).code == 0

    after = inodes(chain)

    assert after.keys() - before.keys() == {"changes.csv"}
    assert {name for name in before if before[name] != after[name]} == {"run.json"}
    assert in_database(chain, "SELECT count(*) FROM complaints") == [(10,)]


def test_redo_from_merge_fills_a_lost_database(chain: Chain, merged: str) -> None:
    assert merged
    (chain.folder / "data/complaints.db").unlink()

    assert redo(chain, "--from", "merge", url=NOWHERE).code == 0
    assert in_database(chain, "SELECT count(*) FROM complaints") == [(10,)]


def test_redo_of_a_stored_snapshot_does_not_merge(chain: Chain, stored: str) -> None:
    assert redo(chain, url=stored).code == 0
    assert not (chain.folder / "data/complaints.db").exists()


@pytest.mark.parametrize("stage", ["parse", "store", "merge"])
def test_failed_merge_restores_the_changes(chain: Chain, merged: str, stage: str) -> None:
    (chain.folder / "data/complaints.db").write_bytes(b"no database" * 100)
    before = contents(chain)

    run = redo(chain, "--from", stage, url=merged)

    assert run.code == 30
    assert "complaints.db can't be used as a database" in run.err
    assert run.err.endswith("luigi-etl: redo failed; the original files were restored\n")
    assert contents(chain) == before


def test_redo_after_a_failed_merge_merges(chain: Chain, stored: str) -> None:
    database = chain.folder / "data/complaints.db"
    database.write_bytes(b"no database" * 100)
    assert chain.luigi("--timestamp", MINUTE, task="MergeComplaints", url=stored).code == 30
    database.unlink()

    assert redo(chain, "--from", "store", url=NOWHERE).code == 0
    assert in_database(chain, "SELECT count(*) FROM complaints") == [(10,)]


def test_merge_uses_the_limit_of_the_redone_snapshot(chain: Chain, merged: str) -> None:
    chain.configure("MergeComplaints", limit=3)

    assert redo(chain, "--from", "parse", url=merged).code == 0
    assert {path.parts[-3] for path in chain.files(".changes.csv")} == {"all-newest-10"}


@pytest.mark.parametrize("stage", ["store", "merge"])
def test_next_redo_restores_the_changes_of_a_killed_one(chain: Chain, merged: str, stage: str) -> None:
    assert merged
    before = contents(chain)
    files = SnapshotFiles(chain.folder / "data", "all-newest-10", datetime(2026, 11, 22, 9, 26))
    for path in files.made_from(stage):
        if path.exists():
            path.rename(path.with_name(path.name + ".redo"))

    assert redo_files(files, "merge", lambda: 30) == 30
    assert contents(chain) == before


def test_next_redo_merges_after_a_killed_one(chain: Chain, merged: str) -> None:
    assert merged
    files = SnapshotFiles(chain.folder / "data", "all-newest-10", datetime(2026, 11, 22, 9, 26))
    for path in filter(Path.exists, files.made_from("parse")):
        path.rename(path.with_name(path.name + ".redo"))
    (chain.folder / "data/complaints.db").unlink()

    assert redo(chain, "--from", "store", url=NOWHERE).code == 0
    assert in_database(chain, "SELECT count(*) FROM complaints") == [(10,)]
    assert not chain.files(".redo")


def test_next_redo_merges_after_a_failed_merge_and_a_kill(chain: Chain, stored: str) -> None:
    database = chain.folder / "data/complaints.db"
    database.write_bytes(b"no database" * 100)
    assert chain.luigi("--timestamp", MINUTE, task="MergeComplaints", url=stored).code == 30
    database.unlink()
    record = chain.file("Z.run.json")
    record.rename(record.with_name(record.name + ".redo"))

    assert redo(chain, "--from", "store", url=NOWHERE).code == 0
    assert in_database(chain, "SELECT count(*) FROM complaints") == [(10,)]


def test_luigid_is_reached_without_the_proxy(chain: Chain, stored: str, luigid: Luigid) -> None:
    chain.environment.update(HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        chain.environment.pop(name, None)

    run = redo(chain, "--from", "parse", url=stored)

    assert (run.code, run.err) == (0, "")
    assert "ParseComplaints" in [task["name"] for task in luigid.tasks("DONE").values()]


def test_luigid_allows_a_second_merge_at_once(chain: Chain, merged: str, luigid: Luigid) -> None:
    for _ in range(2):
        run = redo(chain, "--from", "merge", url=merged)
        assert (run.code, run.err) == (0, "")

    assert [task["name"] for task in luigid.tasks("DONE").values()].count("MergeComplaints") == 1
