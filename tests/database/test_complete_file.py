"""Merge of a complete file: it shows late changes, withdrawals and returns of every complaint."""

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from luigi_etl.bulk import rows
from luigi_etl.bulk.content import read_facts
from luigi_etl.database import file_rows
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import read_coverage
from luigi_etl.database.file_import import FileImport, FileToImport, import_file
from luigi_etl.database.merge import merge
from luigi_etl.database.schema import FIELDS, complaints
from luigi_etl.service.forget.deletion import forget
from luigi_etl.snapshot.guard import Guard
from tests.conftest import Beside
from tests.made import taken

MONDAY = datetime(2026, 11, 23, 6, 0)
GUARD = Guard()
HEADER = ("Date received", "State", "Complaint ID")


def hour(number: float) -> datetime:
    return MONDAY + timedelta(hours=number)


class Books:
    """A database with methods that merge files and the API's snapshots of a few complaints."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self._folder = folder
        self._files = 0

    def file(
        self,
        at: float,
        *states: str | None,
        extra: str = "",
        guard: Guard = GUARD,
        header: Sequence[str] = HEADER,
        **options: Any,
    ) -> FileImport:
        """Merge a complete file; the complaint at each place has this state, or is not in it (None)."""
        self._files += 1
        path = self._folder / f"{self._files}.csv"
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(header)
        writer.writerow(("2011-12-01", f"{at}", "999"))  # no two files have the same content
        writer.writerows(
            ("2026-11-01", state, number + 1) for number, state in enumerate(states) if state is not None
        )
        path.write_text(rows.getvalue() + extra)
        file = FileToImport(path, read_facts(path), hour(at), **{"is_complete": True, **options})
        return import_file(self.database, file, self._folder / "rejected.jsonl", guard=guard)

    def api(self, at: float, *states: str | None, is_complete: bool = False) -> None:
        """Merge a snapshot; one of the newest complaints proves nothing about others."""
        sources = [
            {"complaint_id": str(number + 1), "date_received": "2026-11-01", "state": state}
            for number, state in enumerate(states)
            if state is not None
        ]
        newest: dict[str, Any] = {} if is_complete else {"limit": len(sources), "total": 99}
        if sources:
            merge(self.database, taken(self._folder, hour(at), sources, **newest))

    def current(self) -> dict[str, str | None]:
        """Return the states of the complaints that are not withdrawn, by id."""
        found = self._sql("SELECT complaint_id, state FROM current_complaints WHERE complaint_id <> 999")
        return {str(row[0]): row[1] for row in found}

    def changes(self, number: int) -> list[tuple[str, str]]:
        found = self._sql(
            f"SELECT change, snapshot FROM changes WHERE complaint_id = '{number}' ORDER BY snapshot"
        )
        return [(change, str(minute)[:16]) for change, minute in found]

    def complaints(self) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(select(complaints).order_by(complaints.c.complaint_id)))

    def changed_values(self) -> list[Any]:
        """Return the changes of values, and their snapshots."""
        found = self._sql(
            "SELECT complaint_id, field, old, new, snapshot FROM changes WHERE change = 'changed'"
        )
        return sorted(map(str, found))

    def rows(self) -> list[Any]:
        return [
            (*row[: 1 + len(FIELDS)], row.first_seen, row.last_seen, row.withdrawn)
            for row in self.complaints()
            if row.complaint_id != "999"
        ]

    def _sql(self, statement: str) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(text(statement)))


@pytest.fixture
def books(database: Database, tmp_path: Path) -> Books:
    return Books(database, tmp_path)


def test_complaint_that_the_file_lacks_is_withdrawn(books: Books) -> None:
    books.file(0, "CA", "TX")

    books.file(24, "CA")

    assert books.current() == {"1": "CA"}
    assert books.changes(2) == [("new", "2026-11-23 06:00"), ("withdrawn", "2026-11-24 06:00")]


def test_complaint_in_the_next_file_has_returned(books: Books) -> None:
    books.file(0, "CA", "TX")
    books.file(24, "CA")

    books.file(48, "CA", "TX")

    assert books.current() == {"1": "CA", "2": "TX"}
    assert books.changes(2)[-1] == ("returned", "2026-11-25 06:00")


def test_file_shows_late_changes(books: Books) -> None:
    books.file(0, "CA")

    books.file(24, "NY")

    assert books.current() == {"1": "NY"}


def test_older_file_does_not_undo_a_newer_snapshot(books: Books) -> None:
    books.api(3, "NY", "TX")

    books.file(0, "CA")

    assert books.current() == {"1": "NY", "2": "TX"}


@pytest.mark.parametrize("is_file_first", [False, True])
def test_file_withdraws_nothing_that_the_api_just_showed(books: Books, is_file_first: bool) -> None:
    """The file of a morning can be made before the API's index of that morning."""
    books.file(-24, "CA", "TX")
    if is_file_first:
        books.file(0, "CA")
    books.api(-1, "CA", "TX")
    if not is_file_first:
        books.file(0, "CA")

    assert books.current() == {"1": "CA", "2": "TX"}
    assert [change for change, _ in books.changes(2)] == ["new"]


def test_next_file_withdraws_what_the_first_could_not(books: Books) -> None:
    books.api(-1, "CA", "TX")
    books.file(0, "CA")

    books.file(24, "CA")

    assert books.current() == {"1": "CA"}


def test_file_that_shrank_is_held_back(books: Books) -> None:
    books.file(0, *["CA"] * 300)

    imported = books.file(24, *["CA"] * 150)

    assert len(books.current()) == 300
    assert imported.problem.startswith("held back: 150 of 301 complaints would be withdrawn")


def test_later_file_confirms_a_held_back_loss(books: Books) -> None:
    books.file(0, *["CA"] * 300)
    books.file(24, *["CA"] * 150)

    imported = books.file(48, *["CA"] * 150)

    assert (len(books.current()), imported.problem) == (150, "")


def test_file_with_an_invalid_row_withdraws_nothing(books: Books) -> None:
    """The row may be any complaint."""
    books.file(0, "CA", "TX")

    imported = books.file(24, "NY", extra="not a date,TX,2\n")

    assert books.current() == {"1": "NY", "2": "TX"}
    assert (imported.rows.valid, imported.rows.rejected) == (2, 1)


def test_complete_file_covers_all_days(books: Books) -> None:
    books.file(0, "CA")

    with books.database.reading() as connection:
        (covered,) = read_coverage(connection)
    assert covered == ("", None, None, hour(0), 0)


def test_incomplete_file_covers_and_withdraws_nothing(books: Books) -> None:
    books.file(0, "CA", "TX")

    books.file(24, "CA", is_complete=False)

    with books.database.reading() as connection:
        assert [row.as_of for row in read_coverage(connection)] == [hour(0)]
    assert books.current() == {"1": "CA", "2": "TX"}


STATES = st.lists(st.sampled_from(["CA", "TX", None]), min_size=2, max_size=2)


def test_unchanged_rows_are_not_written(books: Books, beside: Beside, database_address: str | Path) -> None:
    books.file(0, *["CA"] * 50)
    count_updates(beside, is_file=isinstance(database_address, Path))

    books.file(24, "NY", *["CA"] * 49)

    assert beside("SELECT DISTINCT complaint_id FROM updates ORDER BY 1") == [(1,), (999,)]
    assert {str(row.last_seen) for row in books.complaints()} == {"2026-11-24 06:00:00"}


def count_updates(beside: Beside, *, is_file: bool) -> None:
    """Let the database record the ids of complaints that are updated."""
    beside("CREATE TABLE updates (complaint_id bigint)")
    record = "INSERT INTO updates VALUES (new.complaint_id)"
    if is_file:
        beside(f"CREATE TRIGGER watch AFTER UPDATE ON stored_complaints BEGIN {record}; END")
        return
    beside(
        f"CREATE FUNCTION record() RETURNS trigger AS $$ BEGIN {record}; RETURN new; END $$ LANGUAGE plpgsql"
    )
    beside("CREATE TRIGGER watch AFTER UPDATE ON stored_complaints FOR EACH ROW EXECUTE FUNCTION record()")


def test_withdrawn_complaint_returns_with_an_unchanged_row(books: Books) -> None:
    books.file(0, "CA", "TX")
    books.api(24, "CA", is_complete=True)

    books.file(48, "CA", "TX")

    assert [change for change, _ in books.changes(2)] == ["new", "withdrawn", "returned"]


def test_value_that_the_api_changed_is_changed_back(books: Books) -> None:
    books.file(0, "CA", "TX")
    books.api(24, "NY")

    books.file(48, "CA", "TX")

    assert [change for change, _ in books.changes(1)] == ["new", "changed", "changed"]


def test_unchanged_row_ends_a_late_change(books: Books) -> None:
    books.file(0, "CA", "TX")
    books.api(48, "CA", "TX")
    books.api(24, "NY", "TX")

    books.file(30, "CA", "TX")

    assert books.changes(1) == [
        ("new", "2026-11-23 06:00"),
        ("changed", "2026-11-24 06:00"),
        ("changed", "2026-11-24 12:00"),
    ]


def test_older_values_leave_a_row_unchanged(
    books: Books, beside: Beside, database_address: str | Path
) -> None:
    """The archive of narratives is older than the daily file."""
    books.file(0, "CA", "TX")
    books.file(-24, "Acme", "Acme", header=("Date received", "Company", "Complaint ID"), is_complete=False)
    count_updates(beside, is_file=isinstance(database_address, Path))

    books.file(24, "CA", "TX")

    assert beside("SELECT DISTINCT complaint_id FROM updates ORDER BY 1") == [(999,)]
    assert [row.company for row in books.complaints()][:2] == ["Acme", "Acme"]


@pytest.mark.parametrize("number", [10**18, 2**63 - 1, 2**63, 2**64 - 1, 2**64])
def test_id_that_no_database_holds_is_rejected(books: Books, number: int) -> None:
    books.file(0, "CA")

    imported = books.file(24, "CA", extra=f"2026-11-01,CA,{number}\n")

    assert (imported.rows.valid, imported.rows.rejected) == (2, 1)


def test_another_conversion_reads_each_row_again(
    books: Books,
    beside: Beside,
    database_address: str | Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    books.file(0, "CA", "TX")
    count_updates(beside, is_file=isinstance(database_address, Path))
    monkeypatch.setattr(file_rows, "_CONVERSION", 2)

    books.file(24, "CA", "TX")

    assert beside("SELECT DISTINCT complaint_id FROM updates ORDER BY 1") == [(1,), (2,), (999,)]


def test_columns_in_another_order_are_other_rows(books: Books) -> None:
    books.file(0, "CA", header=("Date received", "State", "Complaint ID"))

    books.file(24, "CA", header=("Date received", "Company", "Complaint ID"))

    (row,) = (row for row in books.complaints() if row.complaint_id == "1")
    assert (row.state, row.company) == ("CA", "CA")


@pytest.mark.parametrize("repeats", [("CA", "NY"), ("NY", "CA")])
def test_first_of_repeated_rows_counts(books: Books, repeats: tuple[str, str]) -> None:
    books.file(0, "CA", "TX")
    extra = "".join(f"2026-11-01,{state},1\n" for state in repeats)

    imported = books.file(24, None, "TX", extra=extra)

    assert (books.current(), imported.rows.repeated) == ({"1": repeats[0], "2": "TX"}, 1)


def test_unchanged_row_in_two_blocks_is_repeated(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK", 20)  # about one row
    books.file(0, "CA", "TX")

    imported = books.file(24, "CA", "TX", extra="2026-11-01,CA,1\n")

    assert (imported.rows.valid, imported.rows.repeated) == (3, 1)


def test_file_after_a_forgotten_one_is_merged(books: Books, tmp_path: Path) -> None:
    books.file(0, "CA", "TX", "CA")
    books.file(24, "NY", "TX")
    forget(books.database, tmp_path / "data", hour(1))

    books.file(48, "NY", "TX", "CA")

    assert books.current() == {"1": "NY", "2": "TX", "3": "CA"}
    assert books.changes(1) == [("new", "2026-11-23 06:00"), ("changed", "2026-11-25 06:00")]


KINDS = st.sampled_from(["file", "file", "newest", "all", "old"])
SOURCES = st.lists(st.tuples(KINDS, STATES), min_size=1, max_size=5)
HOURS = st.lists(st.integers(0, 60), min_size=5, max_size=5, unique=True)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sources=SOURCES, hours=HOURS, data=st.data())
def test_order_of_files_and_snapshots_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    sources: Sequence[tuple[str, list[str | None]]],
    hours: Sequence[int],
    data: st.DataObject,
) -> None:
    """Complete files, the API's snapshots, and incomplete files; compare rows, changes and withdrawals."""
    timeline = list(zip(sorted(hours), sources, strict=False))
    order = data.draw(st.permutations(timeline))
    found = []
    for merged in (timeline, order):
        folder = tmp_path_factory.mktemp("books")
        books = Books(Database(folder / "complaints.db"), folder)
        books.file(-24, "CA")
        for at, (kind, states) in merged:
            if kind in ("newest", "all"):
                books.api(at, *states, is_complete=kind == "all")
            else:
                books.file(at, *states, is_complete=kind == "file")
        found.append((books.rows(), books.changed_values()))

    assert found[0] == found[1]
