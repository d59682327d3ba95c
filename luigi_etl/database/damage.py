"""Damage of a database: missing tables, missing columns, cells of a wrong type."""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Integer,
    Table,
    Text,
    exists,
    func,
    inspect,
    or_,
    select,
    type_coerce,
)

from luigi_etl.database.migration import NEWEST, read_version
from luigi_etl.database.schema import (
    VIEWS,
    ComplaintId,
    digested_file,
    metadata,
    stored_complaints,
)


def find_damage(connection: Connection) -> str:
    """Return the first damage in one line without values, or an empty text.

    Raises:
        SchemaError: the schema version itself is damaged.

    """
    return find_missing_part(connection) or _find_wrong_cell(connection) or _find_wrong_row(connection)


def find_missing_part(connection: Connection) -> str:
    """Return the first missing table or column, or an empty text; this is quick.

    Raises:
        SchemaError: the schema version itself is damaged.

    """
    version = read_version(connection)
    if version is None:
        return ""
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        if table.info.get("since", 1) > version:
            continue
        if not inspector.has_table(table.name):
            return f"the table {table.name} is missing"
        names = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in names and column.info.get("since", 1) <= version:
                return f"the column {column.name} of the table {table.name} is missing"
    if version == NEWEST:
        for view in VIEWS:
            if not inspector.has_table(view):
                return f"the view {view} is missing"
    return ""


def _find_wrong_cell(connection: Connection) -> str:
    """Return the first column with cells of a wrong type, which SQLite accepts."""
    if connection.dialect.name != "sqlite":
        return ""
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        if inspector.has_table(table.name):
            for column in table.columns:
                if count := _count_wrong(connection, table, column):
                    rows = "row" if count == 1 else "rows"
                    kind = "int" if _is_number(column) else column.type.python_type.__name__
                    return f"{table.name}.{column.name} is not of type {kind} in {count:,} {rows}"
    return ""


def _find_wrong_row(connection: Connection) -> str:
    """Return the kind of a row that no merge writes."""
    last_seen, digest = stored_complaints.c.last_seen, stored_complaints.c.file_digest
    no_file = ~exists(select(digested_file))
    wrong = exists(stored_complaints).where(last_seen.is_(None), or_(digest.is_(None), no_file))
    return "a row of stored_complaints has no last_seen" if connection.scalar(select(wrong)) else ""


def _count_wrong(connection: Connection, table: Table, column: Column[Any]) -> int:
    wrong = select(func.count()).select_from(table).where(column.is_not(None), _is_wrong(column))
    return connection.scalar(wrong) or 0


def _is_wrong(column: Column[Any]) -> ColumnElement[bool]:
    cell = type_coerce(column, Text)
    kind = func.typeof(cell)
    if isinstance(column.type, Date):
        return or_(kind != "text", func.date(cell).is_distinct_from(cell))
    if isinstance(column.type, DateTime):
        return or_(kind != "text", func.strftime("%Y-%m-%d %H:%M", cell).is_distinct_from(cell))
    if isinstance(column.type, Boolean):
        return or_(kind != "integer", type_coerce(column, Integer).not_in([0, 1]))
    return kind != ("integer" if _is_number(column) else "text")


def _is_number(column: Column[Any]) -> bool:
    return isinstance(column.type, Integer | ComplaintId)
