"""Export of complaints: CSV in the CFPB's format, or Parquet."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import Row, Text, cast, select

from luigi_etl.api.query import Query
from luigi_etl.common.errors import SettingError, StorageError
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import complaints
from luigi_etl.database.search import Search
from luigi_etl.database.sql_filter import to_condition
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS
from luigi_etl.snapshot.csv_format import Block, csv_blocks
from luigi_etl.snapshot.replacement import replace_file
from luigi_etl.snapshot.store import list_labels

if TYPE_CHECKING:
    import pyarrow

ROWS = 2000  # read at once
ROW_GROUP = 16 << 20  # bytes in memory before compression
REMEDY = "name another FILE"

Rows = Iterator[Row[Any]]


@contextlib.contextmanager
def open_matches(database: Database, query: Query, search: Search | None = None) -> Iterator[Rows]:
    """Open the complaints that match a query and a search and are not withdrawn, with the CFPB's 18 columns.

    The rows show one state of the database, whatever others merge. Their order is the API's: the newest day
    first, then ids as text, descending; rows without a date come last.

    Raises:
        QueryError: the query has a search term, which only the API supports.
        SettingError: there is a search, but the narratives are not indexed.
        EtlError: see `Database`; also while the rows are read.

    """
    day = complaints.c.date_received
    chosen = (
        select(*(complaints.c[column.field] for column in DEFAULT_COLUMNS))
        .where(complaints.c.withdrawn.is_(None), to_condition(query))
        .order_by(day.desc(), cast(complaints.c.complaint_id, Text).desc())
    )
    with database.reading() as connection:
        if search:
            chosen = chosen.where(search.to_condition(connection))
        # Two parts: databases sort null differently, and this way both use the index of dates.
        parts = (chosen.where(day.is_not(None)), chosen.where(day.is_(None)))
        streaming = connection.execution_options(yield_per=ROWS)
        yield chain.from_iterable(streaming.execute(part) for part in parts)


def as_csv(rows: Rows) -> Iterator[Block]:
    """Yield rows as blocks of CSV, in the format of the chain."""
    return csv_blocks(list_labels(DEFAULT_COLUMNS), rows)


def check_name(path: Path) -> None:
    """Check the extension of a file's name.

    Raises:
        SettingError: it is neither `.csv` nor `.parquet`.

    """
    if path.suffix.lower() not in _WRITERS:
        raise SettingError(f"{str(path)!r} is not a file to export to: its name must end in .csv or .parquet")


def export(rows: Rows, path: Path, root: Path) -> int:
    """Write rows to a CSV or Parquet file; return their number.

    An existing file is replaced only by a complete one. `root` is the data folder, where a later run finds
    the leftovers of a killed export.

    Raises:
        StorageError: the file can't be written, or pyarrow is not installed.

    """
    writer = _WRITERS[path.suffix.lower()]
    return writer(rows, lambda: replace_file(path, root, REMEDY))


Opener = Callable[[], AbstractContextManager[IO[bytes]]]


def _write_csv(rows: Rows, open_file: Opener) -> int:
    with open_file() as stream:
        count = 0
        for block in as_csv(rows):
            stream.write(block.lines)
            count += block.rows
    return count


def _write_parquet(rows: Rows, open_file: Opener) -> int:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise StorageError("Parquet needs pyarrow: pip install 'luigi_etl[parquet]'") from error
    count = 0
    schema = _schema()
    with (
        open_file() as stream,
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
    """Collect rows into groups that compress well and fit into memory."""
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
