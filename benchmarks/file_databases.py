"""The two databases: new ones, their own loaders, and the facts that the benchmark reports."""

import re
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bench import log
from benchmarks.file_content import content_of
from benchmarks.file_rows import FIELDS
from benchmarks.processes import BenchmarkError
from benchmarks.results import Content

ID = "complaint_id"


class Schema(NamedTuple):
    """The table of complaints: its name, its key with type, a suffix of its definition, and its indexes."""

    table: str
    key_type: str
    suffix: str
    indexes: list[str]

    @property
    def definition(self) -> str:
        """The statement that creates the table with the columns of the daily file."""
        columns = [f"{field} {f'{self.key_type} PRIMARY KEY' if field == ID else 'text'}" for field in FIELDS]
        return f"CREATE TABLE {self.table} ({', '.join(columns)}){self.suffix}".rstrip()


class FileDatabase(ABC):
    """A kind of database; a database is named by its address."""

    name: str
    loader: str

    @abstractmethod
    def new(self, folder: Path) -> str:
        """Return the address of a new database, which belongs to a folder."""

    @abstractmethod
    def copy(self, address: str, folder: Path) -> str:
        """Copy a database to a new one, which belongs to a folder."""

    @abstractmethod
    def remove(self, address: str) -> None:
        """Remove a database."""

    @abstractmethod
    def read_schema(self, address: str) -> Schema:
        """Return the schema of a database that luigi_etl created."""

    @abstractmethod
    def prepare_load(self, address: str, schema: Schema) -> None:
        """Create the table for the loader."""

    @abstractmethod
    def load(self, address: str, table: str, content: Path) -> list[str | Path]:
        """Return the command that loads a CSV file."""

    @abstractmethod
    def size(self, address: str) -> int:
        """Return the size of a database in bytes."""

    @abstractmethod
    def connect(self, address: str) -> Any:
        """Connect to a database."""

    def stored(self) -> int:
        """Return the bytes that a server has written since its start; what is in its memory counts."""
        return 0

    @abstractmethod
    def tidy(self, address: str) -> None:
        """Do what the database does by itself within a minute."""

    @abstractmethod
    def _stream(self, connection: Any, query: str) -> Iterator[tuple[str, ...]]:
        """Yield many rows."""

    def read_content(self, address: str, table: str = "current_complaints") -> Content:
        """Return the content of a table or view."""
        cells = ", ".join(f"coalesce(CAST({field} AS text), '')" for field in FIELDS)
        with closing(self.connect(address)) as connection:
            return content_of(self._stream(connection, f"SELECT {cells} FROM {table}"))  # noqa: S608

    def query(self, address: str, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with closing(self.connect(address)) as connection:
            return list(map(tuple, connection.execute(query).fetchall()))


class Sqlite(FileDatabase):
    """SQLite, whose loader is the shell's `.import`."""

    name = "SQLite"
    loader = "`.import`"

    def __init__(self) -> None:
        shell = shutil.which("sqlite3")
        if not shell:
            raise BenchmarkError("the sqlite3 shell is not installed: apt install sqlite3")
        self._shell = shell

    def new(self, folder: Path) -> str:
        """Return the path of a new file."""
        return str(folder / "complaints.db")

    def copy(self, address: str, folder: Path) -> str:
        """Copy the file."""
        return shutil.copy(address, self.new(folder))

    def remove(self, address: str) -> None:
        """Remove the file."""
        Path(address).unlink()

    def read_schema(self, address: str) -> Schema:
        """Read the schema from sqlite_master."""
        rows = self.query(address, "SELECT name, sql FROM sqlite_master WHERE type = 'table'")
        columns = {
            name: {row[1]: row[2] for row in self.query(address, f"PRAGMA table_info({name})")}
            for name, _ in rows
        }
        table = find_table({name: list(each) for name, each in columns.items()})
        suffix = re.search(r"\)\s*([^)]*)$", dict(rows)[table])
        indexes = self.query(
            address,
            f"SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = '{table}' AND sql <> ''",  # noqa: S608
        )
        return Schema(
            table, columns[table][ID], f" {suffix[1]}" if suffix else "", [row[0] for row in indexes]
        )

    def prepare_load(self, address: str, schema: Schema) -> None:
        """Create the table and its indexes."""
        with closing(self.connect(address)) as connection:
            connection.execute(schema.definition)
            for index in schema.indexes:
                try:
                    connection.execute(index)
                except sqlite3.OperationalError as error:
                    log_skipped(index, error)

    def load(self, address: str, table: str, content: Path) -> list[str | Path]:
        """Return the shell's command, with its default settings."""
        return [self._shell, "-bail", address, f'.import --csv --skip 1 "{content}" {table}']

    def tidy(self, address: str) -> None:
        """Do nothing."""

    def size(self, address: str) -> int:
        """Return the size of the file."""
        return Path(address).stat().st_size

    def connect(self, address: str) -> Any:
        """Open the file."""
        return sqlite3.connect(address)

    def _stream(self, connection: Any, query: str) -> Iterator[tuple[str, ...]]:
        return connection.execute(query)  # type: ignore[no-any-return]


def find_table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return the table of complaints by the columns of all tables: the widest one with their ids."""
    tables = [table for table, names in columns.items() if ID in names]
    return max(tables, key=lambda table: len(columns[table]))


def log_skipped(index: str, error: Exception) -> None:
    """Report an index on columns that the file does not have."""
    reason = str(error).partition("\n")[0]
    log(f"the loader goes without an index ({reason}): {index}")
