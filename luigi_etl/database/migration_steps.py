"""The steps from each schema version to the next.

They run in the transaction of the first use. Alembic would add a folder of scripts, a template language and a
command for one short list.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter

from sqlalchemy import Connection, Table, text
from sqlalchemy.schema import CreateTable

from luigi_etl.common.errors import SchemaError
from luigi_etl.common.terminal import brief
from luigi_etl.database.schema import (
    FIELDS,
    STORED_INDEXES,
    VIEWS,
    coverage,
    digested_file,
    history,
    snapshots,
    stored_complaints,
    unverified,
)
from luigi_etl.snapshot.decoding import LONGEST_ID

Step = Callable[[Connection], object]


def _replace_limited_indexes(connection: Connection) -> None:
    """Replace PostgreSQL's indexes that fail on long values."""
    if connection.dialect.name != "postgresql":
        return
    _run(
        connection,
        "DROP INDEX IF EXISTS complaints_by_company",
        "ALTER TABLE snapshots DROP CONSTRAINT IF EXISTS snapshots_timestamp_query_row_limit_key",
        "CREATE INDEX complaints_by_company ON complaints USING spgist (company)",
        "CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, md5(query), row_limit)",
    )


def _mark_unproven_withdrawals(connection: Connection) -> None:
    """Mark the withdrawals that version 1 did not prove as unverified, so that syncs check them."""
    minute = _minute_type(connection)
    _run(
        connection,
        "CREATE TABLE unverified "
        f"(complaint_id TEXT PRIMARY KEY, since {minute} NOT NULL, held_since {minute})",
        "ALTER TABLE syncs ADD COLUMN form TEXT",
        """
        INSERT INTO unverified (complaint_id, since)
        SELECT c.complaint_id, c.withdrawn FROM complaints c
        JOIN history h ON h.id = (
            SELECT max(id) FROM history WHERE change = 'withdrawn' AND complaint_id = c.complaint_id
        )
        JOIN snapshots s ON s.id = h.snapshot_id
        WHERE c.withdrawn IS NOT NULL AND s.query <> ''
        """,
    )


def _to_version_2(connection: Connection) -> None:
    _replace_limited_indexes(connection)
    _mark_unproven_withdrawals(connection)
    _run(
        connection, "CREATE INDEX complaints_withdrawn ON complaints (withdrawn) WHERE withdrawn IS NOT NULL"
    )
    coverage.create(connection)
    create_view(connection, "coverage_by_query")


def _to_version_3(connection: Connection) -> None:
    """Add the source to the key of a snapshot: files and the API can have the same minute."""
    if connection.dialect.name == "postgresql":
        _run(
            connection,
            "ALTER TABLE snapshots ADD COLUMN source TEXT NOT NULL DEFAULT ''",
            "DROP INDEX snapshots_once",
            "CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, md5(query), row_limit, source)",
        )
    else:
        _rebuild_snapshots(connection)


def _rebuild_snapshots(connection: Connection) -> None:
    """Replace SQLite's table, whose unique key can't be altered (sqlite.org/lang_altertable.html, 7)."""
    _rebuild(connection, snapshots, [column.name for column in snapshots.columns if column.name != "source"])


def _to_version_4(connection: Connection) -> None:
    """Make ids integers, and record which snapshot was first in the complaint, not in the history."""
    _check_ids(connection)
    views = ("complaints", "current_complaints", "changes")
    grants = _read_grants(connection, views)
    _run(connection, "DROP VIEW current_complaints", "DROP VIEW changes")
    for name in ("complaints_by_company", "complaints_by_date_received", "complaints_withdrawn"):
        _run(connection, f"DROP INDEX {name}")
    connection.execute(CreateTable(stored_complaints))
    connection.execute(CreateTable(digested_file))
    _copy_complaints(connection)
    _run(connection, "DROP TABLE complaints")
    create_stored_indexes(connection)
    if connection.dialect.name == "postgresql":
        _run(
            connection,
            "DELETE FROM history WHERE change = 'new'",
            *(f"ALTER TABLE {name} {_INTEGER_IDS}" for name in (history.name, unverified.name)),
        )
    else:
        _rebuild(connection, history, history.columns.keys(), "WHERE change <> 'new'")
        _rebuild(connection, unverified, unverified.columns.keys())
    for view in views:
        create_view(connection, view)
    for name, role in grants:
        _run(connection, f"GRANT SELECT ON {name} TO {role}")


_INTEGER_IDS = "ALTER COLUMN complaint_id TYPE bigint USING complaint_id::bigint"


def _copy_complaints(connection: Connection) -> None:
    """Copy the complaints in the order of their new ids, which writes SQLite's table once."""
    copied = ", ".join((*FIELDS, "last_seen", "withdrawn", "sent", "last_sent"))
    minutes = "SELECT min(id) FROM snapshots"
    first = "SELECT min(snapshot_id) FROM history h WHERE h.complaint_id = c.complaint_id AND change = 'new'"
    of_minute = f"{minutes} WHERE timestamp = c.first_seen"  # of a complaint without a line `new`
    _run(
        connection,
        f"INSERT INTO stored_complaints (complaint_id, {copied}, first_snapshot, last_changed) "  # noqa: S608
        f"SELECT CAST(complaint_id AS bigint), {copied}, coalesce(({first}), ({of_minute}), ({minutes})), "
        "nullif(last_changed, first_seen) FROM complaints c ORDER BY 1",
    )


def _rebuild(connection: Connection, table: Table, names: Sequence[str], rows: str = "") -> None:
    """Replace a table of SQLite by one with today's definition.

    It is not renamed: SQLite refuses that if a view of the user's reads the table.
    """
    columns = ", ".join(names)
    _run(
        connection,
        f"CREATE TEMPORARY TABLE copied AS SELECT {columns} FROM {table.name} {rows}",  # noqa: S608
        f"DROP TABLE {table.name}",
    )
    connection.execute(CreateTable(table))
    _run(
        connection,
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM copied ORDER BY 1",  # noqa: S608
        "DROP TABLE copied",
    )
    for index in sorted(table.indexes, key=attrgetter("name")):
        index.create(connection)


def _check_ids(connection: Connection) -> None:
    """Check that all ids are numbers that today's tables hold.

    Raises:
        SchemaError: one is not; no version accepted it from the CFPB.

    """
    is_odd = {"postgresql": "complaint_id !~ '^[0-9]+$'", "sqlite": "complaint_id GLOB '*[^0-9]*'"}
    faults = f"{is_odd[connection.dialect.name]} OR length(complaint_id) NOT BETWEEN 1 AND {LONGEST_ID}"
    for name in ("complaints", "history", "unverified"):
        found = connection.exec_driver_sql(
            f"SELECT complaint_id FROM {name} WHERE {faults} OR substr(complaint_id, 1, 1) = '0' "  # noqa: S608
            "AND length(complaint_id) > 1"
        ).first()
        if found:
            raise SchemaError(
                f"the table {name} has a complaint_id that is no number of at most {LONGEST_ID} digits: "
                f"{brief(found[0], 40)!r}; delete such rows, they are not the CFPB's"
            )


def _read_grants(connection: Connection, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the tables and views that other roles of PostgreSQL may read, and these roles, quoted."""
    if connection.dialect.name != "postgresql":
        return []
    found = connection.execute(
        text(
            "SELECT c.relname, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END "
            "FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a "
            "LEFT JOIN pg_roles r ON r.oid = a.grantee "
            "WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relname = ANY(:names) "
            "AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner"
        ),
        {"names": list(names)},
    )
    return [(row[0], row[1]) for row in found]


def create_stored_indexes(connection: Connection) -> None:
    """Create the indexes of `stored_complaints`."""
    for name, definition in STORED_INDEXES[connection.dialect.name].items():
        _run(connection, f"CREATE INDEX {name} ON stored_complaints {definition}")


def _run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


def create_view(connection: Connection, name: str) -> None:
    """Create a view of `VIEWS`."""
    _run(connection, f"CREATE VIEW {name} AS {VIEWS[name]}")


def _minute_type(connection: Connection) -> str:
    return "TIMESTAMP" if connection.dialect.name == "postgresql" else "DATETIME"


# From version 1 to 2, from 2 to 3, ...; a new database gets the last version.
STEPS: Sequence[Step] = (_to_version_2, _to_version_3, _to_version_4)
