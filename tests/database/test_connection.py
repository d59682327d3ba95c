import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from subprocess import PIPE

import pytest
from sqlalchemy import Connection, delete, insert, select, text
from sqlalchemy.exc import DBAPIError

from luigi_etl.common.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    EtlError,
    NoDatabaseError,
    StorageError,
)
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import complaints, stored_complaints
from tests.conftest import Beside, disk_of, free_port, read_only, without_rights
from tests.postgres import PASSWORD, PostgresServer

pytestmark = pytest.mark.libraries

MINUTE = datetime(2026, 11, 22, 9, 26)


def insert_complaint(connection: Connection, number: str, company: str | None = None) -> None:
    values = {"complaint_id": number, "company": company, "first_snapshot": 1, "last_seen": MINUTE, "sent": 0}
    connection.execute(insert(stored_complaints).values(values))


def ids(connection: Connection) -> list[str]:
    return list(connection.scalars(select(complaints.c.complaint_id).order_by(complaints.c.complaint_id)))


def fill(database: Database, *content: str) -> Database:
    with database.writing() as connection:
        for name in content:
            insert_complaint(connection, name)
    return database


def content(database: Database) -> list[str]:
    with database.reading() as connection:
        return ids(connection)


def failure(database: Database, kind: type[EtlError], method: str = "writing") -> str:
    """Return the message of a failed access; it is one line."""
    with pytest.raises(kind) as caught, getattr(database, method)():
        pass
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit each wait to one second."""
    monkeypatch.setattr("luigi_etl.database.connection.WAIT", 1)


@contextmanager
def no_long_wait() -> Iterator[None]:
    """Check that the block takes less time than the usual wait of ten seconds, also on a loaded machine."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < 9


# --- transactions --------------------------------------------------------------------------------


def test_block_is_committed(database: Database) -> None:
    assert content(fill(database, "1")) == ["1"]


def test_failed_block_is_rolled_back(database: Database) -> None:
    fill(database, "1")
    with pytest.raises(RuntimeError), database.writing() as connection:
        insert_complaint(connection, "2")
        raise RuntimeError
    assert content(database) == ["1"]


def test_failed_first_block_leaves_no_tables(database: Database) -> None:
    with pytest.raises(RuntimeError), database.writing():
        raise RuntimeError
    assert "is empty" in failure(database, NoDatabaseError, "reading")


def test_faulty_statement_is_reported_in_one_line(database: Database) -> None:
    with pytest.raises(DatabaseError) as caught, database.writing() as connection:
        connection.execute(text("SELECT * FROM an_open_readonly_table_that_is_full_and_locked"))

    assert str(caught.value).isprintable()
    assert "SELECT" not in str(caught.value)
    assert isinstance(caught.value.__cause__, DBAPIError)


def test_bug_in_a_block_keeps_its_traceback(database: Database) -> None:
    fill(database, "1")
    with pytest.raises(ValueError, match="a bug"), database.reading():
        raise ValueError("a bug")


def test_missing_module_is_not_taken_for_the_driver(database: Database) -> None:
    with pytest.raises(ModuleNotFoundError), database.writing():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401


# --- readers -------------------------------------------------------------------------------------


def test_reader_does_not_wait_for_a_writer(database: Database) -> None:
    fill(database, "1")
    with database.writing() as connection:
        insert_complaint(connection, "2")
        with no_long_wait():
            content(database)


def test_reader_does_not_see_uncommitted_rows(database: Database) -> None:
    fill(database, "1")
    with database.writing() as connection:
        insert_complaint(connection, "2")
        assert content(database) == ["1"]


def test_reader_sees_one_state(database: Database) -> None:
    fill(database, "1")
    with database.reading() as connection:
        before = ids(connection)
        fill(database, "2")
        assert ids(connection) == before


def test_writer_does_not_wait_for_a_reader(database: Database) -> None:
    fill(database, "1")
    with database.reading() as connection:
        ids(connection)
        with no_long_wait():
            fill(database, "2")


def test_reader_can_not_change_the_database(database: Database) -> None:
    fill(database, "1")
    with database.reading() as connection:
        connection.execute(delete(stored_complaints))
    assert content(database) == ["1"]


def test_database_without_tables_is_reported_as_empty(database: Database, beside: Beside) -> None:
    beside("CREATE TABLE invoices (number INTEGER)")
    assert failure(database, NoDatabaseError, "reading") == (
        f"the database {database.name} is empty: "
        "`luigi --module luigi_etl SyncComplaints --local-scheduler` fills it"
    )


def test_missing_file_is_reported(sqlite_address: Path) -> None:
    assert failure(Database(sqlite_address), NoDatabaseError, "reading") == (
        f"there is no database {sqlite_address} yet: "
        "`luigi --module luigi_etl SyncComplaints --local-scheduler` creates it"
    )


def test_reading_creates_no_file(sqlite_address: Path) -> None:
    failure(Database(sqlite_address), NoDatabaseError, "reading")
    assert os.listdir(sqlite_address.parent) == []


# --- writers -------------------------------------------------------------------------------------


def test_second_writer_waits_for_the_first(database: Database) -> None:
    second = threading.Thread(target=fill, args=(database, "2"))
    with database.writing() as connection:
        second.start()
        second.join(0.5)
        assert second.is_alive()
        insert_complaint(connection, "1")
    second.join()
    assert content(database) == ["1", "2"]


def test_second_writer_sees_the_first_at_any_isolation_level(
    postgres_address: str,
) -> None:
    strict = f"{postgres_address}&options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    database = Database(strict)
    found: list[list[str]] = []

    def read() -> None:
        with database.writing() as connection:
            found.append(ids(connection))

    second = threading.Thread(target=read)
    with database.writing() as connection:
        second.start()
        second.join(0.5)
        insert_complaint(connection, "1")
    second.join()
    assert found == [["1"]]


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_long_lock_on_a_file_is_reported(sqlite_address: Path) -> None:
    database = fill(Database(sqlite_address))
    with database.writing():
        assert failure(database, DatabaseUnavailableError) == (
            f"{sqlite_address}: locked by another process for more than 1 s (database is locked)"
        )


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_long_lock_on_a_server_is_reported(postgres_address: str) -> None:
    database = fill(Database(postgres_address))
    with database.writing():
        assert failure(database, DatabaseUnavailableError) == (
            f"{database.name}: locked by another process for more than 1 s "
            "(canceling statement due to lock timeout)"
        )


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_writer_gives_up_after_the_wait(database: Database) -> None:
    with fill(database).writing(), no_long_wait():
        failure(database, DatabaseUnavailableError)


def test_writer_waits_for_the_lock_on_a_new_file(
    sqlite_address: Path,
) -> None:
    """A new file or a copy needs another journal mode; that statement fails at once under a lock."""
    other = sqlite3.connect(sqlite_address, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, other.execute, ["COMMIT"])
    release.start()
    database = fill(Database(sqlite_address), "1")
    release.join()
    other.close()
    assert content(database) == ["1"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_long_lock_on_a_new_file_is_reported(sqlite_address: Path) -> None:
    other = sqlite3.connect(sqlite_address, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with no_long_wait():
        assert "locked by another process for more than 1 s" in failure(
            Database(sqlite_address), DatabaseUnavailableError
        )
    other.close()


@pytest.mark.slow
def test_processes_can_create_the_database_at_the_same_time(database_address: str | Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from luigi_etl.database.connection import Database\n"
        "kind, address = sys.argv[1:]\n"
        "database = Database(pathlib.Path(address) if kind == 'PosixPath' else address)\n"
        "print('ready', flush=True)\n"
        "time.sleep(float(input()) - time.time())\n"
        "with database.writing(): pass\n"
    )
    command = [sys.executable, "-c", program, type(database_address).__name__, str(database_address)]
    processes = [subprocess.Popen(command, text=True, stdin=PIPE, stdout=PIPE, stderr=PIPE) for _ in range(4)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    moment = str(time.time() + 0.2)
    with ThreadPoolExecutor(len(processes)) as pool:
        ended = list(pool.map(lambda process: process.communicate(moment, timeout=60)[1], processes))
    assert ended == [""] * len(processes)


# --- unusable files ------------------------------------------------------------------------------


def test_folder_of_the_file_is_created(tmp_path: Path) -> None:
    assert content(fill(Database(tmp_path / "new" / "folder" / "file.db"), "1")) == ["1"]


def test_folder_that_can_not_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "complaints.db"
    assert failure(Database(path), StorageError).startswith(f"cannot write {path}: ")


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_file_of_another_kind_is_reported(sqlite_address: Path, method: str) -> None:
    sqlite_address.write_text("complaint_id,state\n" * 1000)
    assert failure(Database(sqlite_address), DatabaseError, method) == (
        f"{sqlite_address} can't be used as a database: file is not a database; "
        "give access to it, restore a backup, or set [storage] database"
    )


def test_file_of_another_kind_is_not_changed(sqlite_address: Path) -> None:
    sqlite_address.write_text("complaint_id,state\n" * 1000)
    failure(Database(sqlite_address), DatabaseError)
    assert sqlite_address.read_text() == "complaint_id,state\n" * 1000


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_damaged_file_is_reported(sqlite_address: Path, method: str) -> None:
    fill(Database(sqlite_address), "1")
    whole = sqlite_address.read_bytes()
    sqlite_address.write_bytes(whole[:100] + bytes(len(whole) - 100))
    assert "malformed" in failure(Database(sqlite_address), DatabaseError, method)


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_folder_in_place_of_the_file_is_reported(tmp_path: Path, method: str) -> None:
    assert f"{tmp_path} can't be used" in failure(Database(tmp_path), DatabaseError, method)


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with without_rights():
        failure(Database(tmp_path / "new" / "complaints.db"), StorageError)


def test_unreadable_folder_is_reported(sqlite_address: Path) -> None:
    fill(Database(sqlite_address))
    sqlite_address.parent.chmod(0)
    with without_rights():
        assert "unable to open" in failure(Database(sqlite_address), DatabaseError, "reading")
    sqlite_address.parent.chmod(0o700)


def test_read_only_disk_is_reported_to_a_writer(sqlite_address: Path) -> None:
    fill(Database(sqlite_address))
    with read_only(sqlite_address.parent):
        failure(Database(sqlite_address), DatabaseError)


def test_read_only_disk_is_reported_to_a_reader(sqlite_address: Path) -> None:
    fill(Database(sqlite_address))
    with read_only(sqlite_address.parent):
        failure(Database(sqlite_address), DatabaseError, "reading")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 512 kB, which has room only for a database without complaints."""
    with disk_of("512k", tmp_path / "disk") as folder:
        yield folder


def insert_many(connection: Connection) -> None:
    for number in range(100, 2100):
        insert_complaint(connection, str(number), "x" * 1000)


def test_full_disk_is_reported(disk: Path) -> None:
    database = fill(Database(disk / "complaints.db"))
    with pytest.raises(StorageError) as caught, database.writing() as connection:
        insert_many(connection)
    assert str(caught.value) == (
        f"cannot write {disk}/complaints.db: database or disk is full; make room, or set [storage] database"
    )


def test_full_disk_does_not_change_the_database(disk: Path) -> None:
    database = fill(Database(disk / "complaints.db"), "1")
    with pytest.raises(StorageError), database.writing() as connection:
        insert_many(connection)
    assert content(database) == ["1"]


@pytest.mark.parametrize("left", [0, 4, 8, 16, 24, 32, 48, 64])
def test_disk_too_small_for_a_database_is_reported(disk: Path, left: int) -> None:
    (disk / "other").write_bytes(bytes((512 - left) * 1024))
    assert f"cannot write {disk}/complaints.db: " in failure(Database(disk / "complaints.db"), StorageError)


# --- unavailable servers -------------------------------------------------------------------------


def test_missing_server_is_reported() -> None:
    port = free_port()
    assert failure(
        Database(f"postgresql://tests@127.0.0.1:{port}/complaints"), DatabaseUnavailableError
    ).startswith(f"postgresql://tests@127.0.0.1:{port}/complaints: connection failed: ")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reading", "writing"])
def test_stopped_server_is_reported(own_postgres: PostgresServer, method: str) -> None:
    database = fill(Database(own_postgres.address("postgres")))
    own_postgres.stop()
    failure(database, DatabaseUnavailableError, method)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_stopped_before_a_statement_is_reported(own_postgres: PostgresServer, mode: str) -> None:
    database = fill(Database(own_postgres.address("postgres")))
    with pytest.raises(DatabaseUnavailableError) as caught, database.writing() as connection:
        own_postgres.stop(mode)
        insert_complaint(connection, "2")
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_stopped_before_the_commit_is_reported(own_postgres: PostgresServer, mode: str) -> None:
    database = fill(Database(own_postgres.address("postgres")))
    with pytest.raises(DatabaseUnavailableError), database.writing() as connection:
        insert_complaint(connection, "2")
        own_postgres.stop(mode)


@pytest.mark.slow
def test_server_stopped_while_reading_is_reported(own_postgres: PostgresServer) -> None:
    database = fill(Database(own_postgres.address("postgres")))
    with pytest.raises(DatabaseUnavailableError), database.reading() as connection:
        own_postgres.stop()
        ids(connection)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarted_server_has_the_old_state(own_postgres: PostgresServer, mode: str) -> None:
    database = fill(Database(own_postgres.address("postgres")), "1")
    with pytest.raises(DatabaseUnavailableError), database.writing() as connection:
        insert_complaint(connection, "2")
        own_postgres.stop(mode)
    own_postgres.start()
    assert content(database) == ["1"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_silent_server_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, no_long_wait():
        port = silent.getsockname()[1]
        failure(Database(f"postgresql://tests@127.0.0.1:{port}/complaints"), DatabaseUnavailableError)


def test_unknown_host_is_reported() -> None:
    failure(Database("postgresql://no-such-host.invalid/complaints"), DatabaseUnavailableError)


# --- refusals of the server ----------------------------------------------------------------------


def refused(address: str, method: str = "writing") -> str:
    """Check the start and the remedy of the message; return the server's part."""
    message = failure(Database(address), DatabaseError, method)
    head = f"{Database(address).name} refuses: "
    answer, _, remedy = message.removeprefix(head).rpartition("; ")
    assert message.startswith(head)
    about_password = "set the password in ~/.pgpass or $PGPASSWORD"
    about_others = "create it, give access to it, or set [storage] database"
    assert remedy == (about_password if "password" in answer else about_others)
    return answer


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_missing_database_is_reported(shared_postgres: PostgresServer, method: str) -> None:
    answer = refused(shared_postgres.address("nowhere"), method)
    assert answer.endswith('FATAL: database "nowhere" does not exist')


def test_unknown_user_is_reported(shared_postgres: PostgresServer) -> None:
    answer = refused(shared_postgres.address("postgres", user="nobody"))
    assert answer.endswith('FATAL: role "nobody" does not exist')


def test_missing_password_is_reported(shared_postgres: PostgresServer) -> None:
    assert refused(shared_postgres.guarded_address("postgres")).endswith("no password supplied")


def test_wrong_password_is_reported(shared_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong")
    answer = refused(shared_postgres.guarded_address("postgres"))
    assert answer.endswith('FATAL: password authentication failed for user "tests"')


def test_password_in_the_environment_is_used(
    shared_postgres: PostgresServer, postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    name = postgres_address.partition("@/")[2].partition("?")[0]
    assert content(fill(Database(shared_postgres.guarded_address(name)), "1")) == ["1"]


def test_missing_right_to_create_tables_is_reported(
    shared_postgres: PostgresServer, postgres_address: str
) -> None:
    shared_postgres.execute("CREATE ROLE reader LOGIN")
    name = postgres_address.partition("@/")[2].partition("?")[0]
    try:
        assert refused(shared_postgres.address(name, user="reader")).startswith(
            "permission denied for schema"
        )
    finally:
        shared_postgres.execute("DROP ROLE reader")


def test_read_only_server_is_reported(postgres_address: str) -> None:
    read_only = f"{postgres_address}&options=-c%20default_transaction_read_only%3Don"
    assert refused(read_only).startswith("cannot execute CREATE TABLE in a read-only transaction")


def test_unknown_driver_option_is_reported(postgres_address: str) -> None:
    assert refused(f"{postgres_address}&colour=red") == 'invalid connection option "colour"'


@pytest.mark.slow
def test_full_disk_of_the_server_is_reported(own_postgres: PostgresServer) -> None:
    with disk_of("16m", own_postgres.folder / "disk") as disk:
        shutil.chown(disk, own_postgres.folder.owner())
        own_postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        own_postgres.execute("CREATE DATABASE complaints TABLESPACE small")
        database = fill(Database(own_postgres.address("complaints")), "1")
        with pytest.raises(StorageError) as caught, database.writing() as connection:
            insert_complaint(connection, "2")
            connection.execute(text("CREATE TABLE large AS SELECT generate_series(1, 1000000)"))
        assert re.search("could not extend file .*: No space left on device; make room", str(caught.value))
        assert content(database) == ["1"]
        own_postgres.stop()


# --- names and addresses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (Path("data/complaints.db"), "data/complaints.db"),
        ("sqlite:///data/complaints.db", "data/complaints.db"),
        ("postgresql://db.example.org/complaints", "postgresql://db.example.org/complaints"),
        ("postgresql+psycopg://db.example.org/complaints", "postgresql://db.example.org/complaints"),
        ("postgres://db.example.org/complaints", "postgresql://db.example.org/complaints"),
        ("postgresql://me:secret@db.example.org/complaints", "postgresql://me:***@db.example.org/complaints"),
        (
            "postgresql://me:se/cret@db.example.org/complaints",
            "postgresql://me:***@db.example.org/complaints",
        ),
        ("postgresql://db.example.org/c?password=secret", "postgresql://db.example.org/c"),
        ("postgresql://db.example.org/c?sslpassword=secret", "postgresql://db.example.org/c"),
    ],
)
def test_name_of_a_database_has_no_password(address: str | Path, name: str) -> None:
    assert Database(address).name == name


def test_password_is_in_no_message(shared_postgres: PostgresServer) -> None:
    address = shared_postgres.guarded_address("postgres").replace("tests@", "tests:secret@")
    assert "secret" not in failure(Database(address), DatabaseError)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret@db.example.org:port/complaints",
        "mysql://me:secret@db.example.org/complaints",
        "no address, secret",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_message_does_not_quote_an_invalid_address(address: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        Database(address)
    assert str(caught.value) == (
        "[storage] database is neither a file nor an address: "
        "write it as sqlite:///FILE or postgresql://HOST/NAME"
    )


def test_message_about_a_missing_driver_names_the_remedy() -> None:
    program = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'psycopg':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from luigi_etl.database.connection import Database\n"
        "Database('postgresql://db.example.org/complaints').writing().__enter__()\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == (
        "luigi_etl.common.errors.DatabaseError: postgresql://db.example.org/complaints needs a driver "
        "(No module named 'psycopg'): pip install '.[postgres]'"
    )
