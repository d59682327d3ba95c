"""The status of one run, for any state of its files."""

import os
import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from luigi_etl.service.run_history import list_runs
from luigi_etl.service.run_status import Run
from tests.made import SLUG, ended, merged, record, stored, synced

MINUTE = datetime(2026, 11, 22, 9, 26)
ONE = timedelta(minutes=1)
SINCE = ("--since", "2026-11-22")
ESCAPE = "\x1b[2J"


def only_run(root: Path) -> Run:
    (found,) = list_runs(root, datetime.min)
    return found


def make_package(root: Path) -> Path:
    """Store a snapshot; return the path of its Data Package."""
    return stored(root, MINUTE).datapackage


def test_snapshot_with_data_package_is_stored(tmp_path: Path) -> None:
    stored(tmp_path, MINUTE, rows=3, rejected=2, seconds=0.75)
    assert only_run(tmp_path) == Run(
        minute=MINUTE, query=SLUG, outcome="stored", rows=3, rejected=2, seconds=0.75
    )


def test_snapshot_with_changes_is_merged(tmp_path: Path) -> None:
    merged(tmp_path, MINUTE, rows=3)
    assert only_run(tmp_path) == Run(
        minute=MINUTE, query=SLUG, outcome="merged", rows=3, rejected=0, seconds=1.9
    )


def test_snapshot_with_failed_merge_is_failed_with_its_rows(tmp_path: Path) -> None:
    record(stored(tmp_path, MINUTE, rows=3), "failed", "no database", task="MergeComplaints")
    found = only_run(tmp_path)

    assert found == Run(
        minute=MINUTE,
        query=SLUG,
        outcome="failed",
        rows=3,
        rejected=0,
        seconds=1.5,
        error="no database",
        is_stored_only=True,
    )


def test_run_that_failed_before_storing_is_not_stored_only(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed")
    assert not only_run(tmp_path).is_stored_only


def test_merged_run_without_seconds_has_those_of_its_store(
    tmp_path: Path,
) -> None:
    record(merged(tmp_path, MINUTE), "stored", seconds=0.5)
    assert (only_run(tmp_path).outcome, only_run(tmp_path).seconds) == ("merged", 0.5)


@pytest.mark.parametrize("changes", [False, True])
def test_successful_sync_is_synced(tmp_path: Path, changes: bool) -> None:
    synced(tmp_path, MINUTE, changes=changes)
    assert only_run(tmp_path) == Run(minute=MINUTE, query="all~sync", outcome="synced", seconds=1.5)


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_outcome_without_data_package_is_that_of_the_record(tmp_path: Path, outcome: Any) -> None:
    ended(tmp_path, MINUTE, outcome, "no luck")
    assert only_run(tmp_path) == Run(minute=MINUTE, query=SLUG, outcome=outcome, seconds=1.5, error="no luck")


def test_run_without_data_package_and_record_is_unfinished(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed").run.unlink()
    found = only_run(tmp_path)

    assert (found.outcome, found.error) == (
        "unfinished",
        "no end recorded: the run was killed, runs by hand, or had no room on the disk for its record",
    )


def test_run_with_deleted_data_package_is_unfinished(tmp_path: Path) -> None:
    make_package(tmp_path).unlink()
    found = only_run(tmp_path)

    assert (found.outcome, found.error) == ("unfinished", "stored, but its Data Package is missing")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b'{"snapshot": {"parsed": 1', "Input data was truncated"),
        (b"not JSON", "JSON is malformed"),
        (b"[]", r"Expected `object`, got `array`"),
        (b"{}", "missing required field `snapshot`"),
        (b'{"snapshot":{"parsed":1}}', "missing required field `rejected`"),
        (b'{"snapshot":{"parsed":1,"rejected":-1}}', "Expected `int` >= 0"),
        (b'{"snapshot":{"parsed":1.5,"rejected":0}}', "Expected `int`, got `float`"),
        (b'{"\xff":1}', "."),
        (b"\0" * 4096, "JSON is malformed"),
        (b'{"x":' + b"[" * 200_000, "."),
    ],
)
def test_damaged_data_package_is_a_damaged_run_with_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = make_package(tmp_path)
    path.write_bytes(content)
    found = only_run(tmp_path)

    assert (found.outcome, found.rows, found.rejected, found.seconds) == ("damaged", None, None, None)
    assert re.match(rf"{path} is damaged \(.*{reason}", found.error)


def test_unreadable_data_package_is_a_damaged_run(tmp_path: Path) -> None:
    path = make_package(tmp_path)
    path.unlink()
    path.mkdir()

    assert (only_run(tmp_path).outcome, "Is a directory" in only_run(tmp_path).error) == ("damaged", True)


def test_damaged_record_without_data_package_is_damaged(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed").run.write_bytes(b"{")
    found = only_run(tmp_path)

    assert found.outcome == "damaged"
    assert found.error.endswith("Z.run.json is damaged (Input data was truncated)")


@pytest.mark.parametrize("content", [None, b"{", b'{"outcome":"odd"}'])
def test_stored_run_without_readable_record_has_no_seconds(tmp_path: Path, content: bytes | None) -> None:
    files = stored(tmp_path, MINUTE, seconds=None)
    if content is not None:
        files.run.write_bytes(content)

    assert (only_run(tmp_path).outcome, only_run(tmp_path).seconds) == ("stored", None)


def test_stored_run_ignores_the_record_of_an_earlier_failure(tmp_path: Path) -> None:
    files = stored(tmp_path, MINUTE)
    record(files, "failed", "no luck", 99.0)
    os.utime(files.datapackage, (time.time() + 1,) * 2)

    found = only_run(tmp_path)

    assert (found.outcome, found.seconds, found.error) == ("stored", None, "")


def test_run_that_failed_after_storing_is_failed(tmp_path: Path) -> None:
    record(stored(tmp_path, MINUTE), "failed", "the API sends no zip_code any more", 99.0)

    found = only_run(tmp_path)

    assert (found.outcome, found.rows) == ("failed", 10)
    assert found.error == "the API sends no zip_code any more"


def test_unknown_files_and_folders_are_ignored(tmp_path: Path) -> None:
    folder = stored(tmp_path, MINUTE).folder
    for name in (
        "notes.txt",
        "20261122T0927Z.notes.txt",
        "20261121T0926Z.document.csv",
        "20261122T2526Z.run.json",
        ".20261122T0928Z.parsed.jsonl.0123abcd.tmp",
    ):
        (folder / name).touch()
    for name in ("2026-13-45", "20261122", "old"):
        (folder.parent / name).mkdir()
    (folder.parents[1] / "file").touch()

    assert only_run(tmp_path).minute == MINUTE
