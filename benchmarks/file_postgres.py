"""PostgreSQL for the benchmark of files: a private server that syncs to the disk, as by default."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.file_databases import ID, FileDatabase, Schema, find_table, log_skipped
from benchmarks.launch import read_written
from benchmarks.processes import BenchmarkError, find_free_port
from tests.postgres import PostgresServer, running_postgres

ROWS = 10_000  # fetched at once


class Postgres(FileDatabase):
    """PostgreSQL, whose loader is `COPY` from a client."""

    name = "PostgreSQL"
    loader = "`COPY`"

    def __init__(self, server: PostgresServer, client: str) -> None:
        self._server = server
        self._client = client
        self._count = 0

    def new(self, folder: Path) -> str:  # noqa: ARG002
        """Create an empty database."""
        return self._create("template1")

    def copy(self, address: str, folder: Path) -> str:  # noqa: ARG002
        """Create a database with another one as its template."""
        return self._create(self._name_of(address))

    def remove(self, address: str) -> None:
        """Drop the database."""
        self._server.execute(f"DROP DATABASE {self._name_of(address)} WITH (FORCE)")

    def read_schema(self, address: str) -> Schema:
        """Read the schema from the catalogue."""
        columns: dict[str, dict[str, str]] = {}
        rows = self.query(
            address,
            "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
        )
        for table, column, kind in rows:
            columns.setdefault(table, {})[column] = kind
        table = find_table({name: list(each) for name, each in columns.items()})
        indexes = self.query(
            address,
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index "  # noqa: S608
            f"WHERE indrelid = '{table}'::regclass AND NOT indisprimary",
        )
        return Schema(table, columns[table][ID], "", [row[0] for row in indexes])

    def prepare_load(self, address: str, schema: Schema) -> None:
        """Create the table and its indexes."""
        with closing(self.connect(address)) as connection:
            connection.execute(schema.definition)
            for index in schema.indexes:
                try:
                    connection.execute(index)
                except psycopg.errors.UndefinedColumn as error:
                    log_skipped(index, error)

    def load(self, address: str, table: str, content: Path) -> list[str | Path]:
        """Return the client's command."""
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={address}"]
        return [self._client, *options, f"--command=\\copy {table} FROM '{content}' (FORMAT csv, HEADER)"]

    def size(self, address: str) -> int:
        """Return the size of all tables and indexes, with the catalogue."""
        ((size,),) = self.query(address, "SELECT pg_database_size(current_database())")
        return int(size)

    def connect(self, address: str) -> Any:
        """Connect without transactions."""
        return psycopg.connect(address, autocommit=True)

    def stored(self) -> int:
        """Return the bytes that the server and all its ended processes have written."""
        self._server.execute("CHECKPOINT")
        (line, *_) = (self._server.folder / "data" / "postmaster.pid").read_text().splitlines()
        return read_written(int(line))

    def tidy(self, address: str) -> None:
        """Vacuum and analyse, as the server does by itself within a minute."""
        with closing(self.connect(address)) as connection:
            connection.execute("VACUUM (ANALYZE)")

    def _create(self, template: str) -> str:
        self._count += 1
        name = f"files_{self._count}"
        self._server.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self._server.address(name)

    def _stream(self, connection: Any, query: str) -> Iterator[tuple[str, ...]]:
        with connection.transaction(), connection.cursor("rows") as cursor:
            cursor.itersize = ROWS
            yield from cursor.execute(query)

    @staticmethod
    def _name_of(address: str) -> str:
        return address.partition("?")[0].rpartition("/")[2]


@contextmanager
def open_postgres() -> Iterator[Postgres]:
    """Start a server and yield it.

    Raises:
        BenchmarkError: PostgreSQL is not installed.

    """
    client = shutil.which("psql")
    try:
        if not client:
            raise BenchmarkError("psql is not installed: apt install postgresql")
        with running_postgres(find_free_port(), "-c fsync=on") as server:
            yield Postgres(server, client)
    except pytest.skip.Exception as absent:
        raise BenchmarkError(str(absent)) from None
