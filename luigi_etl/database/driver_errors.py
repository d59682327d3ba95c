"""Errors of the databases' drivers as failures of one line."""

from sqlalchemy.exc import DBAPIError, OperationalError

from luigi_etl.common.errors import DatabaseError, DatabaseUnavailableError, EtlError, StorageError
from luigi_etl.common.terminal import one_line

LONGEST = 300  # characters of a driver's message

# How SQLite's messages begin; their numbers are there only from Python 3.11 on.
SQLITE_LOCKED = ("database is locked", "locking protocol")
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


def failure_of_sqlite(error: DBAPIError, name: str, wait: int) -> EtlError | None:
    """Return the failure that the driver names, or None if it names none that is known."""
    said = message_of(error.orig)
    if said.startswith(SQLITE_LOCKED):
        return _held(name, wait, said)
    if said.startswith(_SQLITE_FULL):
        return StorageError(f"cannot write {name}: {said}; make room, or set [storage] database")
    if said.startswith(_SQLITE_UNUSABLE):
        return DatabaseError(
            f"{name} can't be used as a database: {said}; give access to it, bring back a copy, "
            "or set [storage] database"
        )
    return None


def failure_of_postgres(error: DBAPIError, name: str, wait: int) -> EtlError | None:
    """Return the failure that the driver names, or None if it names none that is known."""
    said = message_of(error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    if state == _POSTGRES_HELD:
        return _held(name, wait, said)
    if state == _POSTGRES_FULL:
        return StorageError(f"cannot write {name}: {said}; make room on its disk")
    if state.startswith(_POSTGRES_AWAY):
        return DatabaseUnavailableError(f"{name}: {said}")
    if state.startswith(_POSTGRES_REFUSES) or (
        not state and any(words in said for words in _POSTGRES_REFUSES_AT_ONCE)
    ):
        remedy = "make it, give access to it, or set [storage] database"
        if "password" in said:
            remedy = "put the right one into ~/.pgpass, or into $PGPASSWORD"
        return DatabaseError(f"{name} refuses: {said}; {remedy}")
    if error.connection_invalidated or (not state and isinstance(error, OperationalError)):
        return DatabaseUnavailableError(f"{name}: {said}")
    return None


def _held(name: str, wait: int, said: str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"{name}: another process holds it for more than {wait} s ({said})")


def message_of(error: BaseException | None) -> str:
    """Return a driver's message in one short line, without statement, hints and values."""
    if (getattr(error, "sqlstate", None) or "").startswith(_POSTGRES_DATA):
        return f"a value was not accepted ({type(error).__name__})"
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    without_value = message.partition(" with text ")[0]  # SQLite: could not decode to UTF-8 column 'x' ...
    return one_line(without_value)[:LONGEST].removesuffix(".")
