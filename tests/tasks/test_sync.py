"""SyncComplaints, with a served sandbox, on SQLite and PostgreSQL."""

import csv
import json
import random
import re
import shutil
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import Connection

from luigi_etl import StoreComplaints, SyncComplaints
from luigi_etl.database import id_lookup
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import VIEWS, metadata
from luigi_etl.sandbox.row import Row
from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Chain, Luigid, Pipeline, Serve, Served
from tests.version_1 import undo_version_2

pytestmark = pytest.mark.slow

MINUTE = datetime(2026, 9, 26, 12, 0)
DAYS = 90


def minute(number: int) -> datetime:
    return MINUTE + timedelta(minutes=number)


class SyncRunner:
    """A pipeline with the API that it reads; it syncs at given minutes."""

    def __init__(self, pipeline: Pipeline, served: Served) -> None:
        self.pipeline = pipeline
        self.served = served
        self.index = served.sandbox.index
        pipeline.configure("ccdb", url=served.url, page_size=20, retries=0)

    def sync(self, at: int, **parameters: Any) -> bool:
        return self.pipeline.run(SyncComplaints, timestamp=minute(at), **parameters)

    def asked(self) -> list[dict[str, str]]:
        """Return the parameters of each request since the last call."""
        asked = [
            {name: values[-1] for name, values in parse_qs(urlsplit(path).query).items()}
            for path in self.served.asked
        ]
        self.served.sandbox.requests.clear()
        return asked

    def pages(self) -> list[str]:
        """Return the addresses of the pages received since the last call."""
        pages = [
            path for path, status in self.served.sandbox.requests if status == 200 and "size=0" not in path
        ]
        self.served.sandbox.requests.clear()
        return pages

    def current(self) -> list[tuple[Any, ...]]:
        return self.pipeline.sql(
            "SELECT CAST(complaint_id AS text), company_response, state FROM current_complaints ORDER BY 1"
        )

    def truth(self, since: str = "") -> list[tuple[Any, ...]]:
        rows = [row for row in self.index.rows.values() if row.received >= since]
        return sorted((row.identifier, row.value("company_response"), row.value("state")) for row in rows)

    def withdrawn(self) -> list[str]:
        found = self.pipeline.sql(
            "SELECT CAST(complaint_id AS text) FROM complaints WHERE withdrawn IS NOT NULL ORDER BY 1"
        )
        return [row[0] for row in found]

    def unverified(self) -> list[str]:
        return [
            row[0]
            for row in self.pipeline.sql("SELECT CAST(complaint_id AS text) FROM unverified ORDER BY 1")
        ]

    def script(self, *events: str) -> None:
        """Let events happen at each later request."""
        self.served.sandbox.script = Script([read_rule(f"1:{event}", True) for event in events])

    def error(self, at: int) -> str:
        (path,) = self.pipeline.files(f"{minute(at):%Y%m%dT%H%MZ}.run.json")
        return str(json.loads(path.read_text())["error"])

    def change(self) -> None:
        """Change the index in every way."""
        self.index.vanish(5)
        self.index.arrive(5)
        self.index.change(5)
        self.index.reindex()

    def everything(self) -> list[tuple[Any, ...]]:
        """Return all complaints, as stored."""
        return self.pipeline.sql("SELECT * FROM complaints ORDER BY complaint_id")

    def forget(self) -> None:
        """Remove all files and tables."""
        shutil.rmtree(self.pipeline.root)
        with self.pipeline.database.writing() as connection:
            for name in reversed(VIEWS):
                connection.exec_driver_sql(f"DROP VIEW {name}")
            metadata.drop_all(connection)

    def outcome(self, at: int) -> str:
        (path,) = self.pipeline.files(f"{minute(at):%Y%m%dT%H%MZ}.run.json")
        return str(json.loads(path.read_text())["outcome"])


@pytest.fixture
def runner(pipeline: Pipeline, served: Serve) -> SyncRunner:
    return SyncRunner(pipeline, served(300))


FIRST = (MINUTE.date() - timedelta(days=DAYS)).isoformat()


def test_first_sync_reads_the_last_ninety_days(runner: SyncRunner) -> None:
    assert runner.sync(0)
    assert runner.current() == runner.truth(since=FIRST)
    assert len(runner.current()) > 250


def test_sync_of_an_unchanged_api_sends_one_request(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.asked()
    assert runner.sync(1)
    (asked,) = runner.asked()
    assert asked["size"] == "0"
    assert runner.outcome(1) == "synced"


@pytest.mark.parametrize("what", ["arrive", "vanish", "reindex"])
def test_each_sign_of_a_change_is_enough(runner: SyncRunner, what: str) -> None:
    """`total_record_count` and `hits.total` change, or the day of the last indexing alone."""
    runner.sync(0)
    getattr(runner.index, what)(1)
    runner.asked()

    assert runner.sync(1)

    assert len(runner.asked()) > 1
    assert runner.current() == runner.truth(since=FIRST)


def test_changes_are_in_the_database_and_in_a_file(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.change()
    assert runner.sync(1)
    assert runner.current() == runner.truth(since=FIRST)
    assert len(runner.withdrawn()) == 5
    (path,) = [one for one in runner.pipeline.files("1201Z.changes.csv") if "~sync" in str(one)]
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    kinds = [line["change"] for line in lines]
    assert (kinds.count("new"), kinds.count("withdrawn")) == (5, 5)
    assert {line["snapshot"] for line in lines} == {"2026-09-26T12:01Z"}


def test_sync_leaves_only_changes_and_its_record(runner: SyncRunner) -> None:
    runner.sync(0)

    left = [str(path.relative_to(runner.pipeline.root)) for path in runner.pipeline.files()]
    folder = "snapshots/all~sync/2026-09-26/20260926T1200Z"
    assert [name for name in left if not name.startswith("complaints.db") and not name.endswith(".lock")] == [
        f"{folder}.changes.csv",
        f"{folder}.run.json",
    ]
    assert [path.name for path in (runner.pipeline.root / "snapshots").iterdir()] == ["all~sync"]


def test_second_sync_of_a_minute_asks_the_api_again(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.asked()

    assert runner.sync(0)

    assert len(runner.asked()) == 1


def test_backfill_runs_in_the_minute_of_a_sync(runner: SyncRunner) -> None:
    runner.sync(0, days=10)

    assert runner.sync(0, since=date(2026, 6, 1))

    assert runner.current() == runner.truth()


def test_backfill_after_an_interrupted_sync_is_complete(pipeline: Pipeline, served: Serve) -> None:
    broken = SyncRunner(pipeline, served(300, "6:status=403"))

    assert not broken.sync(0, days=30)

    assert broken.sync(1, since=date(2026, 6, 1))
    assert broken.current() == broken.truth()
    assert [path.name for path in (pipeline.root / "snapshots").iterdir()] == ["all~sync"]


def test_backfill_reports_changes_of_an_interrupted_sync(pipeline: Pipeline, served: Serve) -> None:
    broken = SyncRunner(pipeline, served(300, "6:status=403"))
    assert not broken.sync(0, days=30)
    assert broken.sync(1, since=date(2026, 6, 1))
    (path,) = [one for one in pipeline.files("1201Z.changes.csv") if "~sync" in str(one)]
    with path.open(newline="") as stream:
        new = [line["complaint_id"] for line in csv.DictReader(stream) if line["change"] == "new"]
    assert sorted(new) == [row[0] for row in broken.truth()]


def changed_dates(runner: SyncRunner, at: int) -> set[str]:
    (path,) = [one for one in runner.pipeline.files(f"12{at:02}Z.changes.csv") if "~sync" in str(one)]
    with path.open(newline="") as stream:
        return {line["complaint_id"] for line in csv.DictReader(stream) if line["field"] == "date_received"}


def test_next_sync_repeats_failed_lookups(runner: SyncRunner) -> None:
    """The first lookup is merged when the second fails: each change is reported once."""
    runner.sync(0)
    rows = sorted(runner.index.rows.values(), key=lambda row: row.key)[-45:]
    runner.index.put([{**row.source, "date_received": "2026-01-01T12:00:00+00:00"} for row in rows])
    runner.index.reindex()
    search = runner.index.search
    runner.index.search = _break_lookup(search, 2)  # type: ignore[method-assign]

    assert runner.sync(1)
    runner.index.search = search  # type: ignore[method-assign]
    assert runner.sync(2)

    first, second = changed_dates(runner, 1), changed_dates(runner, 2)
    assert 0 < len(first) < len(second)
    assert not first & second
    assert first | second == {row.identifier for row in rows}
    assert runner.withdrawn() == []


def _break_lookup(search: Any, at: int) -> Any:
    """Break the connections of lookup number `at`."""
    terms: list[str] = []

    def answer(asked: Any) -> Any:
        if asked.search_term and asked.search_term not in terms:
            terms.append(asked.search_term)
        if asked.search_term in terms[at - 1 : at]:
            raise ConnectionError
        return search(asked)

    return answer


def test_sync_does_not_change_the_newest_csv(runner: SyncRunner) -> None:
    query = "date_received_min=2026-09-20"
    runner.pipeline.configure("ccdb", page_size=1000)
    runner.pipeline.run(StoreComplaints, timestamp=minute(0), query=query, limit=0)
    latest = runner.pipeline.root / "latest" / f"{query}.csv"
    before = latest.read_bytes()

    assert runner.sync(5, query=query)

    assert latest.read_bytes() == before


def test_next_minute_resumes_an_interrupted_backfill(pipeline: Pipeline, served: Serve) -> None:
    broken = SyncRunner(pipeline, served(300, "12:status=403"))

    assert not broken.sync(0, since=date(2026, 6, 1))

    assert broken.sync(1)
    assert broken.current() == broken.truth()


def test_newest_windows_are_read_first(runner: SyncRunner) -> None:
    runner.sync(0)

    begins = [one["date_received_min"] for one in runner.asked() if one["size"] != "0"]
    assert len(set(begins)) > 2
    assert begins == sorted(begins, reverse=True)


def test_each_window_is_counted_at_most_once(runner: SyncRunner) -> None:
    runner.sync(0)

    asked = runner.asked()
    windows = {one["date_received_min"] for one in asked if one["size"] != "0"}
    assert sum(one["size"] == "0" for one in asked) <= 1 + len(windows)


def test_days_and_since_set_the_first_day(runner: SyncRunner) -> None:
    runner.sync(0, days=10)
    assert runner.current() == runner.truth(since="2026-09-16")
    runner.sync(1, since=date(2026, 6, 1))
    assert runner.current() == runner.truth()


def test_backfill_runs_even_if_nothing_changed(runner: SyncRunner) -> None:
    runner.sync(0, days=10)
    runner.asked()

    runner.sync(1, since=date(2026, 6, 1))

    assert len(runner.asked()) > 1


def test_usual_days_are_up_to_date_after_a_backfill(runner: SyncRunner) -> None:
    runner.sync(0, since=date(2026, 6, 1))
    runner.asked()

    runner.sync(1)

    assert len(runner.asked()) == 1


def test_two_queries_are_synced_separately(runner: SyncRunner) -> None:
    runner.sync(0, query="state=CA")
    runner.sync(0, query="state=TX")
    assert {row[2] for row in runner.current()} == {"CA", "TX"}
    runner.asked()
    runner.sync(1, query="state=CA")
    runner.sync(1, query="state=TX")
    assert len(runner.asked()) == 2


def test_days_outside_the_query_are_not_requested(runner: SyncRunner) -> None:
    assert runner.sync(0, query="date_received_max=2026-01-31")
    assert len(runner.asked()) == 1


def _move(runner: SyncRunner, day: str) -> str:
    """Give the newest complaint another day; return its id."""
    newest = max(runner.index.rows.values(), key=lambda row: row.key)
    instant = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    source = {**newest.source, "date_received": instant.isoformat()}
    moved = Row(newest.identifier, round(instant.timestamp() * 1000), newest.sent, source)
    runner.index._put([moved])
    runner.index.reindex()
    return newest.identifier


@pytest.mark.parametrize("day", ["2026-08-01", "2025-01-01"])
def test_moved_complaint_is_not_withdrawn(runner: SyncRunner, day: str) -> None:
    """It moves to another window, or to a day outside the windows, where a lookup finds it."""
    runner.sync(0)
    moved = _move(runner, day)

    assert runner.sync(1)

    assert runner.withdrawn() == []
    assert runner.pipeline.sql(
        f"SELECT change, field, new FROM changes WHERE complaint_id = '{moved}' AND change <> 'new'"
    ) == [("changed", "date_received", day)]


def test_vanished_complaints_are_looked_up_once(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.index.vanish(50)
    runner.asked()

    assert runner.sync(1)

    lookups = [one["search_term"] for one in runner.asked() if "search_term" in one]
    assert max(map(len, lookups)) <= 200
    ids = {found for one in lookups for found in re.findall(r"\d+", one)}
    assert len(ids) == 51, "fifty, and a control"
    assert len(runner.withdrawn()) == 50
    runner.index.reindex()
    runner.sync(2)
    assert [one for one in runner.asked() if "search_term" in one] == []


def test_lookups_above_the_limit_are_left_to_the_next_sync(
    runner: SyncRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_lookup, "DEFAULT_REQUESTS", 2)
    runner.sync(0)
    runner.index.vanish(40)

    assert runner.sync(1)
    after_one = len(runner.withdrawn())
    assert runner.sync(2)

    assert 20 < after_one < len(runner.withdrawn()) == 40


def _refuse_lookups(search: Any) -> Any:
    from luigi_etl.sandbox.search import EngineError

    def refuse(asked: Any) -> Any:
        if asked.search_term:
            raise EngineError
        return search(asked)

    return refuse


def _break_lookups(search: Any) -> Any:
    """Break the connection of each lookup."""

    def break_off(asked: Any) -> Any:
        if asked.search_term:
            raise ConnectionError
        return search(asked)

    return break_off


def _find_nothing(search: Any) -> Any:
    """Find nothing by a search term, like the API for a term that it misreads."""

    def find(asked: Any) -> Any:
        found = search(asked)
        return replace(found, rows=[], total=0) if asked.search_term else found

    return find


def _ignore_term(search: Any) -> Any:
    """Ignore the search term."""
    return lambda asked: search(replace(asked, search_term=""))


@pytest.mark.parametrize("fault", [_refuse_lookups, _break_lookups, _find_nothing, _ignore_term])
def test_inconclusive_lookup_withdraws_nothing(runner: SyncRunner, fault: Any) -> None:
    """The complaints stay unverified, and the next sync looks them up, though nothing else changed."""
    runner.sync(0)
    gone = sorted(runner.index.rows)[:3]
    runner.index.remove(gone)
    search = runner.index.search
    runner.index.search = fault(search)  # type: ignore[method-assign]

    assert runner.sync(1)

    assert (runner.withdrawn(), runner.unverified()) == ([], gone)
    runner.index.search = search  # type: ignore[method-assign]
    assert runner.sync(2)
    assert (runner.withdrawn(), runner.unverified()) == (gone, [])


def test_reclassified_complaint_is_not_withdrawn(runner: SyncRunner) -> None:
    runner.sync(0, query="state=FL")
    moved = [row for row in runner.index.rows.values() if row.value("state") == "FL"][:10]
    runner.index.put({**row.source, "state": "TX"} for row in moved)
    runner.index.reindex()

    assert runner.sync(1, query="state=FL")

    assert runner.withdrawn() == []
    assert sum(row[2] == "TX" for row in runner.current()) == 10


def test_false_withdrawals_of_version_1_are_undone(runner: SyncRunner) -> None:
    """Withdrawals of existing complaints go, also from the history; others keep their minute."""
    runner.sync(0)
    exists, gone = sorted(runner.index.rows)[:2]
    runner.index.remove([gone])
    with runner.pipeline.database.writing() as connection:
        make_version_1(connection, minute(3), withdrawn=[exists, gone])

    assert runner.sync(5)

    assert runner.withdrawn() == [gone]
    assert runner.unverified() == []
    changes = runner.pipeline.sql(
        "SELECT CAST(complaint_id AS text), change FROM changes "
        f"WHERE complaint_id IN ({exists}, {gone}) ORDER BY 2, 1"
    )
    assert changes == [*((one, "new") for one in sorted([exists, gone])), (gone, "withdrawn")]
    assert runner.pipeline.sql("SELECT DISTINCT withdrawn FROM complaints WHERE withdrawn IS NOT NULL") in (
        [("2026-09-26 12:03",)],
        [(minute(3),)],
    )


def make_version_1(connection: Connection, at: datetime, withdrawn: list[str]) -> None:
    """Turn a database into one of version 1 whose newest window withdrew complaints."""
    ids = ", ".join(f"'{one}'" for one in withdrawn)
    undo_version_2(connection.exec_driver_sql, is_file=connection.dialect.name == "sqlite")
    for statement in (
        f"UPDATE complaints SET withdrawn = '{at:%Y-%m-%d %H:%M}' WHERE complaint_id IN ({ids})",
        "INSERT INTO history (complaint_id, change, snapshot_id) SELECT complaint_id, 'withdrawn', "
        f"(SELECT max(id) FROM snapshots) FROM complaints WHERE complaint_id IN ({ids})",
    ):
        connection.exec_driver_sql(statement)


# --- implausible data ----------------------------------------------------------------------------


def test_empty_index_ends_a_sync_before_it_reads(pipeline: Pipeline, served: Serve) -> None:
    runner = SyncRunner(pipeline, served(300))
    runner.sync(0)
    before = runner.everything()
    runner.script("empty")

    assert not runner.sync(1)

    assert runner.everything() == before
    assert "its index is empty" in runner.error(1)


def test_half_loaded_index_withdraws_nothing(runner: SyncRunner) -> None:
    runner.sync(0)
    before = runner.current()
    runner.script("half")

    assert not runner.sync(1)

    assert (runner.current(), runner.withdrawn()) == (before, [])
    assert re.match(r"held back: \d+ of \d+ complaints would be withdrawn", runner.error(1))
    assert [one for one in runner.asked() if "search_term" in one] == []
    assert not runner.sync(2), "the index is still half loaded"
    runner.script()
    assert runner.sync(3)
    assert (runner.current(), runner.unverified()) == (before, [])


def lose_two_thirds(runner: SyncRunner) -> None:
    runner.sync(0)
    gone = sorted(runner.index.rows)[:200]
    runner.index.remove(gone)
    runner.index.reindex()


def test_later_day_confirms_an_implausible_loss(runner: SyncRunner) -> None:
    lose_two_thirds(runner)
    assert not runner.sync(1)

    assert runner.sync(24 * 60)

    assert len(runner.withdrawn()) > 180
    assert runner.current() == runner.truth(since=FIRST)


def test_setting_accepts_an_implausible_loss(runner: SyncRunner) -> None:
    lose_two_thirds(runner)
    assert not runner.sync(1)

    runner.pipeline.configure("guard", accept="true")

    assert runner.sync(2)
    assert len(runner.withdrawn()) > 180


def test_other_syncs_do_not_look_up_held_back_complaints(runner: SyncRunner) -> None:
    """Neither a sync of another query nor one of fewer days does."""
    runner.pipeline.configure("guard", lost_complaints=10)
    runner.sync(0, query="state=FL")
    runner.sync(0, query="state=WY")
    runner.script("half")
    assert not runner.sync(1, query="state=FL")

    runner.sync(2, query="state=WY", days=30)
    assert not runner.sync(3, query="state=FL", days=10)

    assert runner.withdrawn() == []


def test_smaller_loss_does_not_confirm_a_larger_one(runner: SyncRunner) -> None:
    runner.sync(0)
    rows = sorted(runner.index.rows)
    runner.index.remove(rows[:120])
    runner.index.reindex()
    assert not runner.sync(1)
    runner.index.remove(rows[120:280])
    runner.index.reindex()

    assert not runner.sync(24 * 60)

    assert set(runner.withdrawn()) <= set(rows[:120])


def test_windows_are_read_again_after_the_index_changed(pipeline: Pipeline, served: Serve) -> None:
    """The index is complete when the sync is planned, half loaded during it, then complete again."""
    runner = SyncRunner(pipeline, served(300, "2:half"))
    pipeline.configure("ccdb", page_size=1000)
    assert runner.sync(0)
    assert len(runner.current()) < 200

    assert runner.sync(1)

    assert runner.current() == runner.truth(since=FIRST)


def test_loss_within_a_minute_is_found_in_the_next(runner: SyncRunner) -> None:
    """A second sync of the same minute can't prove an absence."""
    runner.sync(0)
    runner.index.vanish(5)
    runner.sync(0)

    assert runner.sync(1)

    assert len(runner.withdrawn()) == 5


def test_search_term_is_synced_despite_unverified_complaints(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.index.remove(sorted(runner.index.rows)[:3])
    search = runner.index.search
    runner.index.search = _refuse_lookups(search)  # type: ignore[method-assign]
    runner.sync(1)
    runner.index.search = search  # type: ignore[method-assign]

    assert runner.sync(2, query="search_term=mortgage")
    assert len(runner.unverified()) == 3


def test_flagged_data_proves_no_absence(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.index.vanish(5)
    runner.script("stale")

    assert runner.sync(1)

    assert (runner.withdrawn(), runner.unverified()) == ([], [])


def test_rejected_hits_keep_a_sync_unfinished(runner: SyncRunner) -> None:
    """Every valid complaint is merged; an hour later the windows are read again."""
    runner.sync(0)
    runner.index.arrive(5)
    runner.script("tags_list")

    assert not runner.sync(1)

    assert "hits are not valid complaints" in runner.error(1)
    assert runner.pipeline.sql("SELECT count(*) FROM syncs WHERE NOT is_finished") == [(1,)]
    (rejected,) = runner.pipeline.files("1201Z.rejected.jsonl")
    assert len(rejected.read_text().splitlines()) > 250
    assert not runner.sync(2)
    runner.script()
    assert runner.sync(62)
    assert runner.current() == runner.truth(since=FIRST)


def test_few_rejected_hits_do_not_fail_a_sync(runner: SyncRunner) -> None:
    row = max(runner.index.rows.values(), key=lambda row: row.key)
    runner.index.put([{**row.source, "state": ["CA"]}])

    assert runner.sync(0)

    assert len(runner.pipeline.files("1200Z.rejected.jsonl")) == 1
    assert row.identifier not in {one[0] for one in runner.current()}


def test_renamed_field_fails_a_sync_after_the_merge(runner: SyncRunner) -> None:
    runner.sync(0)
    runner.index.arrive(5)
    runner.script("rename")

    assert not runner.sync(1)

    assert "the API no longer sends zip_code; the API sends a new field zip5" in runner.error(1)
    assert runner.current() == runner.truth(since=FIRST)
    runner.pipeline.configure("guard", expected_fields="zip_code,zip5")
    assert runner.sync(2)


def test_sync_changes_no_snapshot_of_its_query(runner: SyncRunner) -> None:
    """Pages, CSV and newest CSV stay, even those of the same minute."""
    query = f"date_received_min={FIRST}"
    runner.pipeline.configure("ccdb", page_size=1000)
    runner.pipeline.run(StoreComplaints, timestamp=minute(0), query=query, limit=0)
    before = {path: path.read_bytes() for path in runner.pipeline.files()}

    assert runner.sync(0)

    assert {path: path.read_bytes() for path in before} == before


# --- interrupted ---------------------------------------------------------------------------------


def test_sync_interrupted_at_any_request_fetches_no_page_twice(pipeline: Pipeline, served: Serve) -> None:
    whole = SyncRunner(pipeline, served(300))
    whole.sync(0)
    expected, requests = whole.everything(), len(whole.served.asked)
    assert requests > 15
    for at in range(1, requests + 1):
        whole.forget()
        runner = SyncRunner(pipeline, served(300, f"{at}:status=403"))
        assert not runner.sync(0), at
        assert runner.sync(0), at
        assert runner.everything() == expected, at
        pages = runner.pages()
        assert len(set(pages)) == len(pages), at


def test_later_minute_resumes_an_interrupted_sync(runner: SyncRunner, served: Serve) -> None:
    broken = SyncRunner(runner.pipeline, served(300, "9:status=403"))
    assert not broken.sync(0)
    before = broken.pages()
    assert broken.sync(1)
    assert not set(before) & set(broken.pages())
    assert broken.current() == broken.truth(since=FIRST)
    assert broken.outcome(1) == "synced"


def test_windows_read_by_a_later_minute_get_that_minute(pipeline: Pipeline, served: Serve) -> None:
    broken = SyncRunner(pipeline, served(300, *(f"{at}:status=403" for at in range(9, 50))))
    assert not broken.sync(0)
    runner = SyncRunner(pipeline, served(300))
    assert runner.sync(1)
    seen = runner.pipeline.sql("SELECT DISTINCT last_seen FROM complaints ORDER BY 1")
    assert [str(row[0])[:16] for row in seen] == ["2026-09-26 12:00", "2026-09-26 12:01"]


def test_window_read_again_gets_the_minute_of_that_read(runner: SyncRunner, served: Serve) -> None:
    """The pages of a partly read window are discarded."""
    broken = SyncRunner(runner.pipeline, served(300, "9:status=403"))
    assert not broken.sync(0)
    broken.index.change(300)
    broken.index.reindex()
    assert broken.sync(1)
    changed = set(broken.truth())
    seen = broken.pipeline.sql(
        "SELECT CAST(complaint_id AS text), company_response, state, last_seen FROM complaints"
    )
    assert {str(row[3])[:16] for row in seen if row[:3] in changed} == {"2026-09-26 12:01"}


def test_failed_window_does_not_undo_merged_windows(runner: SyncRunner, served: Serve) -> None:
    broken = SyncRunner(runner.pipeline, served(300, "9:status=403"))
    assert not broken.sync(0)
    windows = broken.pipeline.sql("SELECT count(*) FROM snapshots")[0][0]
    assert broken.sync(1)
    assert windows == broken.pipeline.sql("SELECT count(*) FROM snapshots")[0][0] - 1


def test_next_sync_removes_files_of_a_finished_sync(runner: SyncRunner) -> None:
    """It was killed after the commit of its end, before it removed its files."""
    runner.sync(0)
    left = runner.pipeline.root / "syncs/all/snapshots/x/2026-09-26/20260926T1200Z.parsed.jsonl"
    left.parent.mkdir(parents=True)
    left.touch()

    runner.sync(1)

    assert [path.name for path in (runner.pipeline.root / "syncs").iterdir()] == ["all.lock"]


def test_failed_sync_is_on_record(runner: SyncRunner, served: Serve) -> None:
    broken = SyncRunner(runner.pipeline, served(300, "every 1:status=403"))

    assert not broken.sync(0)

    assert broken.outcome(0) == "failed"


# --- the command ---------------------------------------------------------------------------------


def test_luigid_shows_a_sync_and_its_windows_as_done(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.configure("ccdb", page_size=20, requests_per_minute=0)
    run = chain.program(*luigid.command("--since", "2026-06-01", task="SyncComplaints"), url=served(300).url)
    assert (run.code, run.err) == (0, "")
    assert re.fullmatch(
        r"300 new, 0 changed, 0 withdrawn, 0 returned, among complaints received since 2026-06-01: "
        r"data/snapshots/all~sync/.*\.changes\.csv",
        run.out.splitlines()[-1],
    )
    families = [task["name"] for task in luigid.tasks("DONE").values()]
    assert families.count("SyncComplaints") == 1
    assert families.count("MergeWindow") > 2


def test_luigid_shows_the_windows_of_a_running_sync(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.configure("ccdb", page_size=5, requests_per_minute=0)
    process = chain.start(
        *luigid.command("--since", "2026-06-01", task="SyncComplaints"), url=served(300).url
    )
    messages = set()
    while process.poll() is None:
        messages |= {luigid.message(task) for task in luigid.tasks() if task.startswith("SyncComplaints")}
        time.sleep(0.02)

    process.communicate()

    assert any(
        re.fullmatch(r"reading complaints received since 2026-06-01: \d+ windows", one) for one in messages
    )


def test_unchanged_api_is_reported_in_one_line(chain: Chain, served: Serve) -> None:
    url = served(50).url
    chain.luigi("--timestamp", "2026-11-22T0926", task="SyncComplaints", url=url)

    run = chain.luigi("--timestamp", "2026-11-22T0927", task="SyncComplaints", url=url)

    assert (run.code, run.err, run.out) == (0, "", "up to date: nothing changed since the last sync\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--days", "0"), "days: 0 is not a whole number from 1 to 36500"),
        (("--since", "2026-13-01"), "since: '2026-13-01' is not a day (UTC) written as 2026-11-22"),
        (("--query", "stat=CA"), "query: the API knows no filter 'stat'; did you mean 'state'?"),
    ],
)
def test_invalid_parameter_is_one_line(chain: Chain, arguments: tuple[str, ...], message: str) -> None:
    run = chain.luigi(*arguments, task="SyncComplaints")

    assert (run.code, run.err) == (2, f"luigi: error: {message}\n")


@pytest.mark.parametrize(
    "address",
    ["postgresql://me:secret@127.0.0.1/name", "host=127.0.0.1 dbname=name password=secret", "mysql://h/name"],
)
def test_unusable_database_setting_is_one_line(chain: Chain, address: str) -> None:
    chain.configure("storage", database=address)

    run = chain.luigi(task="SyncComplaints")

    assert run.code == 2
    assert re.fullmatch(r"luigi: error: \[storage\] database: .*\n", run.err)
    assert "secret" not in run.err + run.out


def test_second_sync_waits_for_the_first(chain: Chain, served: Serve) -> None:
    server = served(1000)
    chain.configure("ccdb", page_size=2)  # long enough for the second to find the first at work
    command = chain.luigi_command("--ccdb-retries", "600", "--since", "2026-06-01", task="SyncComplaints")
    first = chain.start(*command, "--timestamp", "2026-09-26T1200", url=server.url)
    lock = chain.folder / "data/syncs/all.lock"
    while not lock.exists():
        time.sleep(0.05)
    second = chain.start(*command, "--timestamp", "2026-09-26T1201", url=server.url)

    outputs = [process.communicate(timeout=120) for process in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0)
    assert outputs[0][0].splitlines()[-1].startswith("1,000 new")
    assert outputs[1][0] == "up to date: nothing changed since the last sync\n"
    assert "another process is bringing the database up to date; next at" in outputs[1][1]
    assert len(set(server.asked)) >= len(server.asked) - 1


def test_next_minute_completes_a_killed_sync(chain: Chain, served: Serve) -> None:
    """A kill can come between a commit and the files that follow it."""
    server = served(300)
    chain.configure("ccdb", page_size=20)
    moments = random.Random(2026)
    for at in range(8):
        process = chain.start(
            *chain.luigi_command("--timestamp", f"2026-09-26T12{at:02}", task="SyncComplaints"),
            url=server.url,
        )
        time.sleep(moments.uniform(0.9, 2.2))
        process.kill()
        process.communicate()
        server.sandbox.index.change(1)
        server.sandbox.index.reindex()

    for at in (30, 31):
        run = chain.luigi("--timestamp", f"2026-09-26T12{at:02}", task="SyncComplaints", url=server.url)
        assert run.code == 0

    with Database(chain.folder / "data/complaints.db").reading() as connection:
        stored = connection.exec_driver_sql(
            "SELECT CAST(complaint_id AS text), company_response FROM current_complaints"
        ).all()
    truth = {(row.identifier, row.value("company_response")) for row in server.sandbox.index.rows.values()}
    assert {tuple(row) for row in stored} == {one for one in truth if one[0] in {row[0] for row in stored}}
    assert len(stored) > 250
    assert {path.parent.parent.name for path in chain.files() if path.suffix in (".json", ".csv")} == {
        "all~sync"
    }
