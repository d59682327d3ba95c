"""The full-text index over the narratives, which a setting creates.

In SQLite it is an FTS5 table that triggers maintain, in PostgreSQL a GIN index. Both reduce English words to
their stems, so that `fee` also finds `fees`.
"""

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from luigi_etl.common.errors import DatabaseError, SchemaError
from luigi_etl.database.driver_errors import POSTGRES_LOCKED

_DROP_WAIT = 1  # seconds for PostgreSQL's readers; the next write tries again

# `columnsize=0`: without it, FTS5 also expects a row for each complaint without a narrative.
_TABLE = "CREATE VIRTUAL TABLE narratives USING fts5(complaint_what_happened, content='stored_complaints', "
_OPTIONS = "content_rowid='complaint_id', columnsize=0, tokenize='porter unicode61 remove_diacritics 0')"
_ADD = "INSERT INTO narratives (rowid, complaint_what_happened)"
_ADD_NEW = (
    f"{_ADD} SELECT new.complaint_id, new.complaint_what_happened "
    "WHERE new.complaint_what_happened IS NOT NULL"
)
_REMOVE_OLD = (
    "INSERT INTO narratives (narratives, rowid, complaint_what_happened) "
    "SELECT 'delete', old.complaint_id, old.complaint_what_happened "
    "WHERE old.complaint_what_happened IS NOT NULL"
)
_TRIGGERS = {
    "narratives_inserted": (
        "AFTER INSERT ON stored_complaints WHEN new.complaint_what_happened IS NOT NULL "
        f"BEGIN {_ADD_NEW}; END"
    ),
    "narratives_updated": (
        "AFTER UPDATE OF complaint_what_happened ON stored_complaints "
        "WHEN new.complaint_what_happened IS NOT old.complaint_what_happened "
        f"BEGIN {_REMOVE_OLD}; {_ADD_NEW}; END"
    ),
    "narratives_deleted": (
        "AFTER DELETE ON stored_complaints WHEN old.complaint_what_happened IS NOT NULL "
        f"BEGIN {_REMOVE_OLD}; END"
    ),
}
_FILL = (
    f"{_ADD} SELECT complaint_id, complaint_what_happened FROM stored_complaints "  # noqa: S608
    "WHERE complaint_what_happened IS NOT NULL"
)
FTS5 = "fts5"  # the module of SQLite
_GIN = "complaints_by_narrative"
# A longer text could have more words than PostgreSQL accepts, which would fail a merge.
WORDS = "to_tsvector('english', left(complaint_what_happened, 100000))"


def maintain_index(connection: Connection, *, is_wanted: bool) -> None:
    """Create the index over the narratives if it is wanted, else drop it.

    Call this last in a transaction: from the removal of an index until the end of the transaction,
    PostgreSQL lets nobody read the table.

    Raises:
        DatabaseError: this SQLite has no FTS5, or another program's table has the name.

    """
    parts = _find_parts(connection)
    if parts == (_all_parts(connection) if is_wanted else set()):
        return
    if _is_postgres(connection):
        _create_in_postgres(connection) if is_wanted else _drop_in_postgres(connection)
        return
    for name in sorted(parts, reverse=True):  # the triggers before their table
        connection.exec_driver_sql(f"DROP {'TRIGGER' if name in _TRIGGERS else 'TABLE'} {name}")
    if is_wanted:
        _create_in_sqlite(connection)


def has_index(connection: Connection) -> bool:
    """Return whether the narratives are indexed."""
    return _find_parts(connection) == _all_parts(connection)


def _is_postgres(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _all_parts(connection: Connection) -> set[str]:
    return {_GIN} if _is_postgres(connection) else {"narratives", *_TRIGGERS}


def _find_parts(connection: Connection) -> set[str]:
    """Return the names of the index and its triggers that exist."""
    if _is_postgres(connection):
        return {_GIN} if connection.scalar(select(func.to_regclass(_GIN))) else set()
    found = connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' OR name = 'narratives' AND sql LIKE ? || '%'",
        (_TABLE,),
    )
    return _all_parts(connection) & set(found.scalars())


def _create_in_postgres(connection: Connection) -> None:
    connection.exec_driver_sql(
        f"CREATE INDEX {_GIN} ON stored_complaints USING gin ({WORDS}) "
        "WHERE complaint_what_happened IS NOT NULL"
    )


def _drop_in_postgres(connection: Connection) -> None:
    """Drop the index, unless that had to wait for readers."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_DROP_WAIT}s'")
            connection.exec_driver_sql(f"DROP INDEX {_GIN}")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != POSTGRES_LOCKED:
            raise


def _create_in_sqlite(connection: Connection) -> None:
    if not connection.exec_driver_sql("SELECT 1 FROM pragma_module_list WHERE name = ?", (FTS5,)).first():
        raise DatabaseError(
            "this Python's SQLite has no FTS5: use another Python, or set [storage] full_text=false"
        )
    if connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'narratives'").first():
        raise SchemaError(
            "the database has a table narratives that luigi_etl did not create; "
            "rename it, or set [storage] full_text=false"
        )
    connection.exec_driver_sql(_TABLE + _OPTIONS)
    connection.exec_driver_sql(_FILL)
    for name, definition in _TRIGGERS.items():
        connection.exec_driver_sql(f"CREATE TRIGGER {name} {definition}")
