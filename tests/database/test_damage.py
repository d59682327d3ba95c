"""Damaged, unavailable and protected databases: one line each, without a traceback or a value."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from luigi_etl.api.query import parse_query, parse_stored_query
from luigi_etl.common.errors import DatabaseError, DatabaseUnavailableError, EtlError
from luigi_etl.database.change_log import Key, write_changes
from luigi_etl.database.connection import Database
from luigi_etl.database.export import as_csv, open_matches
from luigi_etl.database.merge import merge
from luigi_etl.database.schema import VIEWS, metadata
from luigi_etl.database.sync import Syncer
from luigi_etl.service.doctor.report import CHECKS
from luigi_etl.snapshot.paths import SnapshotFiles
from tests.conftest import Beside, Pipeline
from tests.made import taken
from tests.postgres import PostgresServer

MINUTE = datetime(2026, 11, 22, 9, 26)
SECRET = "They took my house"  # appears in no message
TABLES = sorted(table.name for table in metadata.sorted_tables if table.name != "schema_version")
COLUMNS = [
    (table, column.name)
    for table in TABLES
    for column in metadata.tables[table].columns
    if len(metadata.tables[table].columns) > 1
]


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> Database:
    """Give a database of three complaints, each merged twice, and a sync."""
    for at in (0, 1):
        merge(database, snapshot(tmp_path, at))
    with database.writing() as connection:
        connection.execute(
            text(
                "INSERT INTO syncs (timestamp, query, since, hits_total, windows, is_finished) "
                "VALUES ('2026-11-22 09:26', 'sort=created_date_desc', '2026-11-01', 3, '[]', true)"
            )
        )
    return database


def snapshot(folder: Path, at: int) -> SnapshotFiles:
    complaints = [
        {
            "complaint_id": str(number),
            "date_received": "2026-11-01",
            "company": f"{SECRET} {at}",
            **({"tags": "Servicemember"} if at == 0 else {}),
        }
        for number in range(3)
    ]
    return taken(folder / "data", MINUTE.replace(minute=26 + at), complaints)


def uses(database: Database, folder: Path) -> list[Callable[[], object]]:
    """Return the uses of a database: merge, export, changes, sync."""

    def export() -> None:
        with open_matches(database, parse_query("company=x")) as rows:
            list(as_csv(rows))
        with open_matches(database, parse_query("")) as rows:
            list(as_csv(rows))

    key = Key(MINUTE, str(parse_query("")), 0)
    return [
        lambda: merge(database, snapshot(folder, 2)),
        export,
        lambda: write_changes(database, [key], folder / "changes.csv"),
        lambda: Syncer(database, folder, parse_stored_query("sort=created_date_desc")).last_sync(),
    ]


def failures(database: Database, folder: Path) -> list[str]:
    """Return the messages of the uses that fail; each is expected, one line, and without a value."""
    messages = []
    for use in uses(database, folder):
        try:
            use()
        except EtlError as error:
            messages.append(str(error))
    for message in messages:
        assert message.isprintable()
        assert SECRET not in message
        assert "INSERT" not in message
        assert "SELECT" not in message
    return messages


# --- tables and columns --------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_missing_table_is_named(filled: Database, beside: Beside, tmp_path: Path, table: str) -> None:
    drop_views(beside)
    beside(f"DROP TABLE {table}" if filled.name.endswith(".db") else f"DROP TABLE {table} CASCADE")

    messages = failures(filled, tmp_path)

    assert set(messages) == {
        f"{filled.name} is damaged: the table {table} is missing; "
        "restore a backup, or set [storage] database to another"
    }


@pytest.mark.slow  # all 62 together
@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_missing_column_is_named(whole_file: Path, tmp_path: Path, table: str, column: str) -> None:
    """A missing column may stay unnoticed only if nothing reads it."""
    database = without_column(Path(shutil.copy(whole_file, tmp_path)), table, column)

    messages = failures(database, tmp_path)

    assert set(messages) <= {
        f"{database.name} is damaged: the column {column} of the table {table} is missing; "
        "restore a backup, or set [storage] database to another"
    }
    assert messages or table == "syncs" or (table, column) == ("history", "id")


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file of three complaints, for copies."""
    folder = tmp_path_factory.mktemp("whole")
    for at in (0, 1):
        merge(Database(folder / "complaints.db"), snapshot(folder, at))
    return folder / "complaints.db"


def without_column(address: Path, table: str, column: str) -> Database:
    database = Database(address)
    with database.writing() as connection:
        for view in VIEWS:
            connection.execute(text(f"DROP VIEW {view}"))
        others = [one.name for one in metadata.tables[table].columns if one.name != column]
        connection.execute(text(f"CREATE TABLE other AS SELECT {', '.join(others)} FROM {table}"))
        connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text(f"ALTER TABLE other RENAME TO {table}"))
    return database


@pytest.mark.parametrize("column", ["company", "last_seen", "sent"])
def test_missing_column_is_named_by_a_server(
    postgres_address: str, tmp_path: Path, column: str, shared_postgres: PostgresServer
) -> None:
    database = Database(postgres_address)
    merge(database, snapshot(tmp_path, 0))
    shared_postgres.execute(f"ALTER TABLE stored_complaints DROP COLUMN {column} CASCADE", "test")

    messages = failures(database, tmp_path)

    damage = f"the column {column} of the table stored_complaints is missing"
    assert damage in messages[0]
    assert all(damage in message for message in messages)


def drop_views(beside: Beside) -> None:
    for view in reversed(VIEWS):
        beside(f"DROP VIEW IF EXISTS {view}")


@pytest.mark.parametrize("table", ["history", "snapshots"])
def test_doctor_names_a_missing_table(pipeline: Pipeline, beside: Beside, tmp_path: Path, table: str) -> None:
    merge(pipeline.database, snapshot(tmp_path, 0))
    drop_views(beside)
    beside(f"DROP TABLE {table}" + (" CASCADE" if "postgres" in pipeline.database.name else ""))

    (finding,) = CHECKS["database"]()

    assert not finding.well
    assert f"{pipeline.database.name} is damaged: the table {table} is missing; " in finding.message


# --- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "cell", "kind"),
    [
        ("stored_complaints", "date_received", "'never'", "date"),
        ("stored_complaints", "date_received", "20261101", "date"),
        ("stored_complaints", "last_seen", "'never'", "datetime"),
        ("stored_complaints", "last_seen", "7", "datetime"),
        ("stored_complaints", "sent", "'many'", "int"),
        ("snapshots", "timestamp", "'never'", "datetime"),
    ],
)
def test_cell_of_a_wrong_type_is_named(
    sqlite_address: Path, tmp_path: Path, table: str, column: str, cell: str, kind: str
) -> None:
    database = Database(sqlite_address)
    merge(database, snapshot(tmp_path, 0))
    with database.writing() as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = {cell}"))

    messages = failures(database, tmp_path)

    rows = "3 rows" if table == "stored_complaints" else "1 row"
    assert set(messages) == {
        f"{database.name} is damaged: {table}.{column} is not of type {kind} in {rows}; "
        "restore a backup, or set [storage] database to another"
    }


def test_bytes_in_a_text_column_are_named(sqlite_address: Path, tmp_path: Path) -> None:
    database = Database(sqlite_address)
    merge(database, snapshot(tmp_path, 0))
    with database.writing() as connection:
        connection.execute(text("UPDATE stored_complaints SET company = x'ff'"))

    with (
        pytest.raises(
            DatabaseError, match="is damaged: stored_complaints.company is not of type str in 3 rows"
        ),
        open_matches(database, parse_query("")) as rows,
    ):
        list(as_csv(rows))


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE syncs SET windows = 'They took my house'", "a row of syncs can't be read"),
        (
            "UPDATE stored_complaints SET last_sent = 'They took my house'",
            "complaints.last_sent of 0 can't be read",
        ),
    ],
)
def test_unreadable_json_is_named(
    filled: Database, beside: Beside, tmp_path: Path, statement: str, named: str
) -> None:
    beside(statement)

    messages = failures(filled, tmp_path)

    assert messages == [
        f"the database is damaged: {named}; restore a backup, or set [storage] database to another"
    ]


def test_text_that_is_not_utf_8_is_not_shown(sqlite_address: Path, tmp_path: Path) -> None:
    database = Database(sqlite_address)
    merge(database, snapshot(tmp_path, 0))
    with database.writing() as connection:
        connection.execute(text("UPDATE stored_complaints SET company = CAST(company || x'ff' AS TEXT)"))

    messages = failures(database, tmp_path)

    assert set(messages) == {
        f"{database.name}: Could not decode to UTF-8 column 'company'; if it happens again, "
        "restore a backup, or set [storage] database to another"
    }


# --- files ---------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_in_a_page(path: Path) -> None:
    os.truncate(path, 5000)


def overwrite(path: Path, start: int, length: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * length)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_text(path: Path) -> None:
    path.write_text(f"{SECRET}\n" * 1000)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        cut_in_a_page,
        partial(overwrite, start=0, length=16),
        partial(overwrite, start=16, length=84),
        partial(overwrite, start=100, length=4000),
        partial(overwrite, start=4096, length=30_000),
        replace_by_folder,
        replace_by_text,
    ],
)
def test_damaged_file_is_reported_in_one_line(
    sqlite_address: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    database = Database(sqlite_address)
    for at in (0, 1):
        merge(database, snapshot(tmp_path, at))
    damage(sqlite_address)

    messages = failures(database, tmp_path)

    assert messages
    assert all(str(sqlite_address) in message for message in messages)


# --- servers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
def test_missing_right_is_reported_in_one_line(
    shared_postgres: PostgresServer, postgres_address: str, tmp_path: Path, right: str
) -> None:
    merge(Database(postgres_address), snapshot(tmp_path, 0))
    rights = ", ".join({"SELECT", "INSERT", "UPDATE", "DELETE"} - {right})
    with guest_address(shared_postgres, f"GRANT {rights} ON ALL TABLES IN SCHEMA public TO guest") as address:
        messages = failures(Database(address), tmp_path)

    assert all(" refuses: permission denied for " in message for message in messages)
    assert messages or right == "DELETE"  # nothing was deleted here


@contextmanager
def guest_address(server: PostgresServer, statement: str) -> Iterator[str]:
    server.execute("CREATE ROLE guest LOGIN")
    try:
        server.execute(f"{statement}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO guest", "test")
        yield server.address("test", user="guest")
    finally:
        server.execute("DROP OWNED BY guest", "test")
        server.execute("DROP ROLE guest")


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_terminated_session_is_a_temporary_failure(postgres_address: str, method: str) -> None:
    database = Database(postgres_address)
    with database.writing():
        pass

    with pytest.raises(DatabaseUnavailableError) as caught, getattr(database, method)() as connection:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
        with psycopg.connect(postgres_address, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
        connection.execute(text("SELECT 1"))

    assert str(caught.value).isprintable()


def test_value_refused_by_the_server_is_not_shown(postgres_address: str) -> None:
    database = Database(postgres_address)

    with pytest.raises(DatabaseError) as caught, database.writing() as connection:
        connection.execute(text("SELECT CAST(:value AS date)"), {"value": SECRET})

    assert str(caught.value) == (
        f"{database.name}: a value was not accepted (InvalidDatetimeFormat); if it happens again, "
        "restore a backup, or set [storage] database to another"
    )


def test_duplicate_row_is_reported_in_one_line(filled: Database) -> None:
    with pytest.raises(DatabaseError) as caught, filled.writing() as connection:
        connection.execute(text("INSERT INTO snapshots SELECT * FROM snapshots"))

    assert str(caught.value).isprintable()
    assert str(MINUTE) not in str(caught.value)
    assert "INSERT" not in str(caught.value)


# --- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("method", ["reading", "writing"])
def test_other_encoding_is_refused(shared_postgres: PostgresServer, encoding: str, method: str) -> None:
    shared_postgres.execute(f"CREATE DATABASE other ENCODING '{encoding}' TEMPLATE template0")
    try:
        database = Database(shared_postgres.address("other"))

        with pytest.raises(DatabaseError) as caught, getattr(database, method)():
            pass
    finally:
        shared_postgres.execute("DROP DATABASE other WITH (FORCE)")

    assert str(caught.value) == (
        f"{database.name}: its encoding is {encoding}, which can't store every complaint; create another "
        "with `createdb -E UTF8 -T template0 NAME` and set [storage] database to it"
    )


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
def test_encoding_of_the_environment_is_ignored(
    postgres_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    database = Database(postgres_address)
    company = "Ćwiek — 銀行"

    merge(database, taken(tmp_path, MINUTE, [{"complaint_id": "7", "company": company}]))

    with database.reading() as connection:
        assert connection.scalar(text("SELECT company FROM complaints")) == company


# --- values of any length ------------------------------------------------------------------------


def incompressible(length: int) -> str:
    return os.urandom(length // 2).hex()


@pytest.mark.slow
def test_value_of_any_length_is_merged(database: Database, tmp_path: Path) -> None:
    company = incompressible(1_000_000)

    for at in (0, 1):
        merge(
            database, taken(tmp_path, MINUTE.replace(minute=at), [{"complaint_id": "7", "company": company}])
        )

    with database.reading() as connection:
        assert connection.scalar(text("SELECT company FROM current_complaints")) == company


def test_query_of_any_length_is_merged(database: Database, tmp_path: Path) -> None:
    query = "&".join(f"company={incompressible(200)}" for _ in range(50))

    merge(database, taken(tmp_path, MINUTE, [{"complaint_id": "7"}], query=query))

    with database.reading() as connection:
        assert connection.scalar(text("SELECT query FROM snapshots")) == str(parse_query(query))


def test_very_long_id_is_rejected(database: Database, tmp_path: Path) -> None:
    digits = "".join(str(byte % 10) for byte in os.urandom(10_000))

    merge(database, taken(tmp_path, MINUTE, [{"complaint_id": digits}, {"complaint_id": "7"}]))

    with database.reading() as connection:
        assert connection.scalars(text("SELECT complaint_id FROM complaints")).all() == [7]


@pytest.mark.parametrize("digest", ["NULL", "7"])
def test_complaint_that_was_never_seen_is_named(
    filled: Database, beside: Beside, tmp_path: Path, digest: str
) -> None:
    beside(f"UPDATE stored_complaints SET last_seen = NULL, file_digest = {digest}")

    messages = failures(filled, tmp_path)

    assert messages
    assert all("is damaged: a row of stored_complaints has no last_seen; " in one for one in messages)


# --- a pooler ------------------------------------------------------------------------------------


def test_pooler_may_change_sessions_between_transactions(
    shared_postgres: PostgresServer, postgres_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("pgbouncer"):
        pytest.skip("there is no program pgbouncer: apt install pgbouncer")
    assert postgres_address
    monkeypatch.setattr("luigi_etl.database.merge.BATCH", 10)  # repeat each statement often

    with shared_postgres.pooled("test") as address:
        for at in range(4):
            complaints = [{"complaint_id": str(number), "state": f"{at}"} for number in range(100)]
            merge(Database(address), taken(tmp_path / "large", MINUTE.replace(minute=at), complaints))
        messages = failures(Database(address), tmp_path)

    assert messages == []
