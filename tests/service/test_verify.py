"""`luigi-etl verify`: each damage to a snapshot's files or the database gives a line and exit code 1."""

import json
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import luigi
import pytest

from luigi_etl import MergeComplaints, StoreComplaints
from luigi_etl.api.client import Client
from luigi_etl.api.page import Page
from luigi_etl.api.query import parse_query
from luigi_etl.api.settings import Settings
from luigi_etl.cli.main import run
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import stored_complaints
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.script import Script
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox
from luigi_etl.service.verify.report import verify
from luigi_etl.service.verify.verdict import Verdict
from luigi_etl.snapshot.datapackage import SnapshotSpec, describe
from luigi_etl.snapshot.extract import extract
from luigi_etl.snapshot.page_file import PageFile, read_pages
from luigi_etl.snapshot.parse import parse
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.store import create_document, store
from tests.conftest import Pipeline, Serve
from tests.made import SLUG, ended, unused

MINUTE = datetime(2026, 11, 22, 9, 26)
QUERY = "submitted_via=Web"
KEPT = ["document", "extracted", "parsed", "rejected", "summary", "complaints", "datapackage"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SnapshotFiles:
    """Create a snapshot of three pages; tests copy it."""
    files = SnapshotFiles(tmp_path_factory.mktemp("model"), f"{QUERY}-newest-20", MINUTE)
    era = ERAS["2026-08"]
    sandbox = Sandbox(generated_index(60, 1, era, 90), era, None, Script([]), False)
    asked = SnapshotSpec(parse_query(QUERY), 20, MINUTE)
    with serve(sandbox) as url, Client(Settings(url=url, requests_per_minute=0, page_size=7)) as client:
        extract(client, asked.query.pairs, 20, files.extracted, lambda _: None)
    create_document(files.document, "")
    summary = parse(files.extracted, files.parsed, files.rejected, files.summary, 20)
    csv = store(files.document, files.parsed, files.complaints, summary.parsed, MINUTE)
    describe(files.datapackage, files.complaints, csv, summary, asked)
    return files


@pytest.fixture
def files(tmp_path: Path, model: SnapshotFiles) -> SnapshotFiles:
    """Return a copy of the snapshot, last used a day ago, without a database."""
    shutil.copytree(model.root, tmp_path / "data")
    return unused(SnapshotFiles(tmp_path / "data", model.slug, MINUTE))


def store_both(pipeline: Pipeline, served: Serve) -> Pipeline:
    """Store two snapshots, one of them complete and merged."""
    pipeline.configure("ccdb", url=served(60).url, page_size=7)
    assert pipeline.run(StoreComplaints, timestamp=MINUTE, limit=20)
    assert pipeline.run(MergeComplaints, timestamp=MINUTE, query=QUERY, limit=0)
    return pipeline


@pytest.fixture
def both(pipeline: Pipeline, served: Serve) -> Pipeline:
    """Return a pipeline with two snapshots, for each kind of database."""
    return store_both(pipeline, served)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Serve) -> Pipeline:
    """Return a pipeline with two snapshots and SQLite."""
    configuration = luigi.configuration.LuigiConfigParser()
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    return store_both(Pipeline(tmp_path / "data", tmp_path / "complaints.db"), served)


def verdicts(root: Path, database: Database | None = None) -> list[Verdict]:
    return list(verify(root, database or Database(root / "none.db"), lambda _: True, datetime.min))


def difference(files: SnapshotFiles) -> str:
    """Return the difference of the only snapshot."""
    (verdict,) = verdicts(files.root)
    return verdict.difference


def rewrite(files: SnapshotFiles, pages: list[Page]) -> None:
    files.extracted.unlink()
    with PageFile(files.extracted).open_locked() as writer:
        for page in pages:
            writer.append(page)
        writer.finish()


# --- the files -----------------------------------------------------------------------------------


def test_unchanged_snapshots_and_database_are_equal(both: Pipeline) -> None:
    found = verdicts(both.root, both.database)

    assert [(one.query, one.what, one.difference) for one in found] == [
        (SLUG.replace("10", "20"), "snapshot", ""),
        (QUERY, "snapshot", ""),
        (QUERY, "database", ""),
    ]
    assert found[0].rows == 20
    assert found[1].rows == found[2].rows > 7


@pytest.mark.parametrize("name", KEPT)
def test_missing_file_is_a_difference(files: SnapshotFiles, name: str) -> None:
    path: Path = getattr(files, name)
    path.unlink()

    assert path.name in difference(files)


@pytest.mark.parametrize("name", KEPT)
def test_flipped_bit_is_a_difference(files: SnapshotFiles, name: str) -> None:
    """White space in JSON is skipped: it has no meaning."""
    path: Path = getattr(files, name)
    content = path.read_bytes()
    chosen = random.Random(name)
    for at in chosen.sample(range(len(content)), min(len(content), 30)):
        if path.suffix == ".json" and content[at : at + 1].isspace():
            continue
        flipped = content[at] ^ 1 << chosen.randrange(8)

        path.write_bytes(content[:at] + bytes([flipped]) + content[at + 1 :])

        assert difference(files), f"byte {at} of {path.name}"


@pytest.mark.parametrize("name", KEPT)
def test_file_cut_or_longer_is_a_difference(files: SnapshotFiles, name: str) -> None:
    path: Path = getattr(files, name)
    content = path.read_bytes()

    path.write_bytes(content + b"x")
    assert difference(files)
    if content:
        path.write_bytes(content[: len(content) // 2])
        assert difference(files)


@pytest.mark.parametrize("name", KEPT)
def test_hostile_content_is_a_difference_in_one_line(files: SnapshotFiles, name: str) -> None:
    path: Path = getattr(files, name)
    for content in (b"\x1b[2J\n\0\xff", b"[" * 100_000, b"{}", b"\n\n", b"null"):
        path.write_bytes(content)
        found = difference(files)
        assert found
        assert found.isprintable()


def test_folder_in_place_of_a_file_is_a_difference(files: SnapshotFiles) -> None:
    for name in KEPT:
        path: Path = getattr(files, name)
        content = path.read_bytes()
        path.unlink()
        path.mkdir()
        assert difference(files), name
        path.rmdir()
        path.write_bytes(content)


def test_snapshot_under_another_name_is_a_difference(files: SnapshotFiles) -> None:
    files.folder.parent.rename(files.folder.parent.with_name("state=CA-newest-20"))

    assert f"has the query '{QUERY}' and limit 20" in difference(files)


def test_runs_that_stored_nothing_are_ignored(files: SnapshotFiles) -> None:
    ended(files.root, MINUTE - timedelta(minutes=1), "failed")
    ended(files.root, MINUTE - timedelta(minutes=2), "skipped")

    assert difference(files) == ""


# --- the proof of the pages ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "does not follow"),
        ("last", "20"),
        ("twice", "does not follow"),
        ("order", "does not follow"),
        ("filter", "another query"),
        ("sort", "another query"),
        ("server", "holds pages of"),
        ("total", "number of matches changed"),
        ("indexed", "is not proven"),
        ("rows", "the API ignored"),
    ],
)
def test_unproven_pages_are_a_difference(files: SnapshotFiles, name: str, message: str) -> None:
    pages = list(read_pages(files.extracted))
    one, two, three = pages
    changed = {
        "lost": [one, three],
        "last": [one, two],
        "twice": [one, one, two, three],
        "order": [two, one, three],
        "filter": [Page(one.address.replace("Web", "Fax"), one.body), two, three],
        "sort": [Page(one.address.replace("created_date_desc", "created_date_asc"), one.body), two, three],
        "server": [one, Page(two.address.replace("127.0.0.1", "localhost"), two.body), three],
        "total": [one, Page(two.address, with_total(two.body)), three],
        "indexed": [
            one,
            Page(two.address, two.body.replace(b'"last_indexed":"2', b'"last_indexed":"3')),
            three,
        ],
        "rows": [Page(one.address, one.body.replace(b'"Web"', b'"Fax"')), two, three],
    }[name]
    rewrite(files, [Page(page.address, page.body.rstrip(b"\n")) for page in changed])

    assert message in difference(files)


def with_total(body: bytes) -> bytes:
    answer = json.loads(body)
    answer["hits"]["total"]["value"] += 1
    return json.dumps(answer).encode()


def test_changed_page_is_a_difference_of_its_complaints(files: SnapshotFiles) -> None:
    pages = [Page(page.address, page.body.rstrip(b"\n")) for page in read_pages(files.extracted)]
    body = json.loads(pages[1].body)
    body["hits"]["hits"][0]["_source"]["company"] = "Another Company"
    rewrite(files, [pages[0], Page(pages[1].address, json.dumps(body).encode()), pages[2]])

    assert "parsed.jsonl differs from its source from byte" in difference(files)


# --- the database --------------------------------------------------------------------------------

COPIED = ", ".join(one.name for one in stored_complaints.columns if one.name != "complaint_id")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DELETE FROM stored_complaints WHERE complaint_id = '{id}'", "the database has no complaint {id}"),
        (
            "UPDATE stored_complaints SET company = 'x' WHERE complaint_id = '{id}'",
            "complaint {id}: company is x",
        ),
        (
            "UPDATE stored_complaints SET withdrawn = last_seen WHERE complaint_id = '{id}'",
            "complaint {id} is withdrawn",
        ),
        ("UPDATE snapshots SET content_hash = 'x'", "differs from the merged file"),
        (
            f"INSERT INTO stored_complaints (complaint_id, {COPIED}) "
            f"SELECT 1, {COPIED} FROM stored_complaints "
            "WHERE complaint_id = '{id}'; UPDATE stored_complaints SET last_seen = '2020-01-01 00:00' "
            "WHERE complaint_id = '1'",
            "and neither withdrawn nor unverified",
        ),
    ],
)
def test_damaged_database_is_a_difference(both: Pipeline, statement: str, message: str) -> None:
    with both.database.writing() as connection:
        ((identifier,),) = connection.exec_driver_sql(
            "SELECT max(complaint_id) FROM complaints WHERE withdrawn IS NULL"
        )
        for one in statement.format(id=identifier).split("; "):
            connection.exec_driver_sql(one)

    found = [one.difference for one in verdicts(both.root, both.database) if one.what == "database"]

    assert len(found) == 1
    assert message.format(id=identifier) in found[0]


def test_changes_of_later_snapshots_are_no_difference(both: Pipeline, served: Serve) -> None:
    server = served(60)
    both.configure("ccdb", url=server.url)
    index = server.sandbox.index
    index.change(30)
    assert both.run(MergeComplaints, timestamp=MINUTE + timedelta(days=1), query="", limit=0)

    found = verdicts(both.root, both.database)

    assert [one.difference for one in found] == [""] * len(found)
    assert [one.what for one in found].count("database") == 2


# --- the command ---------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = run(["verify", *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_command_prints_a_line_for_each_verdict(here: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = printed(capsys)

    assert (code, len(lines)) == (0, 3)
    assert lines[0] == "ok    2026-11-22T09:26Z  all-newest-20  20 complaints"
    assert lines[2].startswith(f"ok    2026-11-22T09:26Z  {QUERY}  in the database: ")
    assert here


def test_difference_gives_exit_code_1(here: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    here.files("parsed.jsonl")[0].write_bytes(b"")

    code, lines = printed(capsys)

    assert (code, [line[:4] for line in lines].count("DIFF")) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--query", QUERY), 2),
        (("--query", QUERY, "--limit", "0"), 2),
        (("--query", ""), 1),
        (("--limit", "20"), 1),
        (("--limit", "0"), 2),
        (("--since", "2026-11-22T0926"), 3),
    ],
)
def test_options_choose_the_snapshots(
    here: Pipeline, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], count: int
) -> None:
    assert here
    assert len(printed(capsys, *arguments)[1]) == count


@pytest.mark.parametrize("arguments", [("--query", "state=CA"), ("--limit", "3"), ("--since", "2026-11-23")])
def test_nothing_to_verify_gives_exit_code_1(
    here: Pipeline, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert here
    assert run(["verify", *arguments]) == 1
    assert capsys.readouterr().err.startswith("luigi-etl: error: no snapshot to verify in ")


def test_json_is_one_array(here: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert here
    _, lines = printed(capsys, "--json")
    found = json.loads("".join(lines))

    assert [one["difference"] for one in found] == [None] * 3
    assert found[0] == {
        "minute": "2026-11-22T09:26Z",
        "query": "all-newest-20",
        "what": "snapshot",
        "rows": 20,
        "difference": None,
    }
