"""changes.csv, from both kinds of database."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from luigi_etl.database.change_log import Counts, Key, write_changes
from luigi_etl.database.connection import Database
from luigi_etl.database.merge import merge
from tests.made import taken

MINUTE = datetime(2026, 11, 22, 9, 26)
LATER = MINUTE + timedelta(minutes=1)


def complaint(number: int, **fields: object) -> dict[str, object]:
    return {"complaint_id": str(number), "state": "CA", "company": "A", **fields}


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> Database:
    """Give a database of two snapshots; the second has each kind of change except a return."""
    merge(database, taken(tmp_path, MINUTE, [complaint(1), complaint(2)]))
    merge(database, taken(tmp_path, LATER, [complaint(1, state="TX", company='"B", \r\nLtd.'), complaint(3)]))
    return database


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_changes_are_in_the_order_of_discovery(filled: Database, tmp_path: Path) -> None:
    write_changes(filled, [Key(LATER, "", 0)], tmp_path / "changes.csv")
    at = "2026-11-22T09:27Z"
    assert lines(tmp_path / "changes.csv") == [
        ["complaint_id", "change", "field", "old", "new", "snapshot"],
        ["3", "new", "", "", "", at],
        ["1", "changed", "company", "A", '"B", \r\nLtd.', at],
        ["1", "changed", "state", "CA", "TX", at],
        ["2", "withdrawn", "", "", "", at],
    ]


def test_complaints_are_counted_not_their_fields(filled: Database, tmp_path: Path) -> None:
    counts = write_changes(filled, [Key(LATER, "", 0)], tmp_path / "changes.csv")
    assert counts == Counts(new=1, changed=1, withdrawn=1, returned=0)
    assert str(counts) == "1 new, 1 changed, 1 withdrawn, 0 returned"


def test_changes_of_other_queries_and_limits_are_left_out(filled: Database, tmp_path: Path) -> None:
    for key in (Key(MINUTE, "state=CA", 0), Key(MINUTE, "", 10)):
        assert write_changes(filled, [key], tmp_path / "changes.csv") == Counts()


def test_no_snapshots_give_an_empty_file(filled: Database, tmp_path: Path) -> None:
    assert write_changes(filled, [], tmp_path / "changes.csv") == Counts()
    assert len(lines(tmp_path / "changes.csv")) == 1


def test_thousands_of_snapshots_share_one_file(filled: Database, tmp_path: Path) -> None:
    keys = [Key(MINUTE + timedelta(minutes=at), "", 0) for at in range(5000)]
    assert write_changes(filled, keys, tmp_path / "changes.csv").new == 3
