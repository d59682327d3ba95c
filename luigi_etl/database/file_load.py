"""The load of a complaint file into a database without complaints."""

from collections.abc import Iterable, Iterator
from itertools import chain

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from luigi_etl.database.file_rows import FileBatch
from luigi_etl.database.migration_steps import create_stored_indexes
from luigi_etl.database.observations import FIELD_BITS
from luigi_etl.database.rows import SnapshotRef
from luigi_etl.database.schema import STORED_INDEXES

_OWN_COLUMNS = ("first_snapshot", "sent", "last_seen", "file_digest")
_SORT_MEMORY = 16 * 1024  # KiB; sorting and writing in order need no more


def load_file(connection: Connection, snapshot: SnapshotRef, batches: Iterator[FileBatch]) -> None:
    """Insert the rows of a file; the table `stored_complaints` is empty.

    A row with a digest needs no time: it was seen last in this file.
    """
    first = next(batches)  # a file has rows
    load = _copy_into_postgres if connection.dialect.name == "postgresql" else _insert_into_sqlite
    load(connection, snapshot, first.fields, chain([first], batches))


def _insert_into_sqlite(
    connection: Connection, snapshot: SnapshotRef, fields: tuple[str, ...], batches: Iterable[FileBatch]
) -> None:
    """Stage the rows, then insert them in the order of their ids: each page is written once."""
    columns, marks = ", ".join(fields), ", ".join("?" * len(fields))
    run = connection.exec_driver_sql
    run(f"PRAGMA cache_size = -{_SORT_MEMORY}")
    for name in STORED_INDEXES["sqlite"]:
        run(f"DROP INDEX IF EXISTS {name}")
    run(f"CREATE TEMPORARY TABLE staged AS SELECT {columns}, file_digest FROM stored_complaints")  # noqa: S608
    for batch in batches:
        if batch.rows:
            rows = [(*row, digest) for row, digest in zip(batch.rows, batch.digests, strict=True)]
            run(f"INSERT INTO staged VALUES ({marks}, ?)", rows)  # noqa: S608
    run(
        f"INSERT INTO stored_complaints ({columns}, {', '.join(_OWN_COLUMNS)}) "  # noqa: S608
        f"SELECT {columns}, ?, ?, CASE WHEN file_digest IS NULL THEN ? END, file_digest "
        "FROM staged ORDER BY complaint_id",
        (snapshot.id, _sent(fields), _minute(snapshot)),
    )
    run("DROP TABLE staged")
    create_stored_indexes(connection)


def _copy_into_postgres(
    connection: Connection, snapshot: SnapshotRef, fields: tuple[str, ...], batches: Iterable[FileBatch]
) -> None:
    """Copy the rows; the indexes stay, because their removal would make readers wait."""
    driver = connection.connection.driver_connection
    assert driver  # noqa: S101  # for mypy
    failure = connection.dialect.loaded_dbapi.Error
    statement = f"COPY stored_complaints ({', '.join((*fields, *_OWN_COLUMNS))}) FROM STDIN"
    own, minute = (snapshot.id, _sent(fields)), _minute(snapshot)
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for batch in batches:
                for row, digest in zip(batch.rows, batch.digests, strict=True):
                    copy.write_row((*row, *own, minute if digest is None else None, digest))
    except failure as error:  # SQLAlchemy would have wrapped it
        raise DBAPIError.instance(statement, None, error, failure) from error


def _sent(fields: tuple[str, ...]) -> int:
    return sum(FIELD_BITS.get(field, 0) for field in fields)


def _minute(snapshot: SnapshotRef) -> str:
    return f"{snapshot.timestamp:%Y-%m-%d %H:%M}"
