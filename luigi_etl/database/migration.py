"""Schema version and migration: a number in a table, and a list of steps from each version to the next.

The steps run in the transaction of the first merge. Alembic would add a folder of scripts, a template
language and a command for one short list.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import INTEGER, Connection, Inspector, MetaData, func, inspect, select, text
from sqlalchemy.schema import CreateTable

from luigi_etl.common.errors import SchemaError
from luigi_etl.database.schema import (
    RESTORE,
    VIEWS,
    complaints,
    coverage,
    history,
    metadata,
    schema_version,
    snapshots,
    unverified,
    withdrawn_index,
)

Step = Callable[[Connection], object]


def _replace_limited_indexes(connection: Connection) -> None:
    """Replace PostgreSQL's indexes that fail on long values."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text("DROP INDEX IF EXISTS complaints_by_company"))
    connection.execute(
        text("ALTER TABLE snapshots DROP CONSTRAINT IF EXISTS snapshots_timestamp_query_row_limit_key")
    )
    connection.execute(text("CREATE INDEX complaints_by_company ON complaints USING spgist (company)"))
    connection.execute(
        text("CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, md5(query), row_limit)")
    )


def _mark_unproven_withdrawals(connection: Connection) -> None:
    """Mark the withdrawals that version 1 did not prove as unverified, so that syncs check them."""
    unverified.create(connection)
    connection.execute(text("ALTER TABLE syncs ADD COLUMN form TEXT"))
    newest = (
        select(func.max(history.c.id))
        .where(history.c.change == "withdrawn", history.c.complaint_id == complaints.c.complaint_id)
        .correlate(complaints)
        .scalar_subquery()
    )
    unproven = (
        select(complaints.c.complaint_id, complaints.c.withdrawn)
        .join(history, history.c.id == newest)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(complaints.c.withdrawn.is_not(None), snapshots.c.query != "")
    )
    connection.execute(unverified.insert().from_select(["complaint_id", "since"], unproven))


def _to_version_2(connection: Connection) -> None:
    _replace_limited_indexes(connection)
    _mark_unproven_withdrawals(connection)
    withdrawn_index.create(connection)
    coverage.create(connection)
    connection.execute(text(f"CREATE VIEW coverage_by_query AS {VIEWS['coverage_by_query']}"))


def _to_version_3(connection: Connection) -> None:
    """Add the source to the key of a snapshot: files and the API can have the same minute."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE snapshots ADD COLUMN source TEXT NOT NULL DEFAULT ''"))
        connection.execute(text("DROP INDEX snapshots_once"))
        connection.execute(
            text("CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, md5(query), row_limit, source)")
        )
    else:
        _rebuild_snapshots(connection)


def _rebuild_snapshots(connection: Connection) -> None:
    """Replace SQLite's table, whose unique key can't be altered (sqlite.org/lang_altertable.html, 7)."""
    connection.execute(text("DROP VIEW changes"))  # SQLite refuses to rename a table below a view
    rebuilt = snapshots.to_metadata(MetaData(), name="snapshots_rebuilt")
    connection.execute(CreateTable(rebuilt))
    old = [column.name for column in snapshots.columns if column.name != "source"]
    names = ", ".join(old)
    connection.execute(text(f"INSERT INTO snapshots_rebuilt ({names}) SELECT {names} FROM snapshots"))  # noqa: S608
    connection.execute(text("DROP TABLE snapshots"))
    connection.execute(text("ALTER TABLE snapshots_rebuilt RENAME TO snapshots"))
    connection.execute(
        text("CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, query, row_limit, source)")
    )
    connection.execute(text(f"CREATE VIEW changes AS {VIEWS['changes']}"))


# From version 1 to 2, from 2 to 3, ...; a new database gets the last version.
STEPS: Sequence[Step] = (_to_version_2, _to_version_3)
NEWEST = 1 + len(STEPS)


def create_or_migrate(connection: Connection, steps: Sequence[Step] = STEPS) -> int | None:
    """Create the tables and views, or migrate those of an older version.

    Return the version before, or None for an empty database.

    Raises:
        SchemaError: the database holds foreign tables, or has a newer version.

    """
    newest = 1 + len(steps)
    version = read_version(connection)
    if version is None:
        metadata.create_all(connection, checkfirst=False)
        for name, query in VIEWS.items():
            connection.execute(text(f"CREATE VIEW {name} AS {query}"))
        connection.execute(schema_version.insert().values(version=newest))
        return None
    check_version(version, newest)
    for step in steps[version - 1 :]:
        step(connection)
    if version < newest:
        connection.execute(schema_version.update().values(version=newest))
    return version


def read_version(connection: Connection) -> int | None:
    """Return the schema version, or None for a database without our tables.

    Raises:
        SchemaError: tables or views have our names, but there is not exactly one version.

    """
    inspector = inspect(connection)
    if inspector.has_table(schema_version.name) and _is_our_version(inspector):
        versions = connection.scalars(select(schema_version.c.version)).all()
        if len(versions) > 1:
            raise SchemaError(
                f"the database is damaged: schema_version holds {len(versions)} rows, not one; {RESTORE}"
            )
        if versions:
            return int(versions[0])
    tables, views = set(inspector.get_table_names()), set(inspector.get_view_names())
    if foreign := (tables | views) & (metadata.tables.keys() | VIEWS.keys()):
        name = min(foreign)
        raise SchemaError(
            f"the database has no schema version, but a {'view' if name in views else 'table'} {name} "
            "that luigi_etl did not create; set [storage] database to another"
        )
    return None


def _is_our_version(inspector: Inspector) -> bool:
    """Return whether the table is ours; other programs (Flyway) use the same name."""
    columns = inspector.get_columns(schema_version.name)
    return [(column["name"], type(column["type"])) for column in columns] == [("version", INTEGER)]


def check_version(version: int, newest: int = NEWEST) -> None:
    """Check that this program can use a schema version.

    Raises:
        SchemaError: the version is newer or invalid.

    """
    if version < 1:
        raise SchemaError(f"the database is damaged: schema_version holds {version}; {RESTORE}")
    if version > newest:
        raise SchemaError(
            f"the database's schema is of version {version}; this luigi_etl knows up to {newest}: "
            "install a newer luigi_etl"
        )
