"""Run the SQL queries of README and docs on both kinds of database; each finds rows."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from luigi_etl.database.connection import Database
from luigi_etl.database.merge import merge
from tests.made import taken
from tests.system.test_docs import PAGES, README, blocks, page


def queries(path: Path) -> list[str]:
    return [query.strip() for block in blocks(path, "sql") for query in block.split(";") if query.strip()]


DATABASES = ("SQLite", "PostgreSQL")  # a query that only one of them understands begins with its name
QUERIES = list(dict.fromkeys(query for path in PAGES for query in queries(path)))
NARRATIVE = "They charged an overdraft fee."
COMPANY = "Sandbox Servicing No. 1, LLC"


def complaint(number: int, **fields: object) -> dict[str, object]:
    return {
        "complaint_id": str(number),
        "date_received": "2026-08-11",
        "date_sent_to_company": "2026-08-12",
        "product": "Mortgage",
        "company": COMPANY,
        "company_response": "In progress",
        "timely": "Yes",
        "state": "CA",
        **fields,
    }


@pytest.fixture
def filled(database_address: Path | str, tmp_path: Path) -> Database:
    """Provide a database with a complaint that changed, was withdrawn and returned, and 20 others."""
    database = Database(database_address, full_text=True)
    always = [complaint(number, complaint_what_happened=NARRATIVE) for number in range(20)]
    merge(database, taken(tmp_path, datetime(2026, 11, 21, 9, 0), [*always, complaint(51973)]))
    merge(
        database,
        taken(
            tmp_path, datetime(2026, 11, 22, 9, 0), [*always[1:], complaint(51973, company_response="Closed")]
        ),
    )
    merge(database, taken(tmp_path, datetime(2026, 11, 23, 9, 0), [*always[2:], complaint(51973)]))
    return database


def test_database_page_has_eleven_queries() -> None:
    assert len([one for one in queries(page("database")) if not _only_in(one)]) == 11
    assert queries(README)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.splitlines()[0].removeprefix("-- ")[:40])
def test_each_query_runs_and_finds_rows(filled: Database, query: str) -> None:
    if _only_in(query) in (None, "SQLite" if filled.name.endswith(".db") else "PostgreSQL"):
        assert _answer(filled, query)


def test_history_of_a_complaint_has_each_change(filled: Database) -> None:
    (query,) = [one for one in QUERIES if "history of one complaint" in one]
    assert [(row.change, row.old, row.new) for row in _answer(filled, query)] == [
        ("new", None, None),
        ("changed", "In progress", "Closed"),
        ("changed", "Closed", "In progress"),
    ]


def test_end_of_a_day_includes_complaints_withdrawn_since(filled: Database) -> None:
    (query,) = [one for one in QUERIES if "end of a day" in one]
    assert [tuple(row) for row in _answer(filled, query)] == [("CA", 20)]


def _only_in(query: str) -> str | None:
    """Return the only database that understands a query, or None for both."""
    return next((one for one in DATABASES if query.startswith(f"-- {one}: ")), None)


def _answer(database: Database, query: str) -> list[Any]:
    with database.reading() as connection:
        return list(connection.execute(text(query)))
