"""`luigi-etl status`: the database, its coverage, the newest runs and the disk use on one screen."""

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import luigi
import pytest

from luigi_etl.api.query import parse_query
from luigi_etl.cli.main import run
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import record_snapshot
from luigi_etl.database.merge import merge
from luigi_etl.service.status import measure_disk_use
from tests.conftest import Beside, Chain
from tests.made import ended, stored, taken

NOW = datetime(2026, 11, 27, 9, 26)


def complaint(number: int) -> dict[str, object]:
    return {"complaint_id": str(number), "date_received": "2026-11-01", "state": "CA"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def configuration(
    root: Path, sqlite_address: Path, monkeypatch: pytest.MonkeyPatch
) -> luigi.configuration.LuigiConfigParser:
    """Configure the test's folder and a missing SQLite file for commands in this process."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "root", str(root))
    configuration.set("storage", "database", str(sqlite_address))
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    return configuration


@pytest.fixture
def filled(database: Database, database_address: str | Path, root: Path, configuration: Any) -> Database:
    """Return a database of each kind with two complaints, one of them withdrawn, and their files."""
    configuration.set("storage", "database", str(database_address))
    merge(database, taken(root, NOW - timedelta(minutes=5), [complaint(1), complaint(2)]))
    merge(database, taken(root, NOW, [complaint(1)]))
    return database


def text(capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert run(["status"]) == code
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert run(["status", "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_each_section_is_shown(filled: Database, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended(root, NOW + timedelta(minutes=1), "failed", "no answer in time", slug="state=CA")

    lines = text(capsys).splitlines()

    used = measure_disk_use(root)
    assert lines == [
        f"database  {filled.name}: complaints: 2, withdrawn: 1, unverified: 0, held back: 0",
        "coverage  all complaints, as of 2026-11-27 09:26 UTC",
        "runs      2026-11-27 09:26 UTC of all, stored, rows: 1",
        "          2026-11-27 09:27 UTC of state=CA, failed: no answer in time",
        f"disk      {root}: {used.bytes / 1e6:,.1f} MB, files: {used.files:,}",
    ]


def test_json_has_the_same_content(filled: Database, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys)

    assert found["database"] == {
        "address": filled.name,
        "exists": True,
        "problem": None,
        "complaints": 2,
        "withdrawn": 1,
        "unverified": 0,
        "held_back": 0,
    }
    assert found["coverage"] == [
        {
            "query": "",
            "first_day": None,
            "last_day": None,
            "as_of": "2026-11-27T09:26Z",
            "newest_as_of": "2026-11-27T09:26Z",
            "complete": True,
            "newest": None,
        }
    ]
    assert [(one["query"], one["rows"]) for one in found["runs"]] == [("all", 1)]
    assert found["disk"]["folder"] == str(root)


@pytest.mark.usefixtures("filled")
def test_unverified_complaints_are_counted(beside: Beside, capsys: pytest.CaptureFixture[str]) -> None:
    beside("INSERT INTO unverified (complaint_id, since) VALUES ('1', '2026-11-27 09:26')")

    assert ", withdrawn: 1, unverified: 1" in text(capsys)


def test_missing_database_is_no_problem(sqlite_address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = text(capsys).splitlines()

    assert lines[:3] == [f"database  {sqlite_address}: none yet", "coverage  none", "runs      none"]
    assert not sqlite_address.exists()


def test_unreadable_database_gives_exit_code_1(
    root: Path, sqlite_address: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sqlite_address.write_text("not a database, but more than a few bytes of text\n" * 20)
    stored(root, NOW)

    lines = text(capsys, code=1).splitlines()

    assert lines[0].startswith(f"database  {sqlite_address} can't be used as a database: ")
    assert lines[2] == "runs      2026-11-27 09:26 UTC of all-newest-10, stored, rows: 10"


def test_unreachable_server_gives_exit_code_1(configuration: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configuration.set("storage", "database", "postgresql://127.0.0.1:9/ours")

    found = as_json(capsys, code=1)

    assert "127.0.0.1" in found["database"]["problem"]


def test_long_sections_are_cut(sqlite_address: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Database(sqlite_address).writing() as connection:
        for number in range(30):
            record_snapshot(connection, NOW, parse_query(f"company=No. {number}"), 0, is_whole=True)

    lines = text(capsys).splitlines()

    assert len(lines) == 24
    assert lines[21] == "          and 10 more (--json has all)"


def test_control_characters_do_not_reach_the_terminal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended(root, NOW, "failed", "bad \x1b[31m answer")

    assert "bad \\x1b[31m answer" in text(capsys)


def test_hard_links_count_once(root: Path) -> None:
    root.mkdir()
    (root / "one").write_bytes(b"x" * 10_000)
    before = measure_disk_use(root)

    os.link(root / "one", root / "two")

    assert (before.files, measure_disk_use(root)) == (1, before)


@pytest.mark.slow
def test_status_works_without_a_network(chain: Chain) -> None:
    found = chain.program("luigi-etl", "status", url="http://127.0.0.1:9/")

    assert (found.code, found.err) == (0, "")
    assert found.out.startswith("database  data/complaints.db: none yet\n")
