"""The state of an installation: the database, its coverage, the newest runs, the disk."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, func, select

from luigi_etl.common.errors import EtlError, NoDatabaseError
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import read_coverage
from luigi_etl.database.covered_days import CoveredRange, join_ranges
from luigi_etl.database.rows import count_complaints
from luigi_etl.database.schema import complaints, unverified
from luigi_etl.service.run_history import find_newest_runs
from luigi_etl.service.run_status import Run


@dataclass(frozen=True)
class DatabaseStatus:
    """The content of a database, or the `problem` why it can't be read.

    A count is None if the database's version does not have it.
    """

    address: str
    exists: bool = True
    problem: str | None = None
    complaints: int | None = None
    withdrawn: int | None = None
    unverified: int | None = None
    held_back: int | None = None
    coverage: list[CoveredRange] = field(default_factory=list)


@dataclass(frozen=True)
class DiskUse:
    """The files of a folder and their bytes on the disk; hard links count once."""

    folder: Path
    files: int
    bytes: int


@dataclass(frozen=True)
class Status:
    """The state of an installation; `runs` holds the newest run of each query."""

    database: DatabaseStatus
    runs: list[Run]
    disk: DiskUse


def read_status(root: Path, address: str | Path) -> Status:
    """Read the state of a database and a folder; write nothing.

    Raises:
        DatabaseError: the address is not valid.
        OSError: a folder can't be read.

    """
    return Status(_read_database(Database(address)), find_newest_runs(root), measure_disk_use(root))


def measure_disk_use(folder: Path) -> DiskUse:
    """Return the disk use of a folder and everything below it.

    Raises:
        OSError: a folder can't be read.

    """
    sizes: dict[tuple[int, int], int] = {}
    for path, _, names in os.walk(folder, onerror=_raise_unless_missing):
        for name in names:
            try:
                found = os.lstat(os.path.join(path, name))  # noqa: PTH118  # faster, for many files
            except FileNotFoundError:  # pruned in the meantime
                continue
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return DiskUse(folder, len(sizes), sum(sizes.values()))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _read_database(database: Database) -> DatabaseStatus:
    try:
        with database.reading() as connection:
            return DatabaseStatus(
                database.name,
                complaints=count_complaints(connection),
                withdrawn=connection.scalar(
                    select(func.count()).select_from(complaints).where(complaints.c.withdrawn.is_not(None))
                ),
                unverified=_count(connection, unverified.c.complaint_id),
                held_back=_count(connection, unverified.c.held_since),
                coverage=join_ranges(read_coverage(connection)),
            )
    except NoDatabaseError:
        return DatabaseStatus(database.name, exists=False)
    except EtlError as error:
        return DatabaseStatus(database.name, problem=str(error))


def count_held_back(connection: Connection) -> int:
    """Return the number of withdrawals that are held back."""
    return _count(connection, unverified.c.held_since)


def _count(connection: Connection, column: Column[Any]) -> int:
    """Count the rows with a value in a column."""
    return connection.scalar(select(func.count(column))) or 0
