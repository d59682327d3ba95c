"""The schema version of a database: a number in a table; older databases are migrated step by step."""

from collections.abc import Sequence

from sqlalchemy import INTEGER, Connection, Inspector, inspect, select

from luigi_etl.common.errors import SchemaError
from luigi_etl.database.migration_steps import STEPS, Step, create_stored_indexes, create_view
from luigi_etl.database.schema import RESTORE, VIEWS, metadata, schema_version

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
        create_stored_indexes(connection)
        for name in VIEWS:
            create_view(connection, name)
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
