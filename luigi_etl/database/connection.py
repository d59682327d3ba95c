"""The database: SQLite or PostgreSQL, one writer at a time, readers that never wait, errors in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from luigi_etl.common.errors import DatabaseError, EtlError, NoDatabaseError
from luigi_etl.common.files import storage_errors
from luigi_etl.database.coverage import rebuild
from luigi_etl.database.damage import find_damage
from luigi_etl.database.driver_errors import failure_of_postgres, failure_of_sqlite, message_of
from luigi_etl.database.engines import postgres_engine, read_address, sqlite_engine, without_password
from luigi_etl.database.migration import NEWEST, check_version, prepare, version_of
from luigi_etl.database.schema import RESTORE

WAIT = 10  # seconds for another writer, or for a server's answer to a connection
_FILL = "`luigi --module luigi_etl SyncComplaints --local-scheduler`"
WITHOUT_COVERAGE = 1  # the version of the schema that did not record it
LOCK = 0x6C75696769  # this program's among PostgreSQL's advisory locks

# Errors of a cell that is not of its column's type; a bug may raise them, too.
_OF_A_CELL = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


class Database:
    """A database by its address: the path of an SQLite file, or a URL of SQLite or PostgreSQL.

    Every method raises `DatabaseUnavailableError` where the database does not answer or others hold it for
    longer than ten seconds, `StorageError` where its disk is full, `SchemaError` where its tables are not
    ours or are newer, and `DatabaseError` where it can't be used at all.
    """

    def __init__(self, address: str | Path) -> None:
        self._url = read_address(address)
        is_file = self._url.get_backend_name() == "sqlite"
        self._file = Path(str(self._url.database)) if is_file else None
        self.name = str(self._file or without_password(self._url))

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
            return postgres_engine(self._url, self.name, WAIT)
        return sqlite_engine(self._url, begin, WAIT)

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
        if isinstance(error, DBAPIError):
            failure_of = failure_of_sqlite if self._file else failure_of_postgres
            if failure := failure_of(error, self.name, WAIT):
                return failure
        if damage := self._damage():
            return DatabaseError(f"{self.name} is damaged: {damage}; {RESTORE}")
        if isinstance(error, StatementError):
            return DatabaseError(f"{self.name}: {message_of(error.orig)}; if it happens again, {RESTORE}")
        return None

    def _damage(self) -> str:
        with contextlib.suppress(SQLAlchemyError, EtlError), self._engine("BEGIN").connect() as connection:
            return find_damage(connection)
        return ""
