"""The complaints of the database as a file for others: the CFPB's own CSV, or Parquet."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import Row, select

from luigi_etl.api.query import Query
from luigi_etl.common.errors import SettingError, StorageError
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import complaints
from luigi_etl.database.sql_filter import condition
from luigi_etl.snapshot.complaint import DEFAULT_COLUMNS
from luigi_etl.snapshot.csv_format import Block, csv_blocks
from luigi_etl.snapshot.replacement import replacing
from luigi_etl.snapshot.store import labels

if TYPE_CHECKING:
    import pyarrow

ROWS = 2000  # in memory at once
ROW_GROUP = 16 << 20  # bytes of a Parquet file in memory at once, before compression
OTHERWISE = "name another FILE"

Rows = Iterator[Row[Any]]


@contextlib.contextmanager
def matching(database: Database, query: Query) -> Iterator[Rows]:
    """Give the complaints that match a query, without those withdrawn, as rows of the CFPB's 18 columns.

    All are of one state of the database, whatever is merged meanwhile, and in the API's order: the newest
    first, those of one day by their ids as text, descending; what has no date comes last.

    Raises:
        QueryError: the query searches for words, which only the API can.
        EtlError: as `Database` does; also while the rows are read.

    """
    day = complaints.c.date_received
    chosen = (
        select(*(complaints.c[column.field] for column in DEFAULT_COLUMNS))
        .where(complaints.c.withdrawn.is_(None), condition(query))
        .order_by(day.desc(), complaints.c.complaint_id.desc())
    )
    # Two parts, because databases disagree where no date belongs: so the index of dates serves either.
    parts = (chosen.where(day.is_not(None)), chosen.where(day.is_(None)))
    with database.reading() as connection:
        streaming = connection.execution_options(yield_per=ROWS)
        yield chain.from_iterable(streaming.execute(part) for part in parts)


def as_csv(rows: Rows) -> Iterator[Block]:
    """Give such rows as CSV, as the chain writes it."""
    return csv_blocks(labels(DEFAULT_COLUMNS), rows)


def check_name(path: Path) -> None:
    """See to it that a file's name tells what to write.

    Raises:
        SettingError: it ends in neither `.csv` nor `.parquet`.

    """
    if path.suffix.lower() not in _WRITERS:
        raise SettingError(f"{str(path)!r} is not a file to export to: its name must end in .csv or .parquet")


def export(rows: Rows, path: Path, root: Path) -> int:
    """Write such rows to a file of a kind that `check_name` accepts; return how many there were.

    The file takes its name when it is whole; until then, and if it fails, what had it stays. `root` is the
    folder of all files, where what a kill leaves is found again.

    Raises:
        StorageError: the file can't be written, or Parquet can't because pyarrow is not there.

    """
    writer = _WRITERS[path.suffix.lower()]
    return writer(rows, lambda: replacing(path, root, OTHERWISE))


Opener = Callable[[], AbstractContextManager[IO[bytes]]]


def _write_csv(rows: Rows, opened: Opener) -> int:
    with opened() as stream:
        count = 0
        for block in as_csv(rows):
            stream.write(block.lines)
            count += block.rows
    return count


def _write_parquet(rows: Rows, opened: Opener) -> int:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise StorageError("Parquet needs pyarrow: pip install 'luigi_etl[parquet]'") from error
    count = 0
    schema = _schema()
    with (
        opened() as stream,
        parquet.ParquetWriter(stream, schema, compression="zstd") as writer,
    ):
        for group in _row_groups(rows, schema):
            writer.write_table(group)
            count += group.num_rows
    return count


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}


def _schema() -> "pyarrow.Schema":
    import pyarrow

    types = {"date": pyarrow.date32(), "string": pyarrow.string()}
    return pyarrow.schema([(column.field, types[column.type]) for column in DEFAULT_COLUMNS])


def _row_groups(rows: Rows, schema: "pyarrow.Schema") -> Iterator["pyarrow.Table"]:
    """Collect rows, as columns, to groups that are worth compressing and fit into memory."""
    import pyarrow

    batches: list[pyarrow.RecordBatch] = []
    while part := list(islice(rows, ROWS)):
        columns = zip(zip(*part, strict=True), schema.types, strict=True)
        batches.append(pyarrow.record_batch([pyarrow.array(*column) for column in columns], schema))
        if sum(batch.nbytes for batch in batches) >= ROW_GROUP:
            yield pyarrow.Table.from_batches(batches)
            batches.clear()
    if batches:
        yield pyarrow.Table.from_batches(batches)
