"""The database, SQLite or PostgreSQL: one writer at a time, readers never wait, errors are one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError

from luigi_etl.common.errors import DatabaseError, EtlError, NoDatabaseError, SchemaError
from luigi_etl.common.files import storage_errors
from luigi_etl.database.coverage import rebuild_coverage
from luigi_etl.database.damage import find_damage
from luigi_etl.database.driver_errors import explain_postgres_error, explain_sqlite_error, shorten_message
from luigi_etl.database.engines import get_postgres_engine, get_sqlite_engine, hide_passwords, read_address
from luigi_etl.database.full_text import maintain_index
from luigi_etl.database.migration import NEWEST, check_version, create_or_migrate, read_version
from luigi_etl.database.schema import RESTORE

WAIT = 10  # seconds for another writer, or for a server's answer to a connection
_FILL = "`luigi --module luigi_etl SyncComplaints --local-scheduler`"
WITHOUT_COVERAGE = 1  # the schema version that had no table for it
LOCK = 0x6C75696769  # the key of our advisory lock in PostgreSQL

# A cell of a wrong type raises one of these; so can a bug.
_CELL_ERRORS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)


class Database:
    """A database by its address: the path of an SQLite file, or a URL of SQLite or PostgreSQL.

    `full_text`: whether writes create or drop the index over the narratives; None leaves it unchanged.

    Every method can raise `DatabaseUnavailableError` (no answer, or locked for more than ten seconds),
    `StorageError` (disk full), `SchemaError` (foreign or newer tables) and `DatabaseError` (unusable).
    """

    def __init__(self, address: str | Path, *, full_text: bool | None = None) -> None:
        self._url = read_address(address)
        is_file = self._url.get_backend_name() == "sqlite"
        self._file = Path(str(self._url.database)) if is_file else None
        self.name = str(self._file or hide_passwords(self._url))
        self._full_text = full_text

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open the transaction of the only writer; create or migrate the tables first.

        The transaction is committed at the end of the block, or rolled back after an error.
        """
        if self._file:
            with storage_errors(self._file):
                self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._errors(), self._engine("BEGIN IMMEDIATE").begin() as connection:
            if not self._file:
                # A stricter default of the server would hide rows that were committed during the wait.
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            if create_or_migrate(connection) == WITHOUT_COVERAGE:
                rebuild_coverage(connection)
            yield connection
            if self._full_text is not None:
                maintain_index(connection, is_wanted=self._full_text)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection that sees one state of the database, whatever others write.

        Tables of an older version are migrated first.
        """
        with self._reading_any_version() as (connection, version):
            if version == NEWEST:
                yield connection
                return
        self._migrate(version)
        with self._reading_any_version() as (connection, _):
            yield connection

    def _migrate(self, version: int) -> None:
        try:
            with self.writing():
                pass
        except SchemaError:
            raise
        except DatabaseError as error:
            raise DatabaseError(
                f"{error} (its tables have version {version}: run `luigi-etl status` once as their owner, "
                "to upgrade them)"
            ) from error

    @contextlib.contextmanager
    def _reading_any_version(self) -> Iterator[tuple[Connection, int]]:
        if not self.exists:
            raise NoDatabaseError(f"there is no database {self.name} yet: {_FILL} creates it")
        with self._errors(), self._engine("BEGIN").connect() as connection:
            if not self._file:
                connection.execution_options(isolation_level="REPEATABLE READ")
            version = read_version(connection)
            if version is None:
                raise NoDatabaseError(f"the database {self.name} is empty: {_FILL} fills it")
            check_version(version)
            yield connection, version

    @property
    def exists(self) -> bool:
        """Whether there can be something to read: an SQLite file, or a server."""
        if self._file is None:
            return True
        try:
            self._file.stat()
        except OSError as error:  # SQLite itself reports other problems, with their reason
            return not isinstance(error, FileNotFoundError | NotADirectoryError)
        return True

    def _engine(self, begin: str) -> Engine:
        if self._file is None:
            return get_postgres_engine(self._url, self.name, WAIT)
        return get_sqlite_engine(self._url, begin, WAIT)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except EtlError:
            raise
        except (StatementError, *_CELL_ERRORS) as error:
            failure = self._explain(error)
            if failure is None:
                raise
            raise failure from error

    def _explain(self, error: Exception) -> EtlError | None:
        """Return the expected failure behind an error, or None for a bug."""
        if isinstance(error, DBAPIError):
            explain = explain_sqlite_error if self._file else explain_postgres_error
            if failure := explain(error, self.name, WAIT):
                return failure
        if damage := self._find_damage():
            return DatabaseError(f"{self.name} is damaged: {damage}; {RESTORE}")
        if isinstance(error, StatementError):
            return DatabaseError(
                f"{self.name}: {shorten_message(error.orig)}; if it happens again, {RESTORE}"
            )
        return None

    def _find_damage(self) -> str:
        with contextlib.suppress(SQLAlchemyError, EtlError), self._engine("BEGIN").connect() as connection:
            return find_damage(connection)
        return ""
