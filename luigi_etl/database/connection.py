"""The database: SQLite or PostgreSQL, one writer at a time, readers that never wait, errors in one line."""

import contextlib
import functools
import logging
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError, StatementError

from luigi_etl.common.errors import (
    DatabaseError,
    DatabaseUnavailableError,
    EtlError,
    NoDatabaseError,
    StorageError,
)
from luigi_etl.common.files import storage_errors
from luigi_etl.common.terminal import one_line
from luigi_etl.database.coverage import rebuild
from luigi_etl.database.damage import find_damage
from luigi_etl.database.migration import NEWEST, check_version, prepare, version_of
from luigi_etl.database.schema import RESTORE

WAIT = 10  # seconds for another writer, or for a server's answer to a connection
CACHE = 64 * 1024  # KiB of SQLite's pages in memory
_FILL = "`luigi --module luigi_etl SyncComplaints --local-scheduler`"
WITHOUT_COVERAGE = 1  # the version of the schema that did not record it
LOCK = 0x6C75696769  # this program's among PostgreSQL's advisory locks
LONGEST = 300  # characters of a driver's message

# Errors of a cell that is not of its column's type; a bug may raise them, too.
_OF_A_CELL = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)

# How SQLite's messages begin; their numbers are there only from Python 3.11 on.
_SQLITE_HELD = ("database is locked", "locking protocol")
_SQLITE_FULL = ("database or disk is full", "disk I/O error")  # it says either of a disk without room
_SQLITE_UNUSABLE = (
    "unable to open database file",
    "attempt to write a readonly database",
    "file is not a database",
    "database disk image is malformed",
    "malformed database schema",
    "unsupported file format",
)

# How PostgreSQL's states begin: connection, shutdown, too many clients, deadlock, the server's own timeouts
_POSTGRES_AWAY = ("08", "57P", "53300", "40", "57014", "25P03")
_POSTGRES_HELD = "55P03"
_POSTGRES_FULL = "53100"
# who, which, rights, read-only, resources, a value too large for an index
_POSTGRES_REFUSES = ("28", "3D", "42501", "25006", "53", "54", "58")
_POSTGRES_REFUSES_AT_ONCE = (  # in words: before there is a connection there is no state
    "authentication failed",
    "does not exist",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied for",
    "invalid connection option",
    "invalid sslmode",
    "no such database",  # pgbouncer's words
    "no such user",
    "unsupported startup parameter",
)
_POSTGRES_DATA = "22"  # the messages of this class quote values


class Database:
    """A database by its address: the path of an SQLite file, or a URL of SQLite or PostgreSQL.

    Every method raises `DatabaseUnavailableError` where the database does not answer or others hold it for
    longer than ten seconds, `StorageError` where its disk is full, `SchemaError` where its tables are not
    ours or are newer, and `DatabaseError` where it can't be used at all.
    """

    def __init__(self, address: str | Path) -> None:
        self._url = _url(address)
        is_file = self._url.get_backend_name() == "sqlite"
        self._file = Path(str(self._url.database)) if is_file else None
        self.name = str(self._file or _without_password(self._url))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that no other writer shares; the tables are made or brought up.

        The transaction ends with the block: kept if it ends well, else as if it had never begun.
        """
        if self._file:
            with storage_errors(self._file):
                self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._errors(), self._engine("BEGIN IMMEDIATE").begin() as connection:
            if not self._file:
                # Not a stricter one the server may have: after the wait all is to be seen.
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            if prepare(connection) == WITHOUT_COVERAGE:
                rebuild(connection)
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database, whatever is written meanwhile."""
        if not self.exists:
            raise NoDatabaseError(f"there is no database {self.name} yet: {_FILL} makes it")
        with self._errors(), self._engine("BEGIN").connect() as connection:
            if not self._file:
                connection.execution_options(isolation_level="REPEATABLE READ")
            version = version_of(connection)
            if version is None:
                raise NoDatabaseError(f"the database {self.name} is empty: {_FILL} fills it")
            check_version(version)
            yield connection

    def migrate(self) -> None:
        """Bring tables that an older version of this program made to this one; make none."""
        with contextlib.suppress(NoDatabaseError):
            with self.reading() as connection:
                is_old = version_of(connection) != NEWEST
            if is_old:
                with self.writing():
                    pass

    @property
    def exists(self) -> bool:
        """Tell whether there may be something to read: an SQLite file, or a server to ask."""
        if self._file is None:
            return True
        try:
            self._file.stat()
        except OSError as error:  # SQLite tells why what is there can't be opened
            return not isinstance(error, FileNotFoundError | NotADirectoryError)
        return True

    def _engine(self, begin: str) -> Engine:
        if self._file is None:
            return _postgres_engine(self._url, self.name)
        return _sqlite_engine(self._url, begin)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except EtlError:
            raise
        except (StatementError, *_OF_A_CELL) as error:
            failure = self._failure(error)
            if failure is None:
                raise
            raise failure from error

    def _failure(self, error: Exception) -> EtlError | None:
        """Return the expected failure behind an error, or None for a bug that is not of the database."""
        told = self._told(error) if isinstance(error, DBAPIError) else None
        if told:
            return told
        if damage := self._damage():
            return DatabaseError(f"{self.name} is damaged: {damage}; {RESTORE}")
        if isinstance(error, StatementError):
            return DatabaseError(f"{self.name}: {_said(error.orig)}; if it happens again, {RESTORE}")
        return None

    def _damage(self) -> str:
        with contextlib.suppress(SQLAlchemyError, EtlError), self._engine("BEGIN").connect() as connection:
            return find_damage(connection)
        return ""

    def _told(self, error: DBAPIError) -> EtlError | None:
        """Return the failure that the driver names, or None if it names none that is known."""
        said = _said(error.orig)
        if self._file is None:
            return self._told_by_postgres(error, said)
        if said.startswith(_SQLITE_HELD):
            return self._held(said)
        if said.startswith(_SQLITE_FULL):
            return StorageError(f"cannot write {self.name}: {said}; make room, or set [storage] database")
        if said.startswith(_SQLITE_UNUSABLE):
            return DatabaseError(
                f"{self.name} can't be used as a database: {said}; give access to it, bring back a copy, "
                "or set [storage] database"
            )
        return None

    def _told_by_postgres(self, error: DBAPIError, said: str) -> EtlError | None:
        state = getattr(error.orig, "sqlstate", None) or ""
        if state == _POSTGRES_HELD:
            return self._held(said)
        if state == _POSTGRES_FULL:
            return StorageError(f"cannot write {self.name}: {said}; make room on its disk")
        if state.startswith(_POSTGRES_AWAY):
            return DatabaseUnavailableError(f"{self.name}: {said}")
        if state.startswith(_POSTGRES_REFUSES) or (
            not state and any(words in said for words in _POSTGRES_REFUSES_AT_ONCE)
        ):
            remedy = "make it, give access to it, or set [storage] database"
            if "password" in said:
                remedy = "put the right one into ~/.pgpass, or into $PGPASSWORD"
            return DatabaseError(f"{self.name} refuses: {said}; {remedy}")
        if error.connection_invalidated or (not state and isinstance(error, OperationalError)):
            return DatabaseUnavailableError(f"{self.name}: {said}")
        return None

    def _held(self, said: str) -> DatabaseUnavailableError:
        return DatabaseUnavailableError(
            f"{self.name}: another process holds it for more than {WAIT} s ({said})"
        )


def _said(error: BaseException | None) -> str:
    """Return a driver's message in one short line, without statement, hints and values."""
    if (getattr(error, "sqlstate", None) or "").startswith(_POSTGRES_DATA):
        return f"a value was not accepted ({type(error).__name__})"
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    without_value = message.partition(" with text ")[0]  # SQLite: could not decode to UTF-8 column 'x' ...
    return one_line(without_value)[:LONGEST].removesuffix(".")


@functools.cache  # it holds no connection, but what it learnt of the server, and compiled statements
def _postgres_engine(url: URL, name: str) -> Engine:
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # of a lost connection it warns besides raising
    # A server that dies without a word is found out within minutes, not hours.
    network = {"tcp_user_timeout": 6000 * WAIT, "keepalives_idle": 6 * WAIT}
    # A pooler such as pgbouncer gives each transaction another session: nothing may outlive a transaction.
    session = {"prepare_threshold": None, "client_encoding": "utf8"}
    arguments = {"connect_timeout": WAIT, **network, **session}
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    except ImportError as error:
        raise DatabaseError(f"{name} needs a driver ({error}): pip install '.[postgres]'") from error

    @event.listens_for(engine, "connect")
    def check_encoding(connection: Any, _: object) -> None:
        encoding = (connection.info.parameter_status("server_encoding") or "UTF8").upper()
        if encoding != "UTF8":
            connection.close()
            raise DatabaseError(
                f"{name}: its encoding is {encoding}, which can't hold every complaint; make another with "
                "`createdb -E UTF8 -T template0 NAME` and set [storage] database to it"
            )

    return engine


@functools.cache
def _sqlite_engine(url: URL, begin: str) -> Engine:
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # Python's driver begins no transaction of its own
        connection.execute(f"PRAGMA cache_size = -{CACHE}")
        if begin != "BEGIN":
            _let_readers_read(connection)
            connection.execute("PRAGMA synchronous = FULL")  # what is merged survives a power cut

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _let_readers_read(connection: sqlite3.Connection) -> None:
    """Set the journal that lets who reads wait for nobody; here SQLite itself does not wait for others."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not str(error).startswith(_SQLITE_HELD) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _url(address: str | Path) -> URL:
    """Return the address of a database; what can't be read is not shown: there may be a password in it."""
    if isinstance(address, Path):
        return URL.create("sqlite", database=str(address))
    with contextlib.suppress(ValueError, ArgumentError):
        url = make_url(re.sub(r"^postgres(?=[:+])", "postgresql", address))
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            return url.set(drivername="sqlite")
    raise DatabaseError(
        "[storage] database is neither a file nor an address: write it as sqlite:///FILE or postgresql://HOST/NAME"
    )


def _without_password(url: URL) -> str:
    secret = [name for name in url.query if "password" in name]
    return url.set(drivername="postgresql").difference_update_query(secret).render_as_string()
