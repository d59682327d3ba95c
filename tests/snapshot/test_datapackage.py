"""The Data Package of a snapshot is valid and describes the CSV correctly."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from luigi_etl.api.query import parse_query
from luigi_etl.common.errors import StorageError
from luigi_etl.snapshot.columns import COLUMNS
from luigi_etl.snapshot.datapackage import SnapshotSpec, describe
from luigi_etl.snapshot.parse import Summary, parse
from luigi_etl.snapshot.store import create_document, store
from tests.snapshot.test_parse import API, answer, hit, write_pages

pytestmark = pytest.mark.libraries

MINUTE = datetime(2026, 11, 22, 9, 26)
EVERY_COLUMN = ",".join(column.field for column in COLUMNS)


class Described(NamedTuple):
    """The CSV of a snapshot, its description and its summary."""

    csv: Path
    path: Path
    summary: Summary

    @property
    def package(self) -> dict[str, Any]:
        package: dict[str, Any] = json.loads(self.path.read_bytes())
        return package

    @property
    def resource(self) -> dict[str, Any]:
        (resource,) = self.package["resources"]
        assert isinstance(resource, dict)
        return resource


def make_package(
    folder: Path, *hits: Any, query: str = "", limit: int = 0, columns: str = "", **meta: Any
) -> Described:
    """Write a snapshot from one page of hits, with its description."""
    pages, parsed, rejected, summary_file, document = (folder / name for name in "abcde")
    csv = folder / "20261122T0926Z.complaints.csv"
    path = folder / "20261122T0926Z.datapackage.json"
    write_pages(pages, answer(*hits, **meta))
    summary = parse(pages, parsed, rejected, summary_file, 0)
    create_document(document, columns)
    stored = store(document, parsed, csv, summary.parsed, MINUTE)
    describe(path, csv, stored, summary, SnapshotSpec(parse_query(query), limit, MINUTE))
    return Described(csv, path, summary)


# --- validation -----------------------------------------------------------------------------------

HARD_TO_READ = [
    hit(
        "10702013",
        date_received="2024-11-06T12:00:00-05:00",
        date_sent_to_company=None,
        company='\xa0Söhne, "Inc." | é \U0001f600',
        complaint_what_happened="one\r\ntwo\rthree\nfour, {$1200.00}",
        company_response="=1+1",
        zip_code="03301",
        has_narrative=True,
    ),
    hit("2", date_received="2025-06-30T23:45:02.000Z", complaint_what_happened="", state="CA"),
    hit("3", state="NY", has_narrative=False),
]


def find_errors(path: Path) -> list[str]:
    """Return the kinds of errors that frictionless finds."""
    frictionless = pytest.importorskip("frictionless", reason="pip install -e '.[frictionless]'")

    report = frictionless.validate(str(path))
    assert report.valid == (not report.errors + [error for task in report.tasks for error in task.errors])
    return [error for (error,) in report.flatten(["type"])]


@pytest.mark.parametrize("columns", ["", EVERY_COLUMN, "state,company"])
@pytest.mark.parametrize("hits", [[], HARD_TO_READ], ids=["no complaints", "difficult complaints"])
def test_package_is_valid_for_frictionless(tmp_path: Path, hits: list[Any], columns: str) -> None:
    assert find_errors(make_package(tmp_path, *hits, columns=columns).path) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("03301", "03302", {"hash-count"}),
        ("\n3,", "\n30,", {"hash-count", "byte-count"}),
        ("2024-11-06", "2024-11-36", {"hash-count", "type-error"}),
        ("\n3,", "\n2,", {"hash-count", "primary-key"}),
        ("Complaint ID", "complaint_id", {"incorrect-label"}),
    ],
)
def test_frictionless_detects_a_changed_csv(tmp_path: Path, old: str, new: str, found: set[str]) -> None:
    columns = "complaint_id,date_received,zip_code"
    package = make_package(tmp_path, *HARD_TO_READ, columns=columns)
    content = package.csv.read_text()

    package.csv.write_text(content.replace(old, new, 1))

    assert old in content
    assert found <= set(find_errors(package.path))


def test_frictionless_detects_a_cut_csv(tmp_path: Path) -> None:
    package = make_package(tmp_path, *HARD_TO_READ)
    lines = package.csv.read_bytes().splitlines(keepends=True)

    package.csv.write_bytes(b"".join(lines[:-1]))

    assert {"hash-count", "byte-count", "row-count"} <= set(find_errors(package.path))


# --- content --------------------------------------------------------------------------------------


def test_package_has_query_limit_and_timestamp(tmp_path: Path) -> None:
    package = make_package(tmp_path, query="state=NY&state=CA&search_term=late+fee", limit=1000).package

    assert package["snapshot"]["timestamp"] == "2026-11-22T09:26Z"
    assert package["snapshot"]["query"] == "field=all&search_term=late%20fee&state=CA&state=NY"
    assert package["snapshot"]["limit"] == 1000
    assert package["description"].endswith(
        "the newest 1,000 complaints matching field=all&search_term=late%20fee&state=CA&state=NY."
    )


def test_description_without_query_names_the_whole_database(tmp_path: Path) -> None:
    assert make_package(tmp_path).package["description"].endswith("every complaint of the whole database.")


def test_package_has_source_and_licence(tmp_path: Path) -> None:
    package = make_package(tmp_path, last_indexed="2026-09-26T12:00:00-05:00").package

    assert [source["path"] for source in package["sources"]] == [API]
    assert package["snapshot"]["api"] == API
    assert package["snapshot"]["last_indexed"] == "2026-09-26T12:00:00-05:00"
    assert [licence["name"] for licence in package["licenses"]] == ["CC0-1.0"]


def test_real_data_is_attributed_to_the_cfpb(tmp_path: Path) -> None:
    package = make_package(tmp_path, hit("1")).package

    assert "CFPB" in package["title"]
    assert package["snapshot"]["sandbox"] is None
    assert "SANDBOX" not in json.dumps(package)


def test_sandbox_data_is_marked(tmp_path: Path) -> None:
    package = make_package(tmp_path, hit("1"), sandbox="50 generated complaints").package

    assert package["title"] == "SANDBOX, not CFPB data: 50 generated complaints"
    assert package["description"].startswith("For trials of luigi_etl only")
    assert package["snapshot"]["sandbox"] == "50 generated complaints"


def test_counts_equal_those_of_the_summary(tmp_path: Path) -> None:
    package = make_package(tmp_path, hit("1"), hit("1"), hit("1"), hit("2"), hit("x"), hit("3"))

    numbers = msgspec.to_builtins(package.summary)
    snapshot = package.package["snapshot"]
    assert {name: snapshot[name] for name in numbers if name != "address"} == {
        name: value for name, value in numbers.items() if name != "address"
    }
    names = ("hits_total", "pages", "hits", "parsed", "rejected", "duplicates")
    assert [snapshot[name] for name in names] == [6, 1, 6, 3, 1, 2]
    assert package.resource["rows"] == 3


def test_package_name_follows_the_specification(tmp_path: Path) -> None:
    assert re.fullmatch(r"[a-z0-9._-]+", make_package(tmp_path).package["name"])


def test_unknown_and_absent_fields_are_listed(tmp_path: Path) -> None:
    present = {column.field: None for column in COLUMNS if column.field not in ("tags", "complaint_id")}

    snapshot = make_package(tmp_path, hit("1", **present, risk=5, ape={})).package["snapshot"]

    assert (snapshot["unknown_fields"], snapshot["absent_fields"]) == (["ape", "risk"], ["tags"])


def test_resource_has_size_rows_and_hash_of_the_csv(tmp_path: Path) -> None:
    package = make_package(tmp_path, hit("1", company="é\n"), hit("2"), columns="company")

    assert package.csv.read_bytes() == 'Company\n"é\n"\n""\n'.encode()
    assert package.resource["path"] == package.csv.name
    assert (package.resource["rows"], package.resource["bytes"]) == (2, 17)
    assert package.resource["hash"].startswith("sha256:")


def test_columns_have_api_name_type_and_description(tmp_path: Path) -> None:
    schema = make_package(tmp_path, columns="zip_code,date_received,has_narrative").resource["schema"]

    assert [(field["name"], field["title"], field["type"]) for field in schema["fields"]] == [
        ("ZIP code", "zip_code", "string"),
        ("Date received", "date_received", "date"),
        ("Has narrative?", "has_narrative", "boolean"),
    ]
    assert all(field["description"] for field in schema["fields"])


@pytest.mark.parametrize(
    ("columns", "key"),
    [("", ["Complaint ID"]), ("state,complaint_id", ["Complaint ID"]), ("state,company", None)],
)
def test_id_column_is_the_primary_key(tmp_path: Path, columns: str, key: list[str] | None) -> None:
    assert make_package(tmp_path, columns=columns).resource["schema"].get("primaryKey") == key


def test_description_is_reproducible(tmp_path: Path) -> None:
    first = make_package(tmp_path, hit("1")).path.read_bytes()

    assert make_package(tmp_path, hit("1")).path.read_bytes() == first


def test_error_names_a_description_that_cannot_be_written(tmp_path: Path) -> None:
    package = make_package(tmp_path, hit("1"))
    stored = store(tmp_path / "e", tmp_path / "b", package.csv, 1, MINUTE)
    target = package.csv / "datapackage.json"

    with pytest.raises(StorageError, match=str(target)):
        describe(target, package.csv, stored, package.summary, SnapshotSpec(parse_query(""), 0, MINUTE))
