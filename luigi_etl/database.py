"""The database: SQLite or PostgreSQL, one writer at a time, readers that never wait, errors in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from luigi_etl.errors import DatabaseAwayError, DatabaseError, NoDatabaseError, StorageError
from luigi_etl.files import storage_errors
from luigi_etl.lines import one_line
from luigi_etl.schema import check_version, prepare, version_of

WAIT = 10  # seconds for another writer, or for a server's answer to a connection
CACHE = 64 * 1024  # KiB of SQLite's pages in memory
LOCK = 0x6C75696769  # this program's among PostgreSQL's advisory locks

_POSTGRES_AWAY = ("08", "57P", "53300", "55P03")  # connection, shutdown, too many clients, a lock not had
_POSTGRES_FULL = ("53100",)
_POSTGRES_REFUSES = ("28", "3D", "42501", "25006", "53")  # who, which database, rights, read-only, resources


class Database:
    """A database by its address: the path of an SQLite file, or a URL of SQLite or PostgreSQL.

    Every method raises `DatabaseAwayError` where the database does not answer or others hold it for longer
    than ten seconds, `StorageError` where its disk is full, `SchemaError` where its tables are not ours or
    are newer, and `DatabaseError` where it can't be used at all.
    """

    def __init__(self, address: str | Path) -> None:
        self._url = _url(address)
        self.name = self._url.render_as_string(hide_password=True)

    @property
    def _file(self) -> Path | None:
        return Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None

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
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            prepare(connection)
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database, whatever is written meanwhile."""
        if not self.exists:
            raise NoDatabaseError(
                f"there is no database {self.name} yet: `luigi --module luigi_etl SyncComplaints` makes it"
            )
        with self._errors(), self._engine("BEGIN").connect() as connection:
            if not self._file:
                connection.execution_options(isolation_level="REPEATABLE READ")
            version = version_of(connection)
            if version is None:
                raise NoDatabaseError(
                    f"the database {self.name} is empty: `luigi --module luigi_etl SyncComplaints` fills it"
                )
            check_version(version)
            yield connection

    @property
    def exists(self) -> bool:
        """Tell whether there may be something to read: an SQLite file, or a server to ask."""
        return self._file is None or self._file.exists()

    def _engine(self, begin: str) -> Engine:
        if self._file is None:
            timeouts = {"connect_timeout": WAIT, "tcp_user_timeout": 6000 * WAIT}
            return create_engine(self._url, poolclass=NullPool, connect_args=timeouts)
        engine = create_engine(self._url, poolclass=NullPool, connect_args={"timeout": WAIT})

        @event.listens_for(engine, "connect")
        def configure(connection, _) -> None:  # type: ignore[no-untyped-def]
            connection.isolation_level = None  # Python's driver begins no transaction of its own
            connection.execute(f"PRAGMA cache_size = -{CACHE}")
            if begin != "BEGIN":
                connection.execute("PRAGMA journal_mode = WAL")  # who reads waits for nobody
                connection.execute("PRAGMA synchronous = FULL")  # what is merged survives a power cut

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            told = self._told(error)
            if told is None:
                raise
            raise told from error
        except ImportError as error:
            raise DatabaseError(
                f"{self.name} needs the driver {error.name}: pip install 'luigi_etl[postgres]'"
            ) from error

    def _told(self, error: DBAPIError) -> Exception | None:
        """Return the failure that stands for the driver's, or None where that tells of a bug."""
        said = one_line(str(error.orig)).removesuffix(".")
        if self._file is None:
            return self._told_by_postgres(error, said)
        if "locked" in said:
            return DatabaseAwayError(
                f"{self._file}: another process holds it for more than {WAIT} s ({said})"
            )
        if "full" in said:
            return StorageError(f"cannot write {self._file}: {said}; make room, or set [storage] database")
        if any(reason in said for reason in ("open", "readonly", "I/O", "not a database", "malformed")):
            return DatabaseError(
                f"{self._file} can't be used as a database: {said}; give access to it, bring back a copy, "
                "or set [storage] database"
            )
        return None

    def _told_by_postgres(self, error: DBAPIError, said: str) -> Exception | None:
        state = getattr(error.orig, "sqlstate", None) or ""
        refused = ("authentication", "does not exist", "no password")  # before a connection there is no state
        if state.startswith(_POSTGRES_FULL):
            return StorageError(f"cannot write {self.name}: {said}; make room on its disk")
        if state.startswith(_POSTGRES_AWAY):
            return DatabaseAwayError(f"{self.name}: {said}")
        if state.startswith(_POSTGRES_REFUSES) or (not state and any(word in said for word in refused)):
            return DatabaseError(f"{self.name} refuses: {said}; set [storage] database")
        if not state and type(error.orig).__name__ == "OperationalError":
            return DatabaseAwayError(f"{self.name}: {said}")
        return None


def _url(address: str | Path) -> URL:
    if isinstance(address, Path):
        return URL.create("sqlite", database=str(address))
    try:
        url = make_url(address)
        is_postgres = url.get_backend_name() == "postgresql"
    except (ValueError, ArgumentError) as error:
        raise DatabaseError(f"[storage] database: {address!r} is not an address: {error}") from error
    return url.set(drivername="postgresql+psycopg") if is_postgres else url
