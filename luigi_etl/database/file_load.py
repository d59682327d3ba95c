"""The load of a complaint file into a database without complaints."""

from collections.abc import Iterable, Iterator
from itertools import chain

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from luigi_etl.database.file_rows import FileBatch
from luigi_etl.database.migration import create_indexes
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import FIELDS, stored_complaints

_BITS = {field: 1 << at for at, field in enumerate(FIELDS)}
_OWN_COLUMNS = ("first_snapshot", "sent", "last_seen", "file_digest")
StoredRow = tuple[object, ...]


def load_file(connection: Connection, snapshot: SnapshotRef, batches: Iterator[FileBatch]) -> None:
    """Insert the rows of a file; the table `stored_complaints` is empty.

    A row with a digest needs no time: it was seen last in this file.
    """
    first = next(batches)  # a file has rows
    names = (*first.fields, *_OWN_COLUMNS)
    rows = (_stored_rows(batch, snapshot) for batch in chain([first], batches))
    if connection.dialect.name == "postgresql":
        _copy_into_postgres(connection, names, rows)
    else:
        _insert_into_sqlite(connection, names, rows)


def _stored_rows(batch: FileBatch, snapshot: SnapshotRef) -> list[StoredRow]:
    sent = sum(_BITS.get(field, 0) for field in batch.fields)
    minute = f"{snapshot.timestamp:%Y-%m-%d %H:%M}"
    return [
        (*row, snapshot.id, sent, minute if digest is None else None, digest)
        for row, digest in zip(batch.rows, batch.digests, strict=True)
    ]


def _insert_into_sqlite(
    connection: Connection, names: tuple[str, ...], batches: Iterable[list[StoredRow]]
) -> None:
    """Stage the rows, then insert them in the order of their ids: each page is written once."""
    columns, marks = ", ".join(names), ", ".join("?" * len(names))
    for index in stored_complaints.indexes:
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index.name}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE staged AS SELECT {columns} FROM stored_complaints")  # noqa: S608
    for rows in batches:
        if rows:
            connection.exec_driver_sql(f"INSERT INTO staged VALUES ({marks})", rows)  # noqa: S608
    connection.exec_driver_sql(
        f"INSERT INTO stored_complaints ({columns}) SELECT {columns} FROM staged ORDER BY complaint_id"  # noqa: S608
    )
    connection.exec_driver_sql("DROP TABLE staged")
    create_indexes(connection, stored_complaints)


def _copy_into_postgres(
    connection: Connection, names: tuple[str, ...], batches: Iterable[list[StoredRow]]
) -> None:
    """Copy the rows; the indexes stay, because their removal would make readers wait."""
    driver = connection.connection.driver_connection
    assert driver  # noqa: S101  # for mypy
    statement = f"COPY stored_complaints ({', '.join(names)}) FROM STDIN"
    failure = connection.dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for rows in batches:
                for row in rows:
                    copy.write_row(row)
    except failure as error:  # SQLAlchemy would have wrapped it
        raise DBAPIError.instance(statement, None, error, failure) from error
