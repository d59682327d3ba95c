"""Snapshots that tests of coverage and of its warnings merge into a database."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from luigi_etl.api.query import Query, parse_query
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import read_coverage
from luigi_etl.database.covered_days import CoverageRow
from luigi_etl.database.doubts import find_doubts
from luigi_etl.database.merge import merge
from tests.conftest import Beside
from tests.made import taken
from tests.version_1 import undo_version_2

NOW = datetime(2026, 11, 27, 9, 26)
Source = dict[str, object]

VIEW = "SELECT query, first_day, last_day, as_of, newest_as_of, complete, newest FROM coverage_by_query"


def complaint(number: int, **fields: object) -> Source:
    return {"complaint_id": str(number), "date_received": "2026-11-01", "state": "CA", **fields}


def at(number: int) -> datetime:
    """Return a minute of this morning."""
    return NOW.replace(minute=number)


def query(*parts: str) -> Query:
    return parse_query("&".join(part for part in parts if part))


def days(first: date | None, last: date | None = None) -> str:
    bounds = {"date_received_min": first, "date_received_max": last}
    return "&".join(f"{name}={day}" for name, day in bounds.items() if day)


def row(
    filters: str, first: str | None, last: str | None, as_of: datetime = NOW, limit: int = 0
) -> CoverageRow:
    return CoverageRow(filters, _day(first), _day(last), as_of, limit)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


class Merges:
    """A database, with a method that merges snapshots into it."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self._root = root

    def merge(self, minute: datetime, *sources: Mapping[str, object], **options: Any) -> None:
        """Merge a snapshot of these complaints; it is complete by default."""
        merge(self.database, taken(self._root, minute, sources, **options))

    def covered(self) -> list[CoverageRow]:
        with self.database.reading() as connection:
            return read_coverage(connection)

    def doubts(self, question: str = "") -> list[str]:
        with self.database.reading() as connection:
            return find_doubts(connection, parse_query(question), NOW)

    def view(self) -> list[tuple[Any, ...]]:
        """Return the view, with days and minutes as text."""
        with self.database.reading() as connection:
            found = connection.execute(text(f"{VIEW} ORDER BY query, newest, first_day"))
            return [tuple(map(_plain, one)) for one in found]

    def make_version_1(self, beside: Beside) -> None:
        undo_version_2(beside, is_file=self.database.name.endswith(".db"))


def _plain(value: Any) -> Any:
    return str(value)[:16] if isinstance(value, date) else value


@pytest.fixture
def merges(database: Database, tmp_path: Path) -> Merges:
    return Merges(database, tmp_path / "data")


@pytest.fixture
def older(merges: Merges, beside: Beside) -> Merges:
    """Give a database of version 1 that holds snapshots."""
    merges.merge(at(1), complaint(1), query="state=CA")
    merges.merge(at(5), complaint(1), query="state=CA&date_received_min=2026-10-01")
    merges.merge(at(7), complaint(1), limit=1, total=9)
    merges.make_version_1(beside)
    return merges


COVERAGE_OF_OLDER = [
    row("", None, None, at(7), 1),
    row("state=CA", None, "2026-09-30", at(1)),
    row("state=CA", "2026-10-01", None, at(5)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder to export to."""
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder
