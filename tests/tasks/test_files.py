"""ImportComplaints and ReconcileComplaints, over HTTP and on both kinds of database."""

import csv
import gzip
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
import zipfile
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import luigi
import pytest
from sqlalchemy import select

from luigi_etl import (
    ImportComplaints,
    ImportNarratives,
    MergeComplaints,
    ReconcileComplaints,
    SyncComplaints,
)
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import metadata
from luigi_etl.service.forget.deletion import forget
from luigi_etl.snapshot.run_record import read_record
from tests.conftest import Chain, Luigid, Pipeline, Run, Serve, Served, disk_of, with_peak_memory
from tests.postgres import PostgresServer
from tests.raw import answer, serving
from tests.sandbox.requested_files import ARCHIVE, DAILY

MINUTE = datetime(2020, 6, 1)
TOMORROW = datetime(2026, 9, 27, 12, tzinfo=timezone.utc)  # in the sandbox
OPTION = ("--timestamp", "2020-06-01T0000")
HEADER = "Date received,Company,State,Complaint ID\n"
CONTENT = HEADER + "2020-05-01,Acme,CA,1\n2020-05-02,,TX,2\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "old copy.csv"
    path.write_text(CONTENT)
    return path


def states(pipeline: Pipeline) -> dict[str, str | None]:
    return {
        row[0]: row[1]
        for row in pipeline.sql("SELECT CAST(complaint_id AS text), state FROM current_complaints")
    }


def lines(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(), newline="")))[1:]


def import_copy(pipeline: Pipeline, path: Path, minute: datetime | None = MINUTE) -> bool:
    return pipeline.run(ImportComplaints, file=str(path), timestamp=minute)


# --- a file on the disk --------------------------------------------------------------------------


def test_rows_of_a_file_are_in_the_database(pipeline: Pipeline, copy: Path) -> None:
    assert import_copy(pipeline, copy)

    found = pipeline.sql(
        "SELECT CAST(complaint_id AS text), company, state FROM current_complaints ORDER BY 1"
    )
    assert found == [("1", "Acme", "CA"), ("2", None, "TX")]
    assert pipeline.sql("SELECT DISTINCT change FROM changes") == [("new",)]


def test_changes_rejected_rows_and_a_record_are_files(pipeline: Pipeline, copy: Path) -> None:
    copy.write_text(
        CONTENT * 1 + "\n".join(f"2020-05-0{day},A,CA,{day}" for day in range(3, 9)) + "\nx,A,CA,9\n"
    )
    pipeline.configure("guard", rejected_percent=50)

    assert import_copy(pipeline, copy)

    (changes,), (rejected,), (record,) = map(pipeline.files, ("changes.csv", "rejected.jsonl", "run.json"))
    assert [line[:2] for line in lines(changes)] == [[str(number), "new"] for number in range(1, 9)]
    assert json.loads(rejected.read_text()) == {"line": 10, "reason": "not a date: 'x'", "text": "x,A,CA,9"}
    assert read_record(record).outcome == "imported"
    assert read_record(record).counts == {"new": 8, "changed": 0, "withdrawn": 0, "returned": 0}


def test_missing_column_changes_nothing_and_empty_cell_does(pipeline: Pipeline, copy: Path) -> None:
    import_copy(pipeline, copy)
    later = copy.with_name("later.csv")
    later.write_text("Date received,State,Complaint ID\n2020-05-01,,1\n")

    import_copy(pipeline, later, MINUTE + timedelta(days=1))

    assert pipeline.sql("SELECT company, state FROM complaints WHERE complaint_id = '1'") == [("Acme", None)]


@pytest.mark.parametrize("container", ["plain", "zip", "gzip"])
def test_same_content_counts_once(pipeline: Pipeline, copy: Path, container: str) -> None:
    """Whatever its name, container and minute."""
    import_copy(pipeline, copy)
    again = copy.with_name("again")
    if container == "plain":
        again.write_text(CONTENT)
    elif container == "gzip":
        again.write_bytes(gzip.compress(CONTENT.encode()))
    else:
        with zipfile.ZipFile(again, "w") as archive:
            archive.writestr("folder/complaints.csv", CONTENT)

    assert import_copy(pipeline, again, MINUTE + timedelta(days=1))

    assert pipeline.sql("SELECT count(*) FROM snapshots") == [(1,)]
    seen = pipeline.sql("SELECT DISTINCT last_seen FROM complaints")
    assert [str(row[0])[:10] for row in seen] == ["2020-06-01"]
    assert len(pipeline.files("changes.csv")) == 2


def test_file_and_snapshot_of_one_minute_coexist(pipeline: Pipeline, served: Serve, copy: Path) -> None:
    minute = datetime(2026, 9, 26, 12)
    pipeline.configure("ccdb", url=served(20).url)
    pipeline.run(MergeComplaints, timestamp=minute, query="", limit=0)

    assert import_copy(pipeline, copy, minute)

    assert pipeline.sql(
        "SELECT timestamp, query, row_limit FROM snapshots GROUP BY 1, 2, 3 HAVING count(*) = 2"
    )
    assert len(states(pipeline)) == 22


def test_complaint_withdrawn_since_stays_withdrawn(pipeline: Pipeline, served: Serve, copy: Path) -> None:
    minute = datetime(2026, 9, 26, 12)
    pipeline.configure("ccdb", url=served(20).url)
    pipeline.run(MergeComplaints, timestamp=minute, query="", limit=0)

    import_copy(pipeline, copy)

    withdrawn = pipeline.sql(
        "SELECT CAST(complaint_id AS text) FROM complaints WHERE withdrawn IS NOT NULL ORDER BY 1"
    )
    assert withdrawn == [("1",), ("2",)]


@pytest.mark.parametrize(
    "name", ["2015-bulk-head", "2017-api-names-head", "2020-bulk-head", "2025-04-export"]
)
def test_recorded_file_of_each_era_is_imported(pipeline: Pipeline, recorded: Path, name: str) -> None:
    pipeline.configure("guard", rejected_percent=0)
    path = recorded / f"{name}.csv"

    assert import_copy(pipeline, path)

    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    label = next(label for label in rows[0] if label.lower().replace("_", " ") == "complaint id")
    assert sorted(states(pipeline)) == sorted(row[label] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty; copy or download it again"),
        (HEADER.encode(), "it has no rows"),
        (b"Company,State\nA,CA\n", "no column `Complaint ID`; its first row is 'Company,State'"),
        (CONTENT.encode() + b"2020-05-03,A", "its last line has no end; copy or download it again"),
        (CONTENT.encode() + b"2020-05-03,A\n", "its last row is cut off; copy or download it again"),
        (CONTENT.encode() + b"2020-05-03,A,CA,1.2e7\n", "column 'Complaint ID': a spreadsheet changed its"),
        (gzip.compress(CONTENT.encode())[:-9], "it is cut off or damaged (Compressed file ended before"),
    ],
    ids=["empty", "no rows", "no id", "cut line", "cut row", "spreadsheet", "cut archive"],
)
def test_unusable_file_is_one_line_and_merges_nothing(
    chain: Chain, copy: Path, content: bytes, reason: str
) -> None:
    copy.write_bytes(content)

    run = run_import(chain, str(copy), *OPTION)

    assert (run.code, run.out, run.err.count("\n")) == (30, "", 1)
    assert run.err.startswith(f"ERROR: ImportComplaints: {copy}: {reason}")
    assert not chain.files("changes.csv")
    export = chain.program("luigi-etl", "export", "-")
    assert "there is no database" in export.err or "is empty" in export.err


def run_import(chain: Chain, file: str, *arguments: str, **options: Any) -> Run:
    return chain.luigi("--file", file, *arguments, task="ImportComplaints", **options)


@pytest.mark.slow
@pytest.mark.usefixtures("copy")
@pytest.mark.parametrize(
    ("file", "arguments", "line"),
    [
        ("no such file", (), "file: 'no such file' is not a file that can be read; name a regular file"),
        ("not\udce9\x1b", (), r"file: 'not\udce9\x1b' is not a file that can be read; name a regular file"),
        (".", (), "file: '.' is not a file that can be read; name a regular file, no folder, pipe or device"),
        ("pipe", (), "file: 'pipe' is not a file that can be read; name a regular file, no folder, pipe"),
        ("/dev/zero", (), "file: '/dev/zero' is not a file that can be read; name a regular file, no folder"),
        ("~nobody-here/copy", (), "file: '~nobody-here/copy' is not a file that can be read; name a regular"),
        ("x" * 300, (), f"file: '{'x' * 300}' is not a file that can be read; name a regular file"),
        ("https://me:secret@example.org/x.zip", (), "file: it must not contain a user name, a password or @"),
        ("https://example.org/x.zip?key=secret", (), "file: it must not contain ? or #"),
        ("ftp://example.org/x.zip", (), "file: 'ftp://example.org/x.zip' is not a web address, such as "),
        ("old copy.csv", ("--timestamp", "now"), "timestamp: 'now' is not a minute (UTC) written as "),
        ("old copy.csv", ("--timestamp", "2099-01-01T0000"), "timestamp: '2099-01-01T0000' is not in the "),
    ],
)
def test_invalid_parameter_is_one_line(
    chain: Chain, file: str, arguments: tuple[str, ...], line: str
) -> None:
    os.mkfifo(chain.folder / "pipe")

    run = run_import(chain, file, *arguments)

    assert (run.code, run.err.count("\n")) == (2, 1)
    assert run.err.startswith(f"luigi: error: {line}")
    assert "secret" not in run.err


@pytest.mark.parametrize("name", [".", "pipe"])
def test_import_of_no_file_fails_at_once(pipeline: Pipeline, tmp_path: Path, name: str) -> None:
    """A task made in Python; opening a pipe would wait for its writer."""
    os.mkfifo(tmp_path / "pipe")

    assert not import_copy(pipeline, tmp_path / name)

    (record,) = pipeline.files("run.json")
    assert read_record(record).error.endswith(": it is a folder, pipe or device; name a regular file")


@pytest.mark.parametrize("name", ["caf\udce9 \x1b[31m.csv", "d\udce9r/\udcff"])
def test_file_name_of_any_bytes_is_imported(pipeline: Pipeline, copy: Path, name: str) -> None:
    path = copy.parent / name
    path.parent.mkdir(exist_ok=True)
    copy.rename(path)

    assert import_copy(pipeline, path)

    assert states(pipeline) == {"1": "CA", "2": "TX"}


@pytest.mark.slow
def test_messages_show_a_name_of_any_bytes_with_escapes(chain: Chain, copy: Path) -> None:
    path = copy.rename(copy.with_name("caf\udce9 \x1b[31m"))

    undated = run_import(chain, str(path))
    imported, again = (run_import(chain, str(path), *OPTION) for _ in range(2))

    assert (undated.code, undated.err.count("\n")) == (30, 1)
    assert r"caf\udce9 \x1b[31m does not show the time of its data" in undated.err
    assert (imported.code, imported.out[:5], imported.err) == (0, "2 new", "")
    assert (again.code, again.out[:16], again.err) == (0, "already imported", "")


@pytest.mark.slow
def test_file_name_of_any_bytes_is_shown_in_luigid(chain: Chain, copy: Path, luigid: Luigid) -> None:
    path = copy.rename(copy.with_name("caf\udce9"))

    run = chain.program(*luigid.command("--file", str(path), *OPTION, task="ImportComplaints"))

    assert (run.code, run.out[:5], run.err) == (0, "2 new", "")
    (task,) = luigid.tasks("DONE").values()
    assert task["params"]["file"] == str(path)


@pytest.mark.slow
def test_missing_file_parameter_is_one_line(chain: Chain) -> None:
    run = chain.luigi(task="ImportComplaints")

    assert (run.code, run.err) == (2, "luigi: error: file: name the file: --file PATH or ADDRESS\n")


@pytest.mark.slow
def test_file_without_a_time_asks_for_it(chain: Chain, copy: Path) -> None:
    run = run_import(chain, str(copy))

    assert run.code == 30
    assert run.err == (
        f"ERROR: ImportComplaints: timestamp: {copy} does not show the time of its data; "
        "name it (UTC): --timestamp 2026-01-02T0304\n"
    )


@pytest.mark.slow
def test_zip_file_dates_its_data(chain: Chain, copy: Path) -> None:
    archive = copy.with_name("copy.zip")
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr(zipfile.ZipInfo("complaints.csv", (2021, 5, 6, 7, 8, 9)), CONTENT)

    run = run_import(chain, str(archive))

    assert run.code == 0
    assert "the data is as of 2021-05-06 07:08 UTC, the date in the zip file" in run.err
    assert run.out.startswith("2 new, 0 changed, 0 withdrawn, 0 returned: data/files/copy.zip~")


@pytest.mark.slow
def test_too_many_invalid_rows_fail_the_run(chain: Chain, copy: Path) -> None:
    copy.write_text(CONTENT + "2020-05-03,A,CA,x\n")

    run = run_import(chain, str(copy), *OPTION)

    assert (run.code, run.out[:5]) == (30, "2 new")
    assert "1 of 3 rows are not valid complaints, see data/files/" in run.err
    assert run.err.endswith("every valid row was merged; to accept them: --guard-accept\n")


@pytest.mark.slow
def test_unknown_column_is_a_warning(chain: Chain, copy: Path) -> None:
    copy.write_text("Date received,Colour\x1b[2J,Complaint ID\n2020-05-01,red,1\n")

    run = run_import(chain, str(copy), *OPTION)

    assert (run.code, run.out[:5]) == (0, "1 new")
    assert "unknown columns, which were ignored: Colour" in run.err
    assert "\x1b" not in run.err


@pytest.mark.slow
def test_repeated_id_is_a_warning(chain: Chain, copy: Path) -> None:
    copy.write_text(CONTENT + "2020-05-03,Other,NY,1\n")

    run = run_import(chain, str(copy), *OPTION)

    assert (run.code, run.out[:5]) == (0, "2 new")
    assert "1 repeated row: the first row of an id was merged, not the later ones" in run.err


@pytest.mark.slow
def test_import_killed_at_any_moment_is_repeated(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    path.write_text(
        HEADER + "".join(f"2020-05-01,Company {number},CA,{number}\n" for number in range(1, 40_000))
    )
    command = chain.luigi_command("--file", str(path), *OPTION, task="ImportComplaints")
    for wait in (0.6, 0.9, 1.2, 1.5):
        process = chain.start(*command)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    run = chain.program(*command)

    assert (run.code, run.err) == (0, "")
    connection = sqlite3.connect(chain.folder / "data" / "complaints.db")
    assert connection.execute("SELECT count(*) FROM complaints").fetchone() == (39_999,)
    assert len(lines(chain.file("changes.csv"))) == 39_999


def write_rows(path: Path, count: int) -> None:
    """Write rows in no order of their ids; each has a narrative of 300 characters."""
    with path.open("w") as stream:
        stream.write("Date received,Company,State,Consumer complaint narrative,Complaint ID\n")
        for number in range(count):
            identifier = count + number * 7_919 % count
            stream.write(f"2020-05-01,Company {number % 5_000},CA,{number:0300},{identifier}\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_memory_does_not_grow_with_the_rows(
    chain: Chain, tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    """SQLite's cache is small, because it fills up with the first 200,000 rows."""
    code = (
        "import sys; from luigi.cmdline import luigi_run; from luigi_etl import ImportComplaints;"
        "from luigi_etl.database import engines; engines.CACHE = 2048; luigi_run(sys.argv[1:])"
    )
    chain.environment["COVERAGE_PROCESS_CONFIG"] = ""  # measuring coverage needs memory
    if kind == "postgresql":
        chain.configure("storage", database=request.getfixturevalue("postgres_address"))
    peaks = []

    for rows in (20_000, 100_000):
        path = tmp_path / f"{rows}.csv"
        write_rows(path, rows)
        arguments = ("ImportComplaints", "--local-scheduler", "--file", str(path), *OPTION)
        run = chain.program(*with_peak_memory(sys.executable, "-c", code, *arguments))
        assert (run.code, run.out.partition(" ")[0]) == (0, f"{rows:,}")
        peaks.append(int(run.err))

    few, many = peaks
    assert few < 150_000
    assert many - few < 15_000


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1m", "12m"])
def test_full_disk_is_one_line_and_changes_nothing(chain: Chain, copy: Path, size: str) -> None:
    with disk_of(size, chain.folder / "data") as disk:
        fill_disk(chain, copy, Database(disk / "complaints.db"))

        assert not list(disk.rglob("*.tmp"))


@pytest.mark.slow
def test_full_disk_of_a_server_is_one_line_and_changes_nothing(
    chain: Chain, copy: Path, own_postgres: PostgresServer
) -> None:
    with disk_of("16m", own_postgres.folder / "disk") as disk:
        shutil.chown(disk, own_postgres.folder.owner())
        own_postgres.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        own_postgres.execute("CREATE DATABASE complaints TABLESPACE small")
        address = own_postgres.address("complaints")
        chain.configure("storage", database=address)
        try:
            fill_disk(chain, copy, Database(address))
        finally:
            own_postgres.stop()


def fill_disk(chain: Chain, copy: Path, database: Database) -> None:
    """Import a small file, then one for which the disk has no room."""
    large = copy.with_name("large.csv")
    write_rows(large, 50_000)
    assert run_import(chain, str(copy), *OPTION).code == 0
    before = everything(database)

    run = run_import(chain, str(large), "--timestamp", "2020-06-02T0000")

    assert (run.code, run.out, run.err.count("\n")) == (30, "", 1)
    assert re.search(r"ERROR: ImportComplaints: cannot write .*: .*; make room", run.err)
    assert everything(database) == before


def everything(database: Database) -> dict[str, list[str]]:
    """Return the rows of all tables."""
    with database.reading() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in metadata.sorted_tables
        }


# --- an address ----------------------------------------------------------------------------------


def daily(server: Served) -> str:
    return urljoin(server.url, DAILY)


def test_file_at_an_address_is_dated_by_its_server(pipeline: Pipeline, served: Serve) -> None:
    assert pipeline.run(ImportComplaints, file=daily(served(50)))

    assert len(states(pipeline)) == 50
    (seen,) = pipeline.sql("SELECT DISTINCT last_seen FROM complaints")
    assert str(seen[0])[:16] == "2026-09-26 05:00"
    assert not pipeline.files(".zip")


def test_changed_file_at_an_address_is_imported_again(pipeline: Pipeline, served: Serve) -> None:
    server = served(50)
    pipeline.run(ImportComplaints, file=daily(server))
    server.sandbox.index.arrive(5)
    server.sandbox.index.reindex()

    assert pipeline.run(ImportComplaints, file=daily(server))

    assert len(states(pipeline)) == 55


@pytest.mark.slow
def test_unchanged_address_is_one_request_and_one_line(chain: Chain, served: Serve) -> None:
    server = served(50)
    run_import(chain, daily(server))

    run = run_import(chain, daily(server))

    assert (run.code, run.err) == (0, "")
    assert run.out == f"already imported: {daily(server)} has not changed\n"
    assert server.statuses == [200, 304]


def test_broken_download_is_resumed_by_the_retries(pipeline: Pipeline, served: Serve) -> None:
    server = served(3000, "1:cut", "2:cut")

    assert pipeline.run(ImportComplaints, file=daily(server))

    assert server.statuses == [200, 206, 206]
    assert pipeline.sql("SELECT count(*) FROM complaints") == [(3000,)]


def test_server_of_nothing_but_304_is_one_line(pipeline: Pipeline) -> None:
    """The download is resumed, then it starts again, then it fails."""
    begun = answer(b"x" * 100, 'ETag: "1"', kind="application/zip")[:-50]
    with serving(begun, answer(b"", status="304 Not Modified")) as server:
        address = f"{server.url}complaints.csv.zip"
        assert not pipeline.run(ImportComplaints, file=address)

    assert [b"Range:" in request for request in server.requests] == [False, True, False]
    error = read_record(pipeline.files("run.json")[0]).error
    assert error.endswith(f"status 304 for {address}; check the address")
    assert not pipeline.files(".partial")


# --- the daily file ------------------------------------------------------------------------------


@pytest.fixture
def server(pipeline: Pipeline, served: Serve) -> Served:
    """Provide a sandbox of 300 complaints, and configure the pipeline for it."""
    running = served(300, days=300)
    pipeline.configure("ccdb", url=running.url, daily_file=daily(running))
    return running


def truth(server: Served) -> dict[str, str | None]:
    return {row.identifier: row.value("state") for row in server.sandbox.index.rows.values()}


def test_database_equals_the_daily_file(pipeline: Pipeline, server: Served) -> None:
    assert pipeline.run(ReconcileComplaints)

    assert states(pipeline) == truth(server)


def test_next_file_shows_changes_of_any_age(pipeline: Pipeline, server: Served) -> None:
    pipeline.run(ReconcileComplaints)
    index = server.sandbox.index
    index.move_on(TOMORROW)
    for event in (index.arrive, index.vanish, index.change):
        event(7)
    index.reindex()

    assert pipeline.run(ReconcileComplaints)

    assert states(pipeline) == truth(server)
    kinds = dict(pipeline.sql("SELECT change, count(DISTINCT complaint_id) FROM changes GROUP BY 1"))
    assert (kinds["new"], kinds["withdrawn"]) == (307, 7)


def test_daily_file_without_a_date_has_that_of_its_content(pipeline: Pipeline, served: Serve) -> None:
    server = served(50, "1:no_validators")
    pipeline.configure("ccdb", url=server.url, daily_file=daily(server))

    assert pipeline.run(ReconcileComplaints)

    (seen,) = pipeline.sql("SELECT DISTINCT last_seen FROM complaints")
    assert str(seen[0])[:16] == "2026-09-26 05:00"


def test_unchanged_daily_file_is_one_request(pipeline: Pipeline, server: Served) -> None:
    pipeline.run(ReconcileComplaints)

    assert pipeline.run(ReconcileComplaints)

    assert server.statuses == [200, 304]


def test_lost_database_is_filled_again(pipeline: Pipeline, server: Served) -> None:
    """A version on record is no proof that the database holds it."""
    pipeline.run(ReconcileComplaints)
    with pipeline.database.writing() as connection:
        for table in ("history", "stored_complaints", "snapshots", "coverage"):
            connection.exec_driver_sql(f"DELETE FROM {table}")

    assert pipeline.run(ReconcileComplaints)

    assert states(pipeline) == truth(server)


def test_import_of_the_daily_file_keeps_its_proof(pipeline: Pipeline, server: Served) -> None:
    pipeline.run(ReconcileComplaints)

    assert pipeline.run(ImportComplaints, file=daily(server))

    assert pipeline.sql("SELECT count(*) FROM snapshots WHERE is_complete") == [(1,)]


def test_half_a_file_is_held_back_until_accepted(pipeline: Pipeline, server: Served) -> None:
    pipeline.run(ReconcileComplaints)
    index = server.sandbox.index
    index.move_on(TOMORROW)
    index.vanish(150)
    index.reindex()

    assert not pipeline.run(ReconcileComplaints)
    assert not pipeline.run(ReconcileComplaints)
    assert len(states(pipeline)) == 300
    pipeline.configure("guard", accept="true")
    assert pipeline.run(ReconcileComplaints)

    assert states(pipeline) == truth(server)


def test_late_file_does_not_withdraw_new_complaints(pipeline: Pipeline, server: Served) -> None:
    """The morning's file was made before that morning's index."""
    pipeline.run(ReconcileComplaints)
    index = server.sandbox.index
    index.move_on(TOMORROW)
    index.change(1)
    index.reindex()
    index.arrive(9)
    pipeline.run(SyncComplaints, timestamp=datetime(2026, 9, 27, 4), days=400)

    assert pipeline.run(ReconcileComplaints)

    assert states(pipeline) == truth(server)


def dated(last_modified: str) -> bytes:
    """Return a response: a zip file with its member's date of 2021, and a `Last-Modified`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("complaints.csv", (2021, 5, 6, 7, 8, 9)), CONTENT)
    return answer(stream.getvalue(), f"Last-Modified: {last_modified}", kind="application/zip")


def from_now(**span: float) -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(**span), usegmt=True)


def test_file_of_the_near_future_is_refused(pipeline: Pipeline) -> None:
    """This machine's clock is behind."""
    with serving(dated(from_now(hours=2))) as server:
        pipeline.configure("ccdb", daily_file=f"{server.url}complaints.csv.zip")
        assert not pipeline.run(ReconcileComplaints)

    assert "Last-Modified is in the future" in read_record(pipeline.files("run.json")[0]).error


@pytest.mark.parametrize("task", [ImportComplaints, ReconcileComplaints])
@pytest.mark.parametrize(
    "last_modified",
    [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Wed, 30 Nov 2011 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -0500",
        from_now(hours=25),
        "yesterday",
    ],
    ids=["1970", "before the first complaint", "9999", "in 25 hours", "no date"],
)
def test_implausible_date_of_a_server_is_ignored(
    pipeline: Pipeline, task: type[luigi.Task], last_modified: str
) -> None:
    with serving(dated(last_modified)) as server:
        address = f"{server.url}complaints.csv.zip"
        pipeline.configure("ccdb", daily_file=address)
        assert pipeline.run(task, **({"file": address} if task is ImportComplaints else {}))

    (seen,) = pipeline.sql("SELECT DISTINCT last_seen FROM complaints")
    assert str(seen[0])[:16] == "2021-05-06 07:08"


@pytest.mark.slow
def test_sandbox_file_is_not_merged_into_real_complaints(chain: Chain, served: Serve, copy: Path) -> None:
    run_import(chain, str(copy), *OPTION)

    run = run_import(chain, daily(served(50)))

    assert run.code == 30
    assert "the snapshot is of the sandbox, but the database holds complaints of the CFPB" in run.err


# --- the narratives archive ----------------------------------------------------------------------


@pytest.fixture
def archive(pipeline: Pipeline, served: Serve) -> Served:
    """Provide a sandbox with an archive, and configure the pipeline for it."""
    running = served(300, days=300)
    configure_archive(pipeline, running)
    return running


def configure_archive(pipeline: Pipeline, server: Served) -> None:
    pipeline.configure(
        "ccdb", url=server.url, daily_file=daily(server), archive=urljoin(server.url, ARCHIVE), retries=1
    )


def narratives(pipeline: Pipeline) -> int:
    (row,) = pipeline.sql("SELECT count(complaint_what_happened) FROM current_complaints")
    return int(row[0])


@pytest.mark.usefixtures("archive")
def test_every_file_of_the_archive_is_imported(pipeline: Pipeline) -> None:
    assert pipeline.run(ImportNarratives)

    assert narratives(pipeline) > 50
    times = pipeline.sql("SELECT DISTINCT timestamp FROM snapshots")
    assert [str(row[0])[:16] for row in times] == ["2026-09-14 04:00"]
    assert pipeline.sql("SELECT count(*) FROM snapshots") == [(len(pipeline.files("changes.csv")),)]


def test_daily_file_without_narratives_keeps_them(pipeline: Pipeline, archive: Served) -> None:
    pipeline.run(ImportNarratives)
    before = narratives(pipeline)

    pipeline.run(ReconcileComplaints)

    gone = pipeline.sql("SELECT count(complaint_what_happened) FROM complaints WHERE withdrawn IS NOT NULL")
    assert narratives(pipeline) + gone[0][0] == before
    assert states(pipeline) == truth(archive)


def test_imported_file_of_the_archive_is_not_downloaded(pipeline: Pipeline, archive: Served) -> None:
    pipeline.run(ImportNarratives)
    archive.sandbox.requests.clear()

    assert pipeline.run(ImportNarratives)

    assert set(archive.statuses[1:]) == {304}


def test_archive_before_and_after_the_daily_file_is_the_same(pipeline: Pipeline, archive: Served) -> None:
    pipeline.run(ReconcileComplaints)

    pipeline.run(ImportNarratives)

    assert narratives(pipeline) > 50
    assert states(pipeline) == truth(archive)


def test_interrupted_archive_continues_at_its_file(pipeline: Pipeline, served: Serve) -> None:
    server = served(300, "4:status=404", days=300)
    configure_archive(pipeline, server)
    assert not pipeline.run(ImportNarratives)
    imported = len(pipeline.files("changes.csv"))

    assert pipeline.run(ImportNarratives)

    assert imported == 2
    assert server.statuses[4:7] == [200, 304, 304]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("no_links", "no links to CCDB_Export_*.zip; open the page to see whether it moved"),
        ("foreign_links", "which is neither https://files.consumerfinance.gov nor the page's own server"),
        ("redirect", "status 302 to localhost:"),
        ("status=404", "status 404 for http://127.0.0.1:"),
    ],
)
def test_unusable_page_is_reported_in_one_line(
    pipeline: Pipeline, served: Serve, rule: str, reason: str
) -> None:
    configure_archive(pipeline, served(300, f"every 1:{rule}", days=300))

    assert not pipeline.run(ImportNarratives)

    assert reason in read_record(pipeline.files("run.json")[0]).error
    assert not pipeline.files("changes.csv")


# --- beside other commands -----------------------------------------------------------------------


@pytest.mark.slow
def test_forgotten_import_can_be_repeated(pipeline: Pipeline, copy: Path) -> None:
    import_copy(pipeline, copy)
    import_copy(pipeline, copy.rename(copy.with_name("new name")), MINUTE + timedelta(days=1))

    forget(pipeline.database, pipeline.root, MINUTE - timedelta(minutes=1))
    assert states(pipeline) == {}
    assert import_copy(pipeline, copy.with_name("new name"))

    assert states(pipeline) == {"1": "CA", "2": "TX"}


@pytest.mark.slow
def test_two_imports_at_once_merge_once(chain: Chain, copy: Path) -> None:
    copy.write_text(HEADER + "".join(f"2020-05-01,A,CA,{number}\n" for number in range(1, 5000)))
    command = chain.luigi_command("--file", str(copy), *OPTION, task="ImportComplaints")

    processes = [chain.start(*command) for _ in range(3)]
    codes = [(process.communicate(timeout=120), process.returncode)[1] for process in processes]

    assert codes == [0, 0, 0]
    connection = sqlite3.connect(chain.folder / "data" / "complaints.db")
    assert connection.execute("SELECT count(*), count(DISTINCT source) FROM snapshots").fetchone() == (1, 1)
