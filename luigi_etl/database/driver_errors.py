"""Errors of the databases' drivers as failures of one line."""

from sqlalchemy.exc import DBAPIError, OperationalError

from luigi_etl.common.errors import DatabaseError, DatabaseUnavailableError, EtlError, StorageError
from luigi_etl.common.terminal import one_line

LONGEST = 300  # characters of a driver's message

# Prefixes of SQLite's messages; Python has the error numbers only from 3.11 on.
SQLITE_LOCKED = ("database is locked", "locking protocol")
_SQLITE_FULL = ("database or disk is full", "disk I/O error")  # a full disk causes either
_SQLITE_UNUSABLE = (
    "unable to open database file",
    "attempt to write a readonly database",
    "file is not a database",
    "database disk image is malformed",
    "malformed database schema",
    "unsupported file format",
)

# Prefixes of SQLSTATE: connection, shutdown, too many clients, deadlock, the server's timeouts
_POSTGRES_UNAVAILABLE = ("08", "57P", "53300", "40", "57014", "25P03")
POSTGRES_LOCKED = "55P03"
_POSTGRES_FULL = "53100"
_POSTGRES_DEPENDS = "2BP01"  # another object depends on a table that the upgrade replaces
# login, database name, rights, read-only, resources, a value too large for an index
_POSTGRES_REFUSES = ("28", "3D", "42501", "25006", "53", "54", "58")
_POSTGRES_REFUSES_CONNECTION = (  # an error without a connection has no SQLSTATE
    "authentication failed",
    "does not exist",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied for",
    "invalid connection option",
    "invalid sslmode",
    "no such database",  # from pgbouncer
    "no such user",
    "unsupported startup parameter",
)
_POSTGRES_DATA = "22"  # messages of this class quote values


def explain_sqlite_error(error: DBAPIError, name: str, wait: int) -> EtlError | None:
    """Return the failure behind an error of the driver, or None if it is unknown."""
    message = shorten_message(error.orig)
    if message.startswith(SQLITE_LOCKED):
        return _locked(name, wait, message)
    if message.startswith(_SQLITE_FULL):
        return StorageError(f"cannot write {name}: {message}; make room, or set [storage] database")
    if message.startswith(_SQLITE_UNUSABLE):
        return DatabaseError(
            f"{name} can't be used as a database: {message}; give access to it, restore a backup, "
            "or set [storage] database"
        )
    return None


def explain_postgres_error(error: DBAPIError, name: str, wait: int) -> EtlError | None:
    """Return the failure behind an error of the driver, or None if it is unknown."""
    message = shorten_message(error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    known: dict[str, EtlError] = {
        POSTGRES_LOCKED: _locked(name, wait, message),
        _POSTGRES_FULL: StorageError(f"cannot write {name}: {message}; make room on its disk"),
        _POSTGRES_DEPENDS: DatabaseError(
            f"{name} can't be upgraded: {message}; drop those objects, such as your views, run this again, "
            "and create them again"
        ),
    }
    if state in known:
        return known[state]
    if state.startswith(_POSTGRES_UNAVAILABLE):
        return DatabaseUnavailableError(f"{name}: {message}")
    if state.startswith(_POSTGRES_REFUSES) or (
        not state and any(words in message for words in _POSTGRES_REFUSES_CONNECTION)
    ):
        remedy = "create it, give access to it, or set [storage] database"
        if "password" in message:
            remedy = "set the password in ~/.pgpass or $PGPASSWORD"
        return DatabaseError(f"{name} refuses: {message}; {remedy}")
    if error.connection_invalidated or (not state and isinstance(error, OperationalError)):
        return DatabaseUnavailableError(f"{name}: {message}")
    return None


def _locked(name: str, wait: int, message: str) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"{name}: locked by another process for more than {wait} s ({message})")


def shorten_message(error: BaseException | None) -> str:
    """Return a driver's message as one short line without statement, hints and values."""
    if (getattr(error, "sqlstate", None) or "").startswith(_POSTGRES_DATA):
        return f"a value was not accepted ({type(error).__name__})"
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    without_value = message.partition(" with text ")[0]  # SQLite quotes text that is not UTF-8
    return one_line(without_value)[:LONGEST].removesuffix(".")
