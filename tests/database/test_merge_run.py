"""MergeComplaints in real processes: both kinds of database, kills, locks and full disks."""

import contextlib
import csv
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select, text

from luigi_etl.database.connection import Database
from luigi_etl.database.schema import metadata
from tests.conftest import Chain, Run, Serve, disk_of
from tests.postgres import PostgresServer

pytestmark = pytest.mark.slow

MINUTES = [f"2026-11-22T09{number:02}" for number in range(60)]
COLUMNS = ["complaint_id", "change", "field", "old", "new", "snapshot"]


class Merges:
    """Runs merges of all complaints of an API, one a minute."""

    def __init__(self, chain: Chain, address: str | Path, url: str) -> None:
        self.chain = chain
        self.address = address
        self.database = Database(address)
        self.url = url
        chain.configure("storage", database=str(address).replace("%", "%%"))
        chain.configure("guard", accept="true")  # each minute may have entirely different complaints

    def command(self, at: int, *arguments: str) -> list[str]:
        everything = ("--limit", "0", "--timestamp", MINUTES[at])
        return self.chain.luigi_command(*everything, *arguments, task="MergeComplaints")

    def run(self, at: int, *arguments: str) -> Run:
        return self.chain.program(*self.command(at, *arguments), url=self.url)

    def store(self, at: int) -> None:
        """Create the snapshot of a minute without a merge."""
        run = self.chain.luigi("--limit", "0", "--timestamp", MINUTES[at], url=self.url)
        assert run.code == 0

    def everything(self) -> dict[str, list[str]]:
        with self.database.reading() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(select(table))))
                for table in metadata.sorted_tables
            }

    def count(self) -> int:
        return len(self.everything()["stored_complaints"])

    def current(self) -> set[str]:
        with self.database.reading() as connection:
            return set(map(str, connection.scalars(text("SELECT complaint_id FROM current_complaints"))))

    def wait_until_merging(self) -> None:
        """Wait until a process holds the lock of a merge."""
        deadline = time.monotonic() + 60
        while not self._is_held():
            assert time.monotonic() < deadline, "no merge began"
            time.sleep(0.02)

    def _is_held(self) -> bool:
        if isinstance(self.address, Path):
            with contextlib.closing(sqlite3.connect(self.address, timeout=0, isolation_level=None)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    return True
                return False
        with psycopg.connect(self.address) as other_client:
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            return bool(other_client.execute(locks).fetchone() != (0,))

    def changes(self, at: int) -> list[dict[str, str]]:
        path = self.chain.file(f"{MINUTES[at].replace('-', '')}Z.changes.csv")
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def merges(chain: Chain, database_address: str | Path, served: Serve) -> Merges:
    return Merges(chain, database_address, served(3000).url)


def test_merge_prints_one_line_and_writes_changes(merges: Merges) -> None:
    run = merges.run(0)
    assert (run.code, run.err) == (0, "")
    assert run.out.splitlines()[-1] == (
        "3,000 new, 0 changed, 0 withdrawn, 0 returned: "
        "data/snapshots/all/2026-11-22/20261122T0900Z.changes.csv"
    )
    changes = merges.changes(0)
    assert list(changes[0]) == COLUMNS
    assert {(one["change"], one["field"], one["snapshot"]) for one in changes} == {
        ("new", "", "2026-11-22T09:00Z")
    }


def test_deleted_changes_file_is_written_again(merges: Merges) -> None:
    merges.run(0)
    path = merges.chain.file("Z.changes.csv")
    before, everything = path.read_bytes(), merges.everything()
    path.unlink()
    assert merges.run(0).code == 0
    assert path.read_bytes() == before
    assert merges.everything() == everything


def test_killed_merge_is_rolled_back_and_repeated(merges: Merges, served: Serve) -> None:
    merges.run(0)
    before = merges.everything()
    other = served(8_000, seed=2)
    merges.url = other.url
    merges.store(1)
    moments = random.Random(2026)
    for _ in range(3):
        process = merges.chain.start(*merges.command(1), url=merges.url)
        merges.wait_until_merging()
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert merges.everything() == before
    assert merges.run(1).code == 0
    assert merges.current() == set(other.sandbox.index.rows)


def test_run_killed_after_its_merge_only_writes_changes(merges: Merges) -> None:
    """The merge was committed; the file is written from the database."""
    merges.run(0)
    everything = merges.everything()
    for path in merges.chain.files("Z.changes.csv"):
        path.unlink()
    assert merges.run(0).code == 0
    assert merges.everything() == everything


def test_edited_file_is_refused_in_one_line(merges: Merges) -> None:
    merges.store(0)
    path = merges.chain.file("Z.complaints.csv")
    path.write_text(path.read_text().replace("CA", "TX"))
    run = merges.run(0)
    assert run.code == 30
    (line,) = run.err.splitlines()
    assert "20261122T0900Z.complaints.csv was changed since it was written" in line


def test_concurrent_merge_runs_both_succeed(merges: Merges) -> None:
    for at in (0, 1):
        merges.store(at)
    processes = [merges.chain.start(*merges.command(at), url=merges.url) for at in (0, 1)]
    for process in processes:
        assert (process.communicate(timeout=120)[1], process.returncode) == ("", 0)
    assert merges.count() == 3000


# --- SQLite --------------------------------------------------------------------------------------


@pytest.fixture
def on_file(chain: Chain, sqlite_address: Path, served: Serve) -> Merges:
    return Merges(chain, sqlite_address, served(3000).url)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield
    holder.close()


def test_long_lock_is_reported_in_one_line(on_file: Merges) -> None:
    on_file.run(0)
    with _held(on_file.chain.folder / "complaints.db"):
        began = time.monotonic()
        run = on_file.run(1, "--ccdb-retries", "0")
    assert run.code == 30
    assert 10 <= time.monotonic() - began < 25
    (line,) = run.err.splitlines()
    assert "locked by another process for more than 10 s" in line
    assert on_file.run(1).code == 0


def test_short_lock_is_not_reported(on_file: Merges) -> None:
    on_file.run(0)
    on_file.store(1)
    with _held(on_file.chain.folder / "complaints.db"):
        process = on_file.chain.start(*on_file.command(1), url=on_file.url)
        time.sleep(4)
    assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)


def test_reader_does_not_wait_for_a_merge(on_file: Merges) -> None:
    on_file.run(0)
    waits = []
    process = on_file.chain.start(*on_file.command(1), url=on_file.url)
    while process.poll() is None:
        began = time.monotonic()
        assert on_file.count() == 3000
        waits.append(time.monotonic() - began)
    assert process.communicate()[1] == ""
    assert max(waits) < 2


def test_merge_on_a_full_disk_is_rolled_back(chain: Chain, served: Serve, tmp_path: Path) -> None:
    with disk_of("1m", tmp_path / "disk") as disk:
        merges = Merges(chain, disk / "complaints.db", served(300).url)
        assert merges.run(0).code == 0
        before = merges.everything()
        merges.url = served(20_000, seed=2).url
        run = merges.run(1)
        assert run.code == 30
        (line,) = run.err.splitlines()
        assert "cannot write" in line
        assert "make room" in line
        assert merges.everything() == before


# --- PostgreSQL ----------------------------------------------------------------------------------


def test_merge_survives_a_restart_of_the_server(
    chain: Chain, own_postgres: PostgresServer, served: Serve
) -> None:
    with own_postgres.new_database("complaints") as address:
        merges = Merges(chain, address, served(3000).url)
        merges.run(0)
        other = served(20_000, seed=2)
        merges.url = other.url
        merges.store(1)
        process = chain.start(*merges.command(1, "--ccdb-retry-delay", "0.5"), url=merges.url)
        merges.wait_until_merging()
        time.sleep(0.3)
        own_postgres.stop("immediate")
        time.sleep(1.5)
        own_postgres.start()
        err = process.communicate(timeout=120)[1]
        assert process.returncode == 0, err
        assert all("attempt" in line for line in err.splitlines()), err
        assert err
        assert merges.current() == set(other.sandbox.index.rows)


def test_missing_server_is_reported_after_the_attempts(
    chain: Chain, own_postgres: PostgresServer, served: Serve
) -> None:
    merges = Merges(chain, own_postgres.address("postgres"), served(50).url)
    merges.store(0)
    own_postgres.stop()
    run = merges.run(0, "--ccdb-retries", "1")
    lines = run.err.splitlines()
    assert run.code == 30
    assert len(lines) == 2
    assert "MergeComplaints: attempt 2 of 2" in lines[1]
    own_postgres.start()
    assert merges.run(0).code == 0
