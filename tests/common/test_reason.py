"""The reason of a failure in one line."""

import contextlib
import json
import tempfile
from datetime import datetime
from pathlib import Path

import luigi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from luigi_etl.common.errors import StorageError, TransientError
from luigi_etl.common.reason import LONGEST_REASON, bounded, reason
from luigi_etl.database.schema import complaints
from luigi_etl.tasks.base import Snapshot

MINUTE = datetime(2026, 11, 22, 9, 26)
KINDS = [TypeError, KeyError, OSError, RecursionError, StorageError, TransientError, SystemExit, Exception]


class MuteError(Exception):
    """An error whose `__str__` fails."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StorageError("cannot write x: no room"), "cannot write x: no room"),
        (TypeError("no\nluck"), "TypeError: no luck"),
        (KeyError("state"), "KeyError: 'state'"),
        (ValueError(), "ValueError"),
        (MuteError(), "MuteError"),
        (StorageError(" \n"), "StorageError"),
        (ValueError("\x1b[2J\ud800"), "ValueError: \\x1b[2J\\ud800"),
        (ValueError("\n" * 10_000_000 + "x"), "ValueError: x"),
    ],
)
def test_line_has_the_type_and_the_reason(error: Exception, line: str) -> None:
    assert reason(error) == line


def test_text_that_sqlalchemy_appends_is_removed() -> None:
    engine = create_engine("sqlite://")
    row = {column.name: None for column in complaints.columns} | {"complaint_id": "7", "company": "my secret"}

    with pytest.raises(DBAPIError) as raised, engine.begin() as connection:
        connection.execute(insert(complaints), [row] * 100)

    assert reason(raised.value) == "OperationalError: (sqlite3.OperationalError) no such table: complaints"


def test_rows_that_postgresql_quotes_are_removed(postgres_address: str) -> None:
    engine = create_engine(postgres_address.replace("postgresql:", "postgresql+psycopg:"))

    with pytest.raises(IntegrityError) as raised, engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id text PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO t VALUES ('my secret'), ('my secret')")

    line = reason(raised.value)
    assert "duplicate key value violates unique constraint" in line
    assert "secret" not in line


def test_cut_text_ends_with_dots() -> None:
    assert bounded("x" * 501) == "x" * (LONGEST_REASON - 3) + "..."
    assert bounded("x" * 500) == "x" * 500


@pytest.mark.slow
@given(st.sampled_from(KINDS), st.text() | st.text(alphabet=" \n\x00\x85\u2028x[:\ud800", min_size=400))
def test_recorded_error_is_one_bounded_line(kind: type[BaseException], text: str) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        configuration = luigi.configuration.get_config()
        before = configuration.get("storage", "root", "data")
        configuration.set("storage", "root", folder)
        stack.callback(configuration.set, "storage", "root", before)
        task = Snapshot(timestamp=MINUTE)
        task.__dict__.pop("files", None)  # Luigi caches its tasks
        error = kind(text * 3)

        shown = task.on_failure(error)

        (path,) = Path(folder).rglob("*.run.json")
        recorded = json.loads(path.read_bytes())["error"]
        task.__dict__.pop("files", None)
    assert shown == recorded == reason(error)
    assert 0 < len(recorded) <= LONGEST_REASON
    assert recorded.isprintable()
