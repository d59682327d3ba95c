"""A snapshot with implausibly few complaints does not replace the newest CSV and fails with one line."""

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from luigi_etl import MergeComplaints, StoreComplaints
from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Chain, Pipeline, Serve, Served

MINUTE = datetime(2026, 11, 22, 9, 26)


class Newest:
    """A pipeline, its API and the newest CSV."""

    def __init__(self, pipeline: Pipeline, served: Served) -> None:
        self.pipeline = pipeline
        self.served = served
        self.index = served.sandbox.index
        pipeline.configure("ccdb", url=served.url, retries=0)

    def run(self, at: int, family: type[Any] = StoreComplaints, **parameters: Any) -> bool:
        given = {"limit": 0, **parameters}
        return self.pipeline.run(family, timestamp=MINUTE + timedelta(minutes=at), **given)

    def script(self, *events: str) -> None:
        """Trigger events on each further request."""
        self.served.sandbox.script = Script([read_rule(f"1:{event}", True) for event in events])

    def rows(self, name: str = "all.csv") -> int | None:
        """Return the number of rows of the newest CSV; None if there is no CSV."""
        path = self.pipeline.root / "latest" / name
        if not path.exists():
            return None
        with path.open(newline="") as stream:
            return sum(1 for _ in csv.reader(stream)) - 1

    def stored(self, at: int) -> list[Path]:
        return self.pipeline.files(f"{MINUTE + timedelta(minutes=at):%Y%m%dT%H%MZ}.complaints.csv")

    def error(self, at: int) -> str:
        (path,) = self.pipeline.files(f"{MINUTE + timedelta(minutes=at):%Y%m%dT%H%MZ}.run.json")
        record = json.loads(path.read_text())
        assert record["outcome"] == "failed"
        return str(record["error"])


@pytest.fixture
def database_address(sqlite_address: Path) -> Path:
    """Use SQLite only, because these tests are about files."""
    return sqlite_address


@pytest.fixture
def newest(pipeline: Pipeline, served: Serve) -> Newest:
    return Newest(pipeline, served(300))


# --- implausible losses ---------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 10])
def test_empty_index_replaces_nothing(newest: Newest, limit: int) -> None:
    name = "all-newest-10.csv" if limit else "all.csv"
    newest.run(0, limit=limit)
    newest.script("empty")

    assert not newest.run(1, limit=limit)

    assert newest.rows(name) == (limit or 300)
    assert "its index is empty" in newest.error(1)


def test_half_loaded_index_replaces_nothing(newest: Newest) -> None:
    newest.run(0)
    newest.script("half")

    assert not newest.run(1)

    assert newest.rows() == 300
    assert newest.error(1).startswith("held back: 151 complaints, but ")
    assert len(newest.stored(1)) == 1, "what the API answered is kept all the same"


def test_later_day_confirms_a_smaller_csv(newest: Newest) -> None:
    newest.run(0)
    newest.index.vanish(150)
    assert not newest.run(1)

    assert not newest.run(60), "the same day confirms nothing"
    assert newest.run(24 * 60)

    assert newest.rows() == 150


def test_guard_accept_allows_a_smaller_csv(newest: Newest) -> None:
    newest.run(0)
    newest.index.vanish(150)
    newest.pipeline.configure("guard", accept="true")

    assert newest.run(1)
    assert newest.rows() == 150


def test_flagged_data_confirms_nothing(newest: Newest) -> None:
    newest.run(0)
    newest.index.vanish(150)
    newest.script("stale")

    assert not newest.run(1)
    assert not newest.run(24 * 60)

    assert newest.rows() == 300


def test_older_snapshot_is_stored_beside_a_larger_newest(newest: Newest) -> None:
    newest.run(5)
    newest.index.vanish(150)

    assert newest.run(0)
    assert newest.rows() == 300


def test_held_back_csv_is_still_merged(newest: Newest) -> None:
    newest.run(0)
    newest.index.vanish(150)
    newest.index.arrive(3)

    assert not newest.run(1, MergeComplaints)

    assert newest.pipeline.sql("SELECT count(*) FROM complaints") == [(153,)]


def test_small_loss_is_plausible(newest: Newest) -> None:
    newest.run(0)
    newest.index.vanish(50)

    assert newest.run(1)
    assert newest.rows() == 250


def test_flagged_data_replaces_no_larger_csv(newest: Newest) -> None:
    newest.run(0)
    newest.index.vanish(3)
    newest.script("stale")

    assert not newest.run(1)

    assert newest.rows() == 300
    assert "the CFPB flags its data as stale or faulty" in newest.error(1)


def test_flagged_data_without_a_loss_is_accepted(newest: Newest) -> None:
    newest.script("stale")

    assert newest.run(0)
    assert newest.rows() == 300


# --- drift ----------------------------------------------------------------------------------------


def test_list_instead_of_text_fails_the_run(newest: Newest) -> None:
    newest.run(0)
    newest.script("tags_list")

    assert not newest.run(1)

    assert newest.rows() == 300
    assert newest.error(1).startswith("300 of 300 hits are not valid complaints; ")


def test_rejected_hits_publish_no_first_csv(newest: Newest) -> None:
    newest.script("tags_list")

    assert not newest.run(0)
    assert newest.rows() is None


@pytest.mark.parametrize(("bad", "is_success"), [(3, True), (4, False)])
def test_one_percent_of_hits_may_be_rejected(newest: Newest, bad: int, is_success: bool) -> None:
    rows = list(newest.index.rows.values())[:bad]
    newest.index.put([{**row.source, "state": ["CA"]} for row in rows])

    assert newest.run(0) is is_success
    assert newest.rows() == (297 if is_success else None)


def test_renamed_field_fails_the_run_and_is_named(newest: Newest) -> None:
    newest.run(0)
    before = (newest.pipeline.root / "latest" / "all.csv").read_bytes()
    newest.script("rename")

    assert not newest.run(1)

    assert (newest.pipeline.root / "latest" / "all.csv").read_bytes() == before
    assert newest.error(1).startswith(
        "the API no longer sends zip_code; the API sends a new field zip5; "
        "if this is permanent, set [guard] expected_fields=zip_code,zip5"
    )


def test_expected_field_change_does_not_fail_the_run(newest: Newest) -> None:
    newest.pipeline.configure("guard", expected_fields="zip_code, zip5")
    newest.script("rename")

    assert newest.run(0)
    assert newest.rows() == 300


def test_new_field_fails_the_run_without_a_loss(newest: Newest) -> None:
    newest.index.put({**row.source, "mood": "bad"} for row in list(newest.index.rows.values()))

    assert not newest.run(0)

    assert newest.rows() == 300
    assert "the API sends a new field mood" in newest.error(0)


def test_field_name_in_an_error_is_printable_and_short(newest: Newest) -> None:
    newest.index.put({**row.source, "\x1b[31m" + "x" * 999: 1} for row in list(newest.index.rows.values()))

    assert not newest.run(0)

    assert newest.error(0).isprintable()
    assert len(newest.error(0)) <= 500


def test_deeply_nested_hit_does_not_fail_the_merge(newest: Newest) -> None:
    row = next(iter(newest.index.rows.values()))
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    newest.index.put([{**row.source, "company": deep}])

    assert newest.run(0, MergeComplaints)

    assert newest.pipeline.sql("SELECT count(*) FROM complaints") == [(299,)]


def test_merge_stores_valid_complaints_and_then_fails(newest: Newest) -> None:
    newest.script("rename")

    assert not newest.run(0, MergeComplaints)

    assert "the API no longer sends zip_code" in newest.error(0)
    assert newest.pipeline.sql("SELECT count(*) FROM complaints") == [(300,)]
    assert len(newest.pipeline.files("0926Z.changes.csv")) == 1


# --- merges look up missing complaints ------------------------------------------------------------


def test_merge_of_a_query_withdraws_missing_complaints(newest: Newest) -> None:
    newest.run(0, MergeComplaints, query="state=FL")
    gone, moved = [row for row in newest.index.rows.values() if row.value("state") == "FL"][:2]
    newest.index.remove([gone.identifier])
    newest.index.put([{**moved.source, "state": "TX"}])

    assert newest.run(1, MergeComplaints, query="state=FL")

    assert newest.pipeline.sql(
        "SELECT CAST(complaint_id AS text) FROM complaints WHERE withdrawn IS NOT NULL"
    ) == [(gone.identifier,)]
    assert newest.pipeline.sql(f"SELECT state FROM complaints WHERE complaint_id = '{moved.identifier}'") == [
        ("TX",)
    ]


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_drift_is_one_line_one_notification_and_listed(chain: Chain, served: Serve) -> None:
    server = served(50)
    chain.unattended("--timestamp", "2026-11-22T0926", url=server.url)
    server.sandbox.script = Script([read_rule("1:rename", True)])

    runs = [chain.unattended("--timestamp", f"2026-11-22T092{at}", url=server.url) for at in (7, 8)]
    listed = chain.program("luigi-etl", "runs", "--since", "2026-11-22", "--failed").out

    assert [run.code for run in runs] == [30, 30]
    assert [run.err.count("the API no longer sends zip_code") for run in runs] == [1, 0]
    assert listed.count("the API no longer sends zip_code") == 2
