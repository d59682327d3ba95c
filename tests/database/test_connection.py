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
from luigi_etl.database.schema import complaints
from tests.conftest import Beside, disk_of, free_port, read_only, without_rights
from tests.postgres import PASSWORD, PostgresServer

NOTHING: list[str] = []
MINUTE = datetime(2026, 11, 22, 9, 26)


def put(connection: Connection, name: str) -> None:
    times = dict.fromkeys(("first_seen", "last_seen", "last_changed"), MINUTE)
    connection.execute(insert(complaints).values(complaint_id=name, sent=0, **times))


def names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(complaints.c.complaint_id).order_by(complaints.c.complaint_id)))


def holding(database: Database, *content: str) -> Database:
    with database.writing() as connection:
        for name in content:
            put(connection, name)
    return database


def content(database: Database) -> list[str]:
    with database.reading() as connection:
        return names(connection)


def told(database: Database, kind: type[EtlError], method: str = "writing") -> str:
    """Return what is told of a database that can't be used; it is one line."""
    with pytest.raises(kind) as caught, getattr(database, method)():
        pass
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for longer than a second."""
    monkeypatch.setattr("luigi_etl.database.connection.WAIT", 1)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


# --- transactions --------------------------------------------------------------------------------


def test_what_a_block_wrote_is_kept(database: Database) -> None:
    assert content(holding(database, "state")) == ["state"]


def test_a_block_that_fails_leaves_nothing(database: Database) -> None:
    holding(database, "state")
    with pytest.raises(RuntimeError), database.writing() as connection:
        put(connection, "company")
        raise RuntimeError
    assert content(database) == ["state"]


def test_a_first_block_that_fails_leaves_no_tables(database: Database) -> None:
    with pytest.raises(RuntimeError), database.writing():
        raise RuntimeError
    assert "is empty" in told(database, NoDatabaseError, "reading")


def test_mistake_in_a_statement_is_one_line(database: Database) -> None:
    with pytest.raises(DatabaseError) as caught, database.writing() as connection:
        connection.execute(text("SELECT * FROM an_open_readonly_table_that_is_full_and_locked"))

    assert str(caught.value).isprintable()
    assert "SELECT" not in str(caught.value)
    assert isinstance(caught.value.__cause__, DBAPIError)


def test_bug_in_a_block_keeps_its_traceback(database: Database) -> None:
    holding(database, "state")
    with pytest.raises(ValueError, match="a bug"), database.reading():
        raise ValueError("a bug")


def test_a_module_that_a_block_lacks_is_not_the_driver(database: Database) -> None:
    with pytest.raises(ModuleNotFoundError), database.writing():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401


# --- readers -------------------------------------------------------------------------------------


def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    holding(database, "state")
    with database.writing() as connection:
        put(connection, "company")
        with at_most(1):
            content(database)


def test_a_reader_does_not_see_what_a_writer_has_not_finished(database: Database) -> None:
    holding(database, "state")
    with database.writing() as connection:
        put(connection, "company")
        assert content(database) == ["state"]


def test_a_reader_sees_one_state_whatever_is_written_meanwhile(database: Database) -> None:
    holding(database, "state")
    with database.reading() as connection:
        before = names(connection)
        holding(database, "company")
        assert names(connection) == before


def test_a_writer_does_not_wait_for_a_reader(database: Database) -> None:
    holding(database, "state")
    with database.reading() as connection:
        names(connection)
        with at_most(1):
            holding(database, "company")


def test_what_a_reader_writes_is_not_kept(database: Database) -> None:
    holding(database, "state")
    with database.reading() as connection:
        connection.execute(delete(complaints))
    assert content(database) == ["state"]


def test_a_database_without_tables_can_t_be_read(database: Database, beside: Beside) -> None:
    beside("CREATE TABLE invoices (number INTEGER)")
    assert told(database, NoDatabaseError, "reading") == (
        f"the database {database.name} is empty: "
        "`luigi --module luigi_etl SyncComplaints --local-scheduler` fills it"
    )


def test_a_file_that_is_not_there_can_t_be_read(sqlite_address: Path) -> None:
    assert told(Database(sqlite_address), NoDatabaseError, "reading") == (
        f"there is no database {sqlite_address} yet: "
        "`luigi --module luigi_etl SyncComplaints --local-scheduler` makes it"
    )


def test_reading_makes_no_file(sqlite_address: Path) -> None:
    told(Database(sqlite_address), NoDatabaseError, "reading")
    assert os.listdir(sqlite_address.parent) == NOTHING


# --- writers -------------------------------------------------------------------------------------


def test_a_second_writer_waits_for_the_first(database: Database) -> None:
    second = threading.Thread(target=holding, args=(database, "second"))
    with database.writing() as connection:
        second.start()
        second.join(0.5)
        assert second.is_alive()
        put(connection, "first")
    second.join()
    assert content(database) == ["first", "second"]


def test_who_waited_sees_what_the_other_wrote_whatever_isolation_the_server_is_set_to(
    postgres_address: str,
) -> None:
    strict = f"{postgres_address}&options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    database = Database(strict)
    found: list[list[str]] = []

    def look() -> None:
        with database.writing() as connection:
            found.append(names(connection))

    second = threading.Thread(target=look)
    with database.writing() as connection:
        second.start()
        second.join(0.5)
        put(connection, "first")
    second.join()
    assert found == [["first"]]


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_who_holds_a_file_for_too_long_is_told(sqlite_address: Path) -> None:
    database = holding(Database(sqlite_address))
    with database.writing():
        assert told(database, DatabaseUnavailableError) == (
            f"{sqlite_address}: another process holds it for more than 1 s (database is locked)"
        )


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_who_holds_a_server_s_database_for_too_long_is_told(postgres_address: str) -> None:
    database = holding(Database(postgres_address))
    with database.writing():
        assert told(database, DatabaseUnavailableError) == (
            f"{database.name}: another process holds it for more than 1 s "
            "(canceling statement due to lock timeout)"
        )


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_nobody_waits_for_longer_than_the_wait(database: Database) -> None:
    with holding(database).writing(), at_most(3):
        told(database, DatabaseUnavailableError)


def test_a_writer_waits_for_another_program_also_where_readers_would_wait_for_writers(
    sqlite_address: Path,
) -> None:
    """A new file, or a copy, has the journal that makes them wait; changing it fails at once."""
    other = sqlite3.connect(sqlite_address, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, other.execute, ["COMMIT"])
    release.start()
    database = holding(Database(sqlite_address), "state")
    release.join()
    other.close()
    assert content(database) == ["state"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_another_program_that_holds_a_new_file_for_too_long_is_told(sqlite_address: Path) -> None:
    other = sqlite3.connect(sqlite_address, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with at_most(3):
        assert "holds it for more than 1 s" in told(Database(sqlite_address), DatabaseUnavailableError)
    other.close()


@pytest.mark.slow
def test_processes_that_make_the_database_at_one_moment_all_succeed(database_address: str | Path) -> None:
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


# --- files that can't be used --------------------------------------------------------------------


def test_the_folder_of_a_file_is_made(tmp_path: Path) -> None:
    assert content(holding(Database(tmp_path / "new" / "folder" / "file.db"), "state")) == ["state"]


def test_a_folder_that_can_t_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "complaints.db"
    assert told(Database(path), StorageError).startswith(f"cannot write {path}: ")


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_a_file_that_is_no_database_is_told(sqlite_address: Path, method: str) -> None:
    sqlite_address.write_text("complaint_id,state\n" * 1000)
    assert told(Database(sqlite_address), DatabaseError, method) == (
        f"{sqlite_address} can't be used as a database: file is not a database; "
        "give access to it, bring back a copy, or set [storage] database"
    )


def test_a_file_that_is_no_database_is_left_as_it_is(sqlite_address: Path) -> None:
    sqlite_address.write_text("complaint_id,state\n" * 1000)
    told(Database(sqlite_address), DatabaseError)
    assert sqlite_address.read_text() == "complaint_id,state\n" * 1000


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_a_damaged_database_is_told(sqlite_address: Path, method: str) -> None:
    holding(Database(sqlite_address), "state")
    whole = sqlite_address.read_bytes()
    sqlite_address.write_bytes(whole[:100] + bytes(len(whole) - 100))
    assert "malformed" in told(Database(sqlite_address), DatabaseError, method)


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path, method: str) -> None:
    assert f"{tmp_path} can't be used" in told(Database(tmp_path), DatabaseError, method)


def test_a_folder_nobody_may_write_to_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with without_rights():
        told(Database(tmp_path / "new" / "complaints.db"), StorageError)


def test_a_folder_nobody_may_read_is_told(sqlite_address: Path) -> None:
    holding(Database(sqlite_address))
    sqlite_address.parent.chmod(0)
    with without_rights():
        assert "unable to open" in told(Database(sqlite_address), DatabaseError, "reading")
    sqlite_address.parent.chmod(0o700)


def test_a_read_only_disk_is_told_to_who_writes(sqlite_address: Path) -> None:
    holding(Database(sqlite_address))
    with read_only(sqlite_address.parent):
        told(Database(sqlite_address), DatabaseError)


def test_a_read_only_disk_is_told_to_who_reads(sqlite_address: Path) -> None:
    holding(Database(sqlite_address))
    with read_only(sqlite_address.parent):
        told(Database(sqlite_address), DatabaseError, "reading")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 512 kB, full but for what a database without complaints takes."""
    with disk_of("512k", tmp_path / "disk") as folder:
        yield folder


def fill(connection: Connection) -> None:
    for number in range(2000):
        put(connection, f"{number} {'x' * 1000}")


def test_a_full_disk_is_told(disk: Path) -> None:
    database = holding(Database(disk / "complaints.db"))
    with pytest.raises(StorageError) as caught, database.writing() as connection:
        fill(connection)
    assert str(caught.value) == (
        f"cannot write {disk}/complaints.db: database or disk is full; make room, or set [storage] database"
    )


def test_a_full_disk_leaves_the_database_as_it_was(disk: Path) -> None:
    database = holding(Database(disk / "complaints.db"), "state")
    with pytest.raises(StorageError), database.writing() as connection:
        fill(connection)
    assert content(database) == ["state"]


@pytest.mark.parametrize("left", [0, 4, 8, 16, 24, 32, 48, 64])
def test_a_disk_with_too_little_room_for_a_database_is_told(disk: Path, left: int) -> None:
    (disk / "other").write_bytes(bytes((512 - left) * 1024))
    assert f"cannot write {disk}/complaints.db: " in told(Database(disk / "complaints.db"), StorageError)


# --- a server that is away -----------------------------------------------------------------------


def test_a_server_that_is_not_there_is_told() -> None:
    port = free_port()
    assert told(
        Database(f"postgresql://tests@127.0.0.1:{port}/complaints"), DatabaseUnavailableError
    ).startswith(f"postgresql://tests@127.0.0.1:{port}/complaints: connection failed: ")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reading", "writing"])
def test_a_server_that_was_stopped_is_told(own_postgres: PostgresServer, method: str) -> None:
    database = holding(Database(own_postgres.address("postgres")))
    own_postgres.stop()
    told(database, DatabaseUnavailableError, method)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_stopped_in_the_middle_is_told(own_postgres: PostgresServer, mode: str) -> None:
    database = holding(Database(own_postgres.address("postgres")))
    with pytest.raises(DatabaseUnavailableError) as caught, database.writing() as connection:
        own_postgres.stop(mode)
        put(connection, "company")
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_stopped_before_the_end_is_told(own_postgres: PostgresServer, mode: str) -> None:
    database = holding(Database(own_postgres.address("postgres")))
    with pytest.raises(DatabaseUnavailableError), database.writing() as connection:
        put(connection, "company")
        own_postgres.stop(mode)


@pytest.mark.slow
def test_a_server_that_is_stopped_while_one_reads_is_told(own_postgres: PostgresServer) -> None:
    database = holding(Database(own_postgres.address("postgres")))
    with pytest.raises(DatabaseUnavailableError), database.reading() as connection:
        own_postgres.stop()
        names(connection)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_back_has_the_old_state(own_postgres: PostgresServer, mode: str) -> None:
    database = holding(Database(own_postgres.address("postgres")), "state")
    with pytest.raises(DatabaseUnavailableError), database.writing() as connection:
        put(connection, "company")
        own_postgres.stop(mode)
    own_postgres.start()
    assert content(database) == ["state"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_wait")
def test_a_server_that_never_answers_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, at_most(5):
        port = silent.getsockname()[1]
        told(Database(f"postgresql://tests@127.0.0.1:{port}/complaints"), DatabaseUnavailableError)


def test_a_host_without_an_address_is_told() -> None:
    told(Database("postgresql://no-such-host.invalid/complaints"), DatabaseUnavailableError)


# --- a server that refuses -----------------------------------------------------------------------


def refused(address: str, method: str = "writing") -> str:
    """Return what the server said, of a message that begins and ends as all of them do."""
    message = told(Database(address), DatabaseError, method)
    head = f"{Database(address).name} refuses: "
    said, _, remedy = message.removeprefix(head).rpartition("; ")
    assert message.startswith(head)
    about_password = "put the right one into ~/.pgpass, or into $PGPASSWORD"
    about_others = "make it, give access to it, or set [storage] database"
    assert remedy == (about_password if "password" in said else about_others)
    return said


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_a_database_that_is_not_there_is_told(shared_postgres: PostgresServer, method: str) -> None:
    said = refused(shared_postgres.address("nowhere"), method)
    assert said.endswith('FATAL: database "nowhere" does not exist')


def test_a_user_who_is_not_there_is_told(shared_postgres: PostgresServer) -> None:
    said = refused(shared_postgres.address("postgres", user="nobody"))
    assert said.endswith('FATAL: role "nobody" does not exist')


def test_a_missing_password_is_told(shared_postgres: PostgresServer) -> None:
    assert refused(shared_postgres.guarded_address("postgres")).endswith("no password supplied")


def test_a_wrong_password_is_told(shared_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong")
    said = refused(shared_postgres.guarded_address("postgres"))
    assert said.endswith('FATAL: password authentication failed for user "tests"')


def test_a_password_in_the_environment_is_used(
    shared_postgres: PostgresServer, postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    name = postgres_address.partition("@/")[2].partition("?")[0]
    assert content(holding(Database(shared_postgres.guarded_address(name)), "state")) == ["state"]


def test_a_user_who_may_not_make_tables_is_told(
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


def test_a_database_that_takes_no_changes_is_told(postgres_address: str) -> None:
    read_only = f"{postgres_address}&options=-c%20default_transaction_read_only%3Don"
    assert refused(read_only).startswith("cannot execute CREATE TABLE in a read-only transaction")


def test_an_option_the_driver_does_not_know_is_told(postgres_address: str) -> None:
    assert refused(f"{postgres_address}&colour=red") == 'invalid connection option "colour"'


@pytest.mark.slow
def test_a_server_without_room_is_told(own_postgres: PostgresServer) -> None:
    with disk_of("16m", own_postgres.folder / "disk") as disk:
        shutil.chown(disk, own_postgres.folder.owner())
        own_postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        own_postgres.execute("CREATE DATABASE complaints TABLESPACE small")
        database = holding(Database(own_postgres.address("complaints")), "state")
        with pytest.raises(StorageError) as caught, database.writing() as connection:
            put(connection, "company")
            connection.execute(text("CREATE TABLE large AS SELECT generate_series(1, 1000000)"))
        assert re.search("could not extend file .*: No space left on device; make room", str(caught.value))
        assert content(database) == ["state"]
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
def test_a_database_is_named_without_a_password(address: str | Path, name: str) -> None:
    assert Database(address).name == name


def test_a_password_is_never_told(shared_postgres: PostgresServer) -> None:
    address = shared_postgres.guarded_address("postgres").replace("tests@", "tests:secret@")
    assert "secret" not in told(Database(address), DatabaseError)


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
def test_an_address_that_can_t_be_used_is_told_without_it(address: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        Database(address)
    assert str(caught.value) == (
        "[storage] database is neither a file nor an address: "
        "write it as sqlite:///FILE or postgresql://HOST/NAME"
    )


def test_a_missing_driver_is_told_with_what_installs_it() -> None:
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
