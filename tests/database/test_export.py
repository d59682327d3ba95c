"""`luigi-etl export`: complaints of the database as the chain's CSV, or as Parquet."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import luigi
import pytest
from pyarrow import parquet

from luigi_etl.api.query import parse_query
from luigi_etl.cli.main import run
from luigi_etl.common.minutes import this_minute
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import record_snapshot
from luigi_etl.database.export import open_matches
from luigi_etl.database.schema import DATES, FIELDS, stored_complaints
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS
from luigi_etl.snapshot.store import create_document, store
from tests.conftest import Chain
from tests.snapshot.test_parse import largest_file
from tests.snapshot.test_store import HEADER

pytestmark = pytest.mark.libraries

MINUTE = datetime(2026, 11, 22, 9, 26)
TEXTS = [
    'He said "no", twice',
    "two\nlines",
    "a carriage return\ralone",
    "both\r\n",
    "\xa0 leading NBSP, trailing space ",
    "\U0001f600 \u2028 \x85 é",
    "=1+1",
    "'",
    "None",
    "0123",
    "x" * 100_000,
]

Export = Callable[..., bytes]
Fields = Mapping[str, str | None]


def cover(database: Database) -> Database:
    """Record that an empty database covers all complaints."""
    with database.writing() as connection:
        record_snapshot(connection, this_minute(), parse_query(""), 0, is_whole=True)
    return database


@pytest.fixture
def database(database: Database) -> Database:
    """Give an empty database that covers all complaints."""
    return cover(database)


@pytest.fixture(autouse=True)
def configured(database_address: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process use the test's database."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "database", str(database_address))
    configuration.set("storage", "columns", "state")  # affects only snapshots
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)


@pytest.fixture
def export(capsysbinary: pytest.CaptureFixture[bytes]) -> Export:
    """Give a function that returns what `luigi-etl export` writes to standard output."""

    def export(*arguments: str) -> bytes:
        assert run(["export", *arguments]) == 0
        out, err = capsysbinary.readouterr()
        assert err == b""
        return out

    return export


def insert(database: Database, *kept: Fields, withdrawn: datetime | None = None) -> None:
    """Insert complaints as a merge does."""
    seen = {"first_snapshot": 1, "last_seen": MINUTE, "withdrawn": withdrawn, "sent": 0}
    with database.writing() as connection:
        rows = [dict.fromkeys(FIELDS) | _typed(one) | seen for one in kept]
        connection.execute(stored_complaints.insert(), rows)


def _typed(fields: Fields) -> dict[str, Any]:
    return {
        name: date.fromisoformat(value) if value and name in DATES else value
        for name, value in fields.items()
    }


def generate(count: int, **fields: str) -> list[Fields]:
    """Return complaints of a thousand days."""
    day = date(2024, 1, 1).toordinal()
    return [
        {
            "complaint_id": str(number),
            "date_received": date.fromordinal(day + number % 1000).isoformat(),
            "product": f"Product {number % 7}",
            "company": f"Company {number}, LLC",
            **fields,
        }
        for number in range(count)
    ]


def ids(out: bytes) -> list[str]:
    _, *rows = csv.reader(io.StringIO(out.decode(), newline=""))
    return [row[-1] for row in rows]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """Return the one line of an export that fails."""
    assert run(["export", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


# --- the CSV -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_empty_database_exports_only_the_header(export: Export) -> None:
    assert export() == HEADER.encode()


def test_csv_equals_the_csv_of_the_chain(database: Database, export: Export, tmp_path: Path) -> None:
    full = {column.field: column.label for column in DEFAULT_COLUMNS}
    full |= {"complaint_id": "9", "date_received": "2026-11-21", "date_sent_to_company": "0987-01-02"}
    texts: list[Fields] = [
        {"complaint_id": f"{100 - number}", "date_received": "2026-11-20", "issue": text}
        for number, text in enumerate(TEXTS, 1)
    ]
    texts.sort(key=lambda one: one["complaint_id"] or "", reverse=True)
    kept = [full, *texts, {"complaint_id": "1"}]
    insert(database, *reversed(kept))
    parsed, document, target = tmp_path / "parsed.jsonl", tmp_path / "document.csv", tmp_path / "c.csv"
    parsed.write_text("".join(f"{json.dumps(one)}\n" for one in kept))
    create_document(document, "")
    store(document, parsed, target, len(kept), MINUTE)

    assert export() == target.read_bytes()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_text_is_written_exactly(database: Database, export: Export, text: str) -> None:
    insert(database, {"complaint_id": "1", "complaint_what_happened": text})
    (row,) = csv.DictReader(io.StringIO(export().decode(), newline=""))
    assert row["Consumer complaint narrative"] == text


def test_null_is_an_empty_cell(database: Database, export: Export) -> None:
    insert(database, {"complaint_id": "1"})
    assert export() == HEADER.encode() + b"," * 17 + b"1\n"


def test_newest_is_first_and_undated_last(database: Database, export: Export) -> None:
    days = {"1": "2026-11-20", "10": "2026-11-20", "9": "2026-11-20", "2": "2026-11-21", "7": None, "8": None}
    insert(database, *({"complaint_id": number, "date_received": day} for number, day in days.items()))
    assert ids(export()) == ["2", "9", "10", "1", "8", "7"]


# --- selection -----------------------------------------------------------------------------------


def test_query_selects_complaints(database: Database, export: Export) -> None:
    complaints = [{"complaint_id": f"{at}", "state": state} for at, state in enumerate(("CA", "NY", "TX"))]
    insert(database, *complaints)

    assert ids(export("--query", "state=CA&state=NY")) == ["1", "0"]


def test_withdrawn_complaints_are_left_out(database: Database, export: Export) -> None:
    insert(database, {"complaint_id": "1"})
    insert(database, {"complaint_id": "2"}, {"complaint_id": "3"}, withdrawn=MINUTE)
    assert ids(export()) == ["1"]


@pytest.mark.slow
def test_note_about_a_search_page_address_is_not_in_the_csv(
    database: Database, chain: Chain, database_address: Path | str
) -> None:
    insert(database, {"complaint_id": "1", "state": "CA"}, {"complaint_id": "2", "state": "NY"})
    chain.configure("storage", database=database_address)
    page = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/?state=NY&tab=List"
    found = chain.program("luigi-etl", "export", "--query", page)
    assert (found.code, ids(found.out.encode())) == (0, ["2"])
    assert found.err == "query: display parameters of the search page left out: tab\n"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("search_term=overdraft", "query: only the API can search for search_term"),
        ("stat=CA", "did you mean"),
    ],
)
def test_unusable_query_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], query: str, message: str
) -> None:
    assert message in refused(capsys, "--query", query, code=2)


def test_message_about_a_missing_database_names_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, str(tmp_path / "new" / "x.csv"), code=1)
    assert "`luigi --module luigi_etl SyncComplaints --local-scheduler`" in message
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_concurrent_merge_does_not_change_an_export(database: Database) -> None:
    insert(database, *generate(5000))
    with open_matches(database, parse_query("")) as rows:
        next(rows)
        insert(database, {"complaint_id": "99999"})
        with database.writing() as connection:
            connection.execute(stored_complaints.update().values(withdrawn=MINUTE))
        assert sum(1 for _ in rows) == 4999


# --- to a file -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_file_equals_standard_output(database: Database, export: Export, folder: Path) -> None:
    insert(database, *generate(1200))
    path = folder / "complaints.csv"
    assert export(str(path)).decode() == f"1,200 complaints: {path}\n"
    assert path.read_bytes() == export() == export("-")


@pytest.mark.parametrize("name", ["complaints", "complaints.txt", "complaints.csv.gz", ".csv", ""])
def test_unknown_file_extension_is_refused(
    capsys: pytest.CaptureFixture[str], folder: Path, name: str
) -> None:
    path = str(folder / name)
    assert refused(capsys, path, code=2) == (
        f"luigi-etl: error: {path!r} is not a file to export to: its name must end in .csv or .parquet\n"
    )
    assert os.listdir(folder) == []


@pytest.mark.parametrize("name", ["complaints.csv", "complaints.parquet", "COMPLAINTS.CSV"])
def test_failed_export_keeps_the_old_file(
    database: Database, capsys: pytest.CaptureFixture[str], folder: Path, name: str
) -> None:
    insert(
        database,
        *generate(1),
        {"complaint_id": "99999", "complaint_what_happened": os.urandom(3_000_000).hex()},
    )
    path = folder / name
    path.write_bytes(b"before")
    with largest_file(100_000):
        message = refused(capsys, str(path), code=1)
    assert message == (
        f"luigi-etl: error: cannot write {path}: File too large; make room or give access there, "
        "or name another FILE\n"
    )
    assert (os.listdir(folder), path.read_bytes()) == ([name], b"before")


# --- Parquet -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_parquet_has_field_names_and_date_columns(export: Export, folder: Path) -> None:
    export(str(folder / "complaints.parquet"))
    schema = parquet.read_schema(folder / "complaints.parquet")
    assert schema.names == [column.field for column in DEFAULT_COLUMNS]
    assert {field.name for field in schema if str(field.type) == "date32[day]"} == DATES
    assert {str(field.type) for field in schema} == {"date32[day]", "string"}


@pytest.mark.slow
def test_parquet_equals_the_csv(database: Database, export: Export, folder: Path) -> None:
    texts: list[Fields] = [{"complaint_id": f"{at}", "tags": text} for at, text in enumerate(TEXTS, 10_000)]
    insert(database, *generate(5000, issue="more than a row group " * 200), *texts, {"complaint_id": "99999"})
    path = folder / "complaints.parquet"
    assert export(str(path)).decode() == f"5,012 complaints: {path}\n"

    columns = [column.to_pylist() for column in parquet.read_table(path).columns]
    rows = [["" if cell is None else str(cell) for cell in row] for row in zip(*columns, strict=True)]
    assert rows == list(csv.reader(io.StringIO(export().decode(), newline="")))[1:]


def test_parquet_distinguishes_null_from_empty(database: Database, export: Export, folder: Path) -> None:
    insert(database, {"complaint_id": "1", "tags": ""})
    export(str(folder / "complaints.parquet"))
    (row,) = parquet.read_table(folder / "complaints.parquet", columns=["tags", "state"]).to_pylist()
    assert row == {"tags": "", "state": None}


def test_parquet_is_compressed(database: Database, export: Export, folder: Path) -> None:
    insert(database, *generate(10))
    export(str(folder / "complaints.parquet"))
    group = parquet.read_metadata(folder / "complaints.parquet").row_group(0)
    assert {group.column(number).compression for number in range(18)} == {"ZSTD"}


@pytest.mark.usefixtures("database")
def test_message_about_missing_pyarrow_names_the_remedy(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # its import fails
    path = folder / "complaints.parquet"
    assert refused(capsys, str(path), code=1) == (
        "luigi-etl: error: Parquet needs pyarrow: pip install 'luigi_etl[parquet]'\n"
    )
    assert os.listdir(folder) == []
