"""Recorded API responses, from HTTP to CSV: every complaint arrives with every field."""

import csv
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.replay import replayed_index
from luigi_etl.snapshot.columns import COLUMNS
from luigi_etl.snapshot.extract import extract
from luigi_etl.snapshot.parse import Summary, parse
from luigi_etl.snapshot.store import create_document, store
from tests.conftest import Chain, Serve

Record = dict[str, Any]

MINUTE = datetime(2026, 11, 22, 9, 26)
SEARCH_FILTERS = [
    ("2021-12-search.json", 25),
    ("2024-11-page-1.json", 25),
    ("2024-11-page-2.json", 25),
    ("2025-12-search-with-aggregations.json", 1),
    ("2026-06-17-keys.json", 25),
    ("2026-08-16-keys.json", 25),
]


def run(served: Serve, folder: Path, files: list[Path]) -> tuple[list[dict[str, str]], Summary]:
    """Serve recorded responses and run the chain's functions; return the CSV's rows by API name."""
    pages, parsed, rejected, summary_file, document, target = (folder / name for name in "abcdef")
    server = served(index=replayed_index(files, 1, ERAS["2021-09"]))
    with server.client(page_size=10) as client:
        extract(client, (), 0, pages, lambda _: None)
    summary = parse(pages, parsed, rejected, summary_file, 0)
    create_document(document, ",".join(column.field for column in COLUMNS))
    store(document, parsed, target, summary.parsed, MINUTE)
    with target.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == [column.label for column in COLUMNS]
    return [dict(zip((column.field for column in COLUMNS), row, strict=True)) for row in rows[1:]], summary


def sources(file: Path) -> list[Record]:
    """Return the complaints of a recorded response as sent."""
    return [hit["_source"] for hit in json.loads(file.read_bytes())["hits"]["hits"]]


def cell(source: Record, field: str) -> str:
    """Return the CSV's expected cell for a field."""
    value = source.get(field)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value and field.startswith("date_"):
        return datetime.fromisoformat(value).astimezone(timezone.utc).date().isoformat()
    return value or ""


def by_id(records: list[Record]) -> dict[str, Record]:
    return {record["complaint_id"]: record for record in records}


def expected(records: list[Record]) -> dict[str, dict[str, str]]:
    """Return the expected rows; of two records with one id the later counts."""
    return {
        identifier: {column.field: cell(source, column.field) for column in COLUMNS}
        for identifier, source in by_id(records).items()
    }


@pytest.mark.parametrize(("name", "number"), SEARCH_FILTERS)
def test_csv_has_every_field_of_a_recorded_complaint(
    served: Serve, recorded: Path, tmp_path: Path, name: str, number: int
) -> None:
    recording = sources(recorded / name)

    rows, summary = run(served, tmp_path, [recorded / name])

    assert len(rows) == number
    assert by_id(rows) == expected(recording)
    assert (summary.hits, summary.parsed, summary.rejected, summary.duplicates) == (number, number, 0, 0)
    assert summary.unknown_fields == []
    assert summary.absent_fields == sorted(
        {column.field for column in COLUMNS} - {field for source in recording for field in source}
    )


def test_csv_has_each_recorded_complaint_once(served: Serve, recorded: Path, tmp_path: Path) -> None:
    files = [recorded / name for name, _ in SEARCH_FILTERS]
    recording = [source for file in files for source in sources(file)]

    rows, summary = run(served, tmp_path, files)

    assert by_id(rows) == expected(recording)
    assert len(rows) == summary.parsed == summary.hits_total == len(by_id(recording)) < len(recording)


def test_newest_recorded_complaints_come_first(served: Serve, recorded: Path, tmp_path: Path) -> None:
    files = [recorded / "2024-11-page-1.json", recorded / "2024-11-page-2.json"]

    rows, _ = run(served, tmp_path, files)

    assert [row["complaint_id"] for row in rows] == [
        source["complaint_id"] for file in files for source in sources(file)
    ]


def test_unknown_fields_of_a_recorded_detail_are_named(served: Serve, recorded: Path, tmp_path: Path) -> None:
    file = recorded / "2021-12-detail.json"
    (source,) = sources(file)

    rows, summary = run(served, tmp_path, [file])

    assert by_id(rows) == expected([source])
    assert summary.unknown_fields == sorted(source.keys() - {column.field for column in COLUMNS})
    assert len(summary.unknown_fields) == 5


@pytest.mark.parametrize("name", ["2025-04-export.csv", "2020-bulk-head.csv"])
def test_header_equals_the_cfpb_csv(recorded: Path, tmp_path: Path, name: str) -> None:
    create_document(tmp_path / "document.csv", "")

    headers = []
    for path in (tmp_path / "document.csv", recorded / name):
        with path.open(encoding="utf-8", newline="") as stream:
            headers.append(next(csv.reader(stream)))

    assert headers[0] == headers[1]


@pytest.mark.slow
def test_main_job_copies_every_recorded_complaint(chain: Chain, recorded: Path) -> None:
    files = [recorded / name for name, _ in SEARCH_FILTERS]
    columns = [column.field for column in COLUMNS]
    job = chain.luigi_command(
        "--limit", "0", "--ccdb-page-size", "10", "--storage-columns", ",".join(columns)
    )

    ended = chain.program("luigi-etl", "sandbox", "--no-throttle", "--replay", *map(str, files), "--", *job)

    assert (ended.code, ended.err) == (0, "")
    with (chain.folder / "data/latest/all.csv").open(encoding="utf-8", newline="") as stream:
        rows = [dict(zip(columns, row, strict=True)) for row in list(csv.reader(stream))[1:]]
    recording = [source for file in files for source in sources(file)]
    assert by_id(rows) == expected(recording)
    assert len(rows) == len(by_id(recording))
