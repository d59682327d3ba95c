"""The state of an installation at a glance: the database, its coverage, the newest runs, the disk."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, func, inspect, literal_column, select, table

from luigi_etl.common.errors import EtlError, NoDatabaseError
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import covered
from luigi_etl.database.covered_days import CoveredRange, ranges
from luigi_etl.database.rows import count_complaints
from luigi_etl.database.schema import complaints
from luigi_etl.service.run_history import Run, newest_of_each


@dataclass(frozen=True)
class DatabaseStatus:
    """What a database holds; `problem` is the reason where it can't be read, `is_there` False where none is.

    A count is None where the database does not keep it.
    """

    address: str
    is_there: bool = True
    problem: str | None = None
    complaints: int | None = None
    withdrawn: int | None = None
    unverified: int | None = None
    held_back: int | None = None
    coverage: list[CoveredRange] = field(default_factory=list)


@dataclass(frozen=True)
class DiskUse:
    """How many files are in a folder, and the bytes they take on the disk; hard links count once."""

    folder: Path
    files: int
    bytes: int


@dataclass(frozen=True)
class Status:
    """All of it; `runs` are the newest of each query."""

    database: DatabaseStatus
    runs: list[Run]
    disk: DiskUse


def status(root: Path, address: str | Path) -> Status:
    """Look at the database of an address and at the files in a folder; nothing is written.

    Raises:
        DatabaseError: the address is none.
        OSError: a folder can't be read.

    """
    return Status(_database(Database(address)), newest_of_each(root), disk_use(root))


def disk_use(folder: Path) -> DiskUse:
    """Return what a folder takes on the disk.

    Raises:
        OSError: a folder can't be read.

    """
    sizes: dict[tuple[int, int], int] = {}
    for path, _, names in os.walk(folder, onerror=_fail):
        for name in names:
            try:
                found = os.lstat(os.path.join(path, name))  # noqa: PTH118  # of very many files
            except FileNotFoundError:  # removed meanwhile
                continue
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return DiskUse(folder, len(sizes), sum(sizes.values()))


def _fail(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _database(database: Database) -> DatabaseStatus:
    try:
        with database.reading() as connection:
            return DatabaseStatus(
                database.name,
                complaints=count_complaints(connection),
                withdrawn=connection.scalar(
                    select(func.count()).select_from(complaints).where(complaints.c.withdrawn.is_not(None))
                ),
                unverified=_rows(connection, "unverified"),
                held_back=_rows(connection, "unverified", "held_since"),
                coverage=ranges(covered(connection)),
            )
    except NoDatabaseError:
        return DatabaseStatus(database.name, is_there=False)
    except EtlError as error:
        return DatabaseStatus(database.name, problem=str(error))


def count_held(connection: Connection) -> int:
    """Return how many complaints' withdrawal is held back."""
    return _rows(connection, "unverified", "held_since") or 0


def _rows(connection: Connection, name: str, filled: str = "*") -> int | None:
    """Return how many rows of a table have a value in a column, None where the database lacks the table."""
    if not inspect(connection).has_table(name):
        return None
    return connection.scalar(select(func.count(literal_column(filled))).select_from(table(name)))
