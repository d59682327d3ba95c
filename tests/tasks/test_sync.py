"""The database, kept up to date: against a real API, on both kinds of database."""

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
from luigi_etl.sandbox.index import Row
from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Chain, Luigid, Pipeline, Serve, Served
from tests.version_1 import undo_version_2

pytestmark = pytest.mark.slow

MINUTE = datetime(2026, 9, 26, 12, 0)
DAYS = 90


def minute(number: int) -> datetime:
    return MINUTE + timedelta(minutes=number)


class Syncer:
    """A pipeline, the API it reads, and the minutes it syncs at."""

    def __init__(self, pipeline: Pipeline, served: Served) -> None:
        self.pipeline = pipeline
        self.served = served
        self.index = served.sandbox.index
        pipeline.configure("ccdb", url=served.url, page_size=20, retries=0)

    def sync(self, at: int, **parameters: Any) -> bool:
        return self.pipeline.run(SyncComplaints, timestamp=minute(at), **parameters)

    def asked(self) -> list[dict[str, str]]:
        """Return what was asked since the last call: the parameters of each request."""
        asked = [
            {name: values[-1] for name, values in parse_qs(urlsplit(path).query).items()}
            for path in self.served.asked
        ]
        self.served.sandbox.requests.clear()
        return asked

    def pages(self) -> list[str]:
        """Return the addresses of the pages that came since the last call."""
        pages = [
            path for path, status in self.served.sandbox.requests if status == 200 and "size=0" not in path
        ]
        self.served.sandbox.requests.clear()
        return pages

    def current(self) -> list[tuple[Any, ...]]:
        return self.pipeline.sql(
            "SELECT complaint_id, company_response, state FROM current_complaints ORDER BY complaint_id"
        )

    def truth(self, since: str = "") -> list[tuple[Any, ...]]:
        rows = [row for row in self.index.rows.values() if row.received >= since]
        return sorted((row.identifier, row.value("company_response"), row.value("state")) for row in rows)

    def withdrawn(self) -> list[str]:
        found = self.pipeline.sql(
            "SELECT complaint_id FROM complaints WHERE withdrawn IS NOT NULL ORDER BY 1"
        )
        return [row[0] for row in found]

    def unverified(self) -> list[str]:
        return [row[0] for row in self.pipeline.sql("SELECT complaint_id FROM unverified ORDER BY 1")]

    def script(self, *events: str) -> None:
        """Let events happen at each further request."""
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
        """Return all complaints, as they are held."""
        return self.pipeline.sql("SELECT * FROM complaints ORDER BY complaint_id")

    def forget(self) -> None:
        """Remove all there is: files, and tables."""
        shutil.rmtree(self.pipeline.root)
        with self.pipeline.database.writing() as connection:
            for name in VIEWS:
                connection.exec_driver_sql(f"DROP VIEW {name}")
            metadata.drop_all(connection)

    def outcome(self, at: int) -> str:
        (path,) = self.pipeline.files(f"{minute(at):%Y%m%dT%H%MZ}.run.json")
        return str(json.loads(path.read_text())["outcome"])


@pytest.fixture
def upkeep(pipeline: Pipeline, served: Serve) -> Syncer:
    return Syncer(pipeline, served(300))


FIRST = (MINUTE.date() - timedelta(days=DAYS)).isoformat()


def test_the_first_sync_brings_what_was_received_in_the_last_ninety_days(upkeep: Syncer) -> None:
    assert upkeep.sync(0)
    assert upkeep.current() == upkeep.truth(since=FIRST)
    assert len(upkeep.current()) > 250


def test_of_an_unchanged_api_it_asks_exactly_one_question(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.asked()
    assert upkeep.sync(1)
    (asked,) = upkeep.asked()
    assert asked["size"] == "0"
    assert upkeep.outcome(1) == "synced"


@pytest.mark.parametrize("what", ["arrive", "vanish", "reindex"])
def test_each_sign_of_a_change_is_enough(upkeep: Syncer, what: str) -> None:
    """`total_record_count` and `hits.total` change, or the day of the last indexing alone."""
    upkeep.sync(0)
    getattr(upkeep.index, what)(1)
    upkeep.asked()
    assert upkeep.sync(1)
    assert len(upkeep.asked()) > 1
    assert upkeep.current() == upkeep.truth(since=FIRST)


def test_what_changed_is_in_the_database_and_in_a_file(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.change()
    assert upkeep.sync(1)
    assert upkeep.current() == upkeep.truth(since=FIRST)
    assert len(upkeep.withdrawn()) == 5
    (path,) = [one for one in upkeep.pipeline.files("1201Z.changes.csv") if "~sync" in str(one)]
    with path.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    kinds = [line["change"] for line in lines]
    assert (kinds.count("new"), kinds.count("withdrawn")) == (5, 5)
    assert {line["snapshot"] for line in lines} == {"2026-09-26T12:01Z"}


def test_a_sync_leaves_what_it_changed_and_nothing_else(upkeep: Syncer) -> None:
    upkeep.sync(0)
    left = [str(path.relative_to(upkeep.pipeline.root)) for path in upkeep.pipeline.files()]
    folder = "snapshots/all~sync/2026-09-26/20260926T1200Z"
    assert [name for name in left if not name.startswith("complaints.db") and not name.endswith(".lock")] == [
        f"{folder}.changes.csv",
        f"{folder}.run.json",
    ]
    assert [path.name for path in (upkeep.pipeline.root / "snapshots").iterdir()] == ["all~sync"]


def test_the_same_minute_again_asks_again(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.asked()
    assert upkeep.sync(0)
    assert len(upkeep.asked()) == 1


def test_a_backfill_in_the_very_minute_of_a_sync_is_made(upkeep: Syncer) -> None:
    upkeep.sync(0, days=10)
    assert upkeep.sync(0, since=date(2026, 6, 1))
    assert upkeep.current() == upkeep.truth()


def test_a_backfill_after_an_interrupted_sync_reaches_as_far_as_it_should(
    pipeline: Pipeline, served: Serve
) -> None:
    broken = Syncer(pipeline, served(300, "6:status=403"))
    assert not broken.sync(0, days=30)
    assert broken.sync(1, since=date(2026, 6, 1))
    assert broken.current() == broken.truth()
    assert [path.name for path in (pipeline.root / "snapshots").iterdir()] == ["all~sync"]


def test_what_an_interrupted_sync_changed_is_told_with_what_the_backfill_after_it_did(
    pipeline: Pipeline, served: Serve
) -> None:
    broken = Syncer(pipeline, served(300, "6:status=403"))
    assert not broken.sync(0, days=30)
    assert broken.sync(1, since=date(2026, 6, 1))
    (path,) = [one for one in pipeline.files("1201Z.changes.csv") if "~sync" in str(one)]
    with path.open(newline="") as stream:
        told = [line["complaint_id"] for line in csv.DictReader(stream) if line["change"] == "new"]
    assert sorted(told) == [row[0] for row in broken.truth()]


def changed_dates(upkeep: Syncer, at: int) -> set[str]:
    (path,) = [one for one in upkeep.pipeline.files(f"12{at:02}Z.changes.csv") if "~sync" in str(one)]
    with path.open(newline="") as stream:
        return {line["complaint_id"] for line in csv.DictReader(stream) if line["field"] == "date_received"}


def test_lookups_that_fail_are_made_by_the_next_sync(upkeep: Syncer) -> None:
    """The first lookup is merged when the second fails: each change is reported once."""
    upkeep.sync(0)
    rows = sorted(upkeep.index.rows.values(), key=lambda row: row.key)[-45:]
    upkeep.index.put([{**row.source, "date_received": "2026-01-01T12:00:00+00:00"} for row in rows])
    upkeep.index.reindex()
    search = upkeep.index.search
    upkeep.index.search = _breaking_at(search, 2)  # type: ignore[method-assign]

    assert upkeep.sync(1)
    upkeep.index.search = search  # type: ignore[method-assign]
    assert upkeep.sync(2)

    first, second = changed_dates(upkeep, 1), changed_dates(upkeep, 2)
    assert 0 < len(first) < len(second)
    assert not first & second
    assert first | second == {row.identifier for row in rows}
    assert upkeep.withdrawn() == []


def _breaking_at(search: Any, at: int) -> Any:
    """Let the connections of the lookup of a number break."""
    terms: list[str] = []

    def answer(asked: Any) -> Any:
        if asked.search_term and asked.search_term not in terms:
            terms.append(asked.search_term)
        if asked.search_term in terms[at - 1 : at]:
            raise ConnectionError
        return search(asked)

    return answer


def test_the_newest_csv_of_a_query_stays_when_its_sync_has_read_the_same(upkeep: Syncer) -> None:
    query = "date_received_min=2026-09-20"
    upkeep.pipeline.configure("ccdb", page_size=1000)
    upkeep.pipeline.run(StoreComplaints, timestamp=minute(0), query=query, limit=0)
    latest = upkeep.pipeline.root / "latest" / f"{query}.csv"
    before = latest.read_bytes()
    assert upkeep.sync(5, query=query)
    assert latest.read_bytes() == before


def test_an_interrupted_backfill_is_what_the_next_minute_goes_on_with(
    pipeline: Pipeline, served: Serve
) -> None:
    broken = Syncer(pipeline, served(300, "12:status=403"))
    assert not broken.sync(0, since=date(2026, 6, 1))
    assert broken.sync(1)
    assert broken.current() == broken.truth()


def test_windows_are_read_the_newest_first(upkeep: Syncer) -> None:
    upkeep.sync(0)
    begins = [one["date_received_min"] for one in upkeep.asked() if one["size"] != "0"]
    assert len(set(begins)) > 2
    assert begins == sorted(begins, reverse=True)


def test_counts_are_asked_for_once_a_window_at_most(upkeep: Syncer) -> None:
    upkeep.sync(0)
    asked = upkeep.asked()
    windows = {one["date_received_min"] for one in asked if one["size"] != "0"}
    assert sum(one["size"] == "0" for one in asked) <= 1 + len(windows)


def test_days_and_since_tell_how_far_back_it_reads(upkeep: Syncer) -> None:
    upkeep.sync(0, days=10)
    assert upkeep.current() == upkeep.truth(since="2026-09-16")
    upkeep.sync(1, since=date(2026, 6, 1))
    assert upkeep.current() == upkeep.truth()


def test_a_backfill_is_made_even_where_nothing_changed(upkeep: Syncer) -> None:
    upkeep.sync(0, days=10)
    upkeep.asked()
    upkeep.sync(1, since=date(2026, 6, 1))
    assert len(upkeep.asked()) > 1


def test_after_a_backfill_the_usual_days_are_up_to_date(upkeep: Syncer) -> None:
    upkeep.sync(0, since=date(2026, 6, 1))
    upkeep.asked()
    upkeep.sync(1)
    assert len(upkeep.asked()) == 1


def test_two_queries_are_kept_up_to_date_apart(upkeep: Syncer) -> None:
    upkeep.sync(0, query="state=CA")
    upkeep.sync(0, query="state=TX")
    assert {row[2] for row in upkeep.current()} == {"CA", "TX"}
    upkeep.asked()
    upkeep.sync(1, query="state=CA")
    upkeep.sync(1, query="state=TX")
    assert len(upkeep.asked()) == 2


def test_what_is_of_no_day_the_query_has_is_not_asked_for(upkeep: Syncer) -> None:
    assert upkeep.sync(0, query="date_received_max=2026-01-31")
    assert len(upkeep.asked()) == 1


def _move(upkeep: Syncer, day: str) -> str:
    """Give the newest complaint another day; return its id."""
    newest = max(upkeep.index.rows.values(), key=lambda row: row.key)
    instant = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    source = {**newest.source, "date_received": instant.isoformat()}
    moved = Row(newest.identifier, round(instant.timestamp() * 1000), newest.sent, source)
    upkeep.index._put([moved])
    upkeep.index.reindex()
    return newest.identifier


@pytest.mark.parametrize("day", ["2026-08-01", "2025-01-01"])
def test_a_complaint_that_moved_is_not_withdrawn_wherever_it_went(upkeep: Syncer, day: str) -> None:
    """To another window, or to a day that is not read again: then it is looked up by its id."""
    upkeep.sync(0)
    moved = _move(upkeep, day)
    assert upkeep.sync(1)
    assert upkeep.withdrawn() == []
    assert upkeep.pipeline.sql(
        f"SELECT change, field, new FROM changes WHERE complaint_id = '{moved}' AND change <> 'new'"
    ) == [("changed", "date_received", day)]


def test_vanished_complaints_are_looked_up_once(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.index.vanish(50)
    upkeep.asked()

    assert upkeep.sync(1)

    lookups = [one["search_term"] for one in upkeep.asked() if "search_term" in one]
    assert max(map(len, lookups)) <= 200
    ids = {found for one in lookups for found in re.findall(r"\d+", one)}
    assert len(ids) == 51, "fifty, and a control"
    assert len(upkeep.withdrawn()) == 50
    upkeep.index.reindex()
    upkeep.sync(2)
    assert [one for one in upkeep.asked() if "search_term" in one] == []


def test_more_lookups_than_a_minute_takes_are_left_to_the_next_sync(
    upkeep: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_lookup, "DEFAULT_REQUESTS", 2)
    upkeep.sync(0)
    upkeep.index.vanish(40)

    assert upkeep.sync(1)
    after_one = len(upkeep.withdrawn())
    assert upkeep.sync(2)

    assert 20 < after_one < len(upkeep.withdrawn()) == 40


def _refusing(search: Any) -> Any:
    from luigi_etl.sandbox.index import EngineError

    def refuse(asked: Any) -> Any:
        if asked.search_term:
            raise EngineError
        return search(asked)

    return refuse


def _breaking(search: Any) -> Any:
    """Let each connection break on which something is looked up."""

    def break_off(asked: Any) -> Any:
        if asked.search_term:
            raise ConnectionError
        return search(asked)

    return break_off


def _blind(search: Any) -> Any:
    """Find nothing by a search term, as the API does for a term it reads in another way."""

    def find(asked: Any) -> Any:
        found = search(asked)
        return replace(found, rows=[], total=0) if asked.search_term else found

    return find


def _deaf(search: Any) -> Any:
    """Ignore the search term."""
    return lambda asked: search(replace(asked, search_term=""))


@pytest.mark.parametrize("fault", [_refusing, _breaking, _blind, _deaf])
def test_a_lookup_that_proves_nothing_withdraws_nothing(upkeep: Syncer, fault: Any) -> None:
    """The complaints stay unverified, and the next sync looks them up, though nothing else changed."""
    upkeep.sync(0)
    gone = sorted(upkeep.index.rows)[:3]
    upkeep.index.remove(gone)
    search = upkeep.index.search
    upkeep.index.search = fault(search)  # type: ignore[method-assign]

    assert upkeep.sync(1)

    assert (upkeep.withdrawn(), upkeep.unverified()) == ([], gone)
    upkeep.index.search = search  # type: ignore[method-assign]
    assert upkeep.sync(2)
    assert (upkeep.withdrawn(), upkeep.unverified()) == (gone, [])


def test_a_reclassified_complaint_is_not_withdrawn(upkeep: Syncer) -> None:
    upkeep.sync(0, query="state=FL")
    moved = [row for row in upkeep.index.rows.values() if row.value("state") == "FL"][:10]
    upkeep.index.put({**row.source, "state": "TX"} for row in moved)
    upkeep.index.reindex()

    assert upkeep.sync(1, query="state=FL")

    assert upkeep.withdrawn() == []
    assert sum(row[2] == "TX" for row in upkeep.current()) == 10


def test_false_withdrawals_of_version_1_are_undone(upkeep: Syncer) -> None:
    """Those of complaints that exist, history included; the others keep their minute."""
    upkeep.sync(0)
    exists, gone = sorted(upkeep.index.rows)[:2]
    upkeep.index.remove([gone])
    with upkeep.pipeline.database.writing() as connection:
        make_version_1(connection, minute(3), withdrawn=[exists, gone])

    assert upkeep.sync(5)

    assert upkeep.withdrawn() == [gone]
    assert upkeep.unverified() == []
    told = upkeep.pipeline.sql(
        f"SELECT complaint_id, change FROM changes WHERE complaint_id IN ('{exists}', '{gone}') ORDER BY 2, 1"
    )
    assert told == [*((one, "new") for one in sorted([exists, gone])), (gone, "withdrawn")]
    assert upkeep.pipeline.sql("SELECT DISTINCT withdrawn FROM complaints WHERE withdrawn IS NOT NULL") in (
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


def test_an_empty_index_ends_a_sync_before_it_reads(pipeline: Pipeline, served: Serve) -> None:
    upkeep = Syncer(pipeline, served(300))
    upkeep.sync(0)
    before = upkeep.everything()
    upkeep.script("empty")

    assert not upkeep.sync(1)

    assert upkeep.everything() == before
    assert "its index is empty" in upkeep.error(1)


def test_a_half_loaded_index_withdraws_nothing(upkeep: Syncer) -> None:
    upkeep.sync(0)
    before = upkeep.current()
    upkeep.script("half")

    assert not upkeep.sync(1)

    assert (upkeep.current(), upkeep.withdrawn()) == (before, [])
    assert re.match(r"held back: \d+ of \d+ complaints would be withdrawn", upkeep.error(1))
    assert [one for one in upkeep.asked() if "search_term" in one] == []
    assert not upkeep.sync(2), "as long as it is so"
    upkeep.script()
    assert upkeep.sync(3)
    assert (upkeep.current(), upkeep.unverified()) == (before, [])


def lose_two_thirds(upkeep: Syncer) -> None:
    upkeep.sync(0)
    gone = sorted(upkeep.index.rows)[:200]
    upkeep.index.remove(gone)
    upkeep.index.reindex()


def test_a_later_day_confirms_an_implausible_loss(upkeep: Syncer) -> None:
    lose_two_thirds(upkeep)
    assert not upkeep.sync(1)

    assert upkeep.sync(24 * 60)

    assert len(upkeep.withdrawn()) > 180
    assert upkeep.current() == upkeep.truth(since=FIRST)


def test_an_option_lets_an_implausible_loss_through(upkeep: Syncer) -> None:
    lose_two_thirds(upkeep)
    assert not upkeep.sync(1)

    upkeep.pipeline.configure("guard", accept="true")

    assert upkeep.sync(2)
    assert len(upkeep.withdrawn()) > 180


def test_no_other_sync_looks_up_what_is_held_back(upkeep: Syncer) -> None:
    """Neither one of another query, nor one of fewer days."""
    upkeep.pipeline.configure("guard", lost_complaints=10)
    upkeep.sync(0, query="state=FL")
    upkeep.sync(0, query="state=WY")
    upkeep.script("half")
    assert not upkeep.sync(1, query="state=FL")

    upkeep.sync(2, query="state=WY", days=30)
    assert not upkeep.sync(3, query="state=FL", days=10)

    assert upkeep.withdrawn() == []


def test_a_larger_loss_is_not_confirmed_by_a_smaller_one(upkeep: Syncer) -> None:
    upkeep.sync(0)
    rows = sorted(upkeep.index.rows)
    upkeep.index.remove(rows[:120])
    upkeep.index.reindex()
    assert not upkeep.sync(1)
    upkeep.index.remove(rows[120:280])
    upkeep.index.reindex()

    assert not upkeep.sync(24 * 60)

    assert set(upkeep.withdrawn()) <= set(rows[:120])


def test_windows_of_another_state_are_read_again(pipeline: Pipeline, served: Serve) -> None:
    """The index is whole when the sync is planned, half loaded when it reads, and whole again."""
    upkeep = Syncer(pipeline, served(300, "2:half"))
    pipeline.configure("ccdb", page_size=1000)
    assert upkeep.sync(0)
    assert len(upkeep.current()) < 200

    assert upkeep.sync(1)

    assert upkeep.current() == upkeep.truth(since=FIRST)


def test_a_second_sync_of_a_minute_is_followed_by_another(upkeep: Syncer) -> None:
    """Within its minute nothing can be seen to be missing."""
    upkeep.sync(0)
    upkeep.index.vanish(5)
    upkeep.sync(0)

    assert upkeep.sync(1)

    assert len(upkeep.withdrawn()) == 5


def test_a_search_is_synced_beside_unverified_complaints(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.index.remove(sorted(upkeep.index.rows)[:3])
    search = upkeep.index.search
    upkeep.index.search = _refusing(search)  # type: ignore[method-assign]
    upkeep.sync(1)
    upkeep.index.search = search  # type: ignore[method-assign]

    assert upkeep.sync(2, query="search_term=mortgage")
    assert len(upkeep.unverified()) == 3


def test_data_that_the_cfpb_flags_proves_no_absence(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.index.vanish(5)
    upkeep.script("stale")

    assert upkeep.sync(1)

    assert (upkeep.withdrawn(), upkeep.unverified()) == ([], [])


def test_rejected_hits_keep_a_sync_unfinished(upkeep: Syncer) -> None:
    """They are kept; every valid complaint is merged; an hour later they are read again."""
    upkeep.sync(0)
    upkeep.index.arrive(5)
    upkeep.script("tags_list")

    assert not upkeep.sync(1)

    assert "hits are no valid complaints" in upkeep.error(1)
    assert upkeep.pipeline.sql("SELECT count(*) FROM syncs WHERE NOT is_finished") == [(1,)]
    (rejected,) = upkeep.pipeline.files("1201Z.rejected.jsonl")
    assert len(rejected.read_text().splitlines()) > 250
    assert not upkeep.sync(2)
    upkeep.script()
    assert upkeep.sync(62)
    assert upkeep.current() == upkeep.truth(since=FIRST)


def test_a_few_rejected_hits_fail_no_sync(upkeep: Syncer) -> None:
    row = max(upkeep.index.rows.values(), key=lambda row: row.key)
    upkeep.index.put([{**row.source, "state": ["CA"]}])

    assert upkeep.sync(0)

    assert len(upkeep.pipeline.files("1200Z.rejected.jsonl")) == 1
    assert row.identifier not in {one[0] for one in upkeep.current()}


def test_a_renamed_field_fails_a_sync_that_merged_the_rest(upkeep: Syncer) -> None:
    upkeep.sync(0)
    upkeep.index.arrive(5)
    upkeep.script("rename")

    assert not upkeep.sync(1)

    assert "the API no longer sends zip_code; the API sends a new field zip5" in upkeep.error(1)
    assert upkeep.current() == upkeep.truth(since=FIRST)
    upkeep.pipeline.configure("guard", expected_fields="zip_code,zip5")
    assert upkeep.sync(2)


def test_a_sync_touches_no_snapshot_of_the_same_query(upkeep: Syncer) -> None:
    """Of the same minute, too: pages, CSV and the newest CSV stay."""
    query = f"date_received_min={FIRST}"
    upkeep.pipeline.configure("ccdb", page_size=1000)
    upkeep.pipeline.run(StoreComplaints, timestamp=minute(0), query=query, limit=0)
    before = {path: path.read_bytes() for path in upkeep.pipeline.files()}

    assert upkeep.sync(0)

    assert {path: path.read_bytes() for path in before} == before


# --- interrupted ---------------------------------------------------------------------------------


def test_interrupted_at_any_request_it_ends_the_same_and_fetches_no_page_twice(
    pipeline: Pipeline, served: Serve
) -> None:
    whole = Syncer(pipeline, served(300))
    whole.sync(0)
    expected, requests = whole.everything(), len(whole.served.asked)
    assert requests > 15
    for at in range(1, requests + 1):
        whole.forget()
        upkeep = Syncer(pipeline, served(300, f"{at}:status=403"))
        assert not upkeep.sync(0), at
        assert upkeep.sync(0), at
        assert upkeep.everything() == expected, at
        pages = upkeep.pages()
        assert len(set(pages)) == len(pages), at


def test_a_later_minute_goes_on_with_what_an_earlier_one_began(upkeep: Syncer, served: Serve) -> None:
    broken = Syncer(upkeep.pipeline, served(300, "9:status=403"))
    assert not broken.sync(0)
    before = broken.pages()
    assert broken.sync(1)
    assert not set(before) & set(broken.pages())
    assert broken.current() == broken.truth(since=FIRST)
    assert broken.outcome(1) == "synced"


def test_what_only_a_later_minute_reads_is_of_that_minute(pipeline: Pipeline, served: Serve) -> None:
    broken = Syncer(pipeline, served(300, *(f"{at}:status=403" for at in range(9, 50))))
    assert not broken.sync(0)
    upkeep = Syncer(pipeline, served(300))
    assert upkeep.sync(1)
    seen = upkeep.pipeline.sql("SELECT DISTINCT last_seen FROM complaints ORDER BY 1")
    assert [str(row[0])[:16] for row in seen] == ["2026-09-26 12:00", "2026-09-26 12:01"]


def test_what_is_read_again_because_the_api_changed_is_of_the_minute_it_is_read(
    upkeep: Syncer, served: Serve
) -> None:
    """A window was half read: its pages are of no use any more."""
    broken = Syncer(upkeep.pipeline, served(300, "9:status=403"))
    assert not broken.sync(0)
    broken.index.change(300)
    broken.index.reindex()
    assert broken.sync(1)
    changed = set(broken.truth())
    seen = broken.pipeline.sql("SELECT complaint_id, company_response, state, last_seen FROM complaints")
    assert {str(row[3])[:16] for row in seen if row[:3] in changed} == {"2026-09-26 12:01"}


def test_a_window_that_fails_keeps_none_of_the_others_from_the_database(
    upkeep: Syncer, served: Serve
) -> None:
    broken = Syncer(upkeep.pipeline, served(300, "9:status=403"))
    assert not broken.sync(0)
    windows = broken.pipeline.sql("SELECT count(*) FROM snapshots")[0][0]
    assert broken.sync(1)
    assert windows == broken.pipeline.sql("SELECT count(*) FROM snapshots")[0][0] - 1


def test_files_that_an_ended_sync_left_are_removed_by_the_next_run(upkeep: Syncer) -> None:
    """It was killed after its end was in the database, before they were gone."""
    upkeep.sync(0)
    left = upkeep.pipeline.root / "syncs/all/snapshots/x/2026-09-26/20260926T1200Z.parsed.jsonl"
    left.parent.mkdir(parents=True)
    left.touch()

    upkeep.sync(1)

    assert [path.name for path in (upkeep.pipeline.root / "syncs").iterdir()] == ["all.lock"]


def test_a_failed_sync_is_on_record(upkeep: Syncer, served: Serve) -> None:
    broken = Syncer(upkeep.pipeline, served(300, "every 1:status=403"))
    assert not broken.sync(0)
    assert broken.outcome(0) == "failed"


def test_an_id_no_search_term_can_hold_costs_no_sync(upkeep: Syncer) -> None:
    row = next(iter(upkeep.index.rows.values()))
    upkeep.index.put([{**row.source, "complaint_id": "1" * 50}])
    upkeep.sync(0)
    upkeep.index.remove(["1" * 50])
    assert upkeep.sync(1)
    assert (upkeep.withdrawn(), upkeep.unverified()) == ([], ["1" * 50])


# --- as its user runs it -------------------------------------------------------------------------


def test_under_luigid_a_sync_and_its_windows_are_shown_done(
    chain: Chain, served: Serve, luigid: Luigid
) -> None:
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


def test_luigid_shows_what_a_sync_under_way_reads(chain: Chain, served: Serve, luigid: Luigid) -> None:
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


def test_an_api_that_shows_nothing_new_is_a_line(chain: Chain, served: Serve) -> None:
    url = served(50).url
    chain.luigi("--timestamp", "2026-11-22T0926", task="SyncComplaints", url=url)
    run = chain.luigi("--timestamp", "2026-11-22T0927", task="SyncComplaints", url=url)
    assert (run.code, run.err, run.out) == (0, "", "up to date: nothing changed since the last sync\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--days", "0"), "days: 0 is not a whole number from 1 to 36500"),
        (("--since", "2026-13-01"), "since: '2026-13-01' is not a day (UTC) written as 2026-11-22"),
        (("--query", "stat=CA"), "query: the API knows no filter 'stat'; did you mean 'state'?"),
    ],
)
def test_what_it_cannot_use_is_refused_in_a_line(chain: Chain, arguments: tuple[str, ...], said: str) -> None:
    run = chain.luigi(*arguments, task="SyncComplaints")
    assert (run.code, run.err) == (2, f"luigi: error: {said}\n")


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


def test_two_syncs_at_once_are_one_after_the_other(chain: Chain, served: Serve) -> None:
    server = served(1000)
    chain.configure("ccdb", page_size=2)  # long enough for the second to find the first at work
    command = chain.luigi_command("--ccdb-retries", "600", "--since", "2026-06-01", task="SyncComplaints")
    first = chain.start(*command, "--timestamp", "2026-09-26T1200", url=server.url)
    lock = chain.folder / "data/syncs/all.lock"
    while not lock.exists():
        time.sleep(0.05)
    second = chain.start(*command, "--timestamp", "2026-09-26T1201", url=server.url)
    told = [process.communicate(timeout=120) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert told[0][0].splitlines()[-1].startswith("1,000 new")
    assert told[1][0] == "up to date: nothing changed since the last sync\n"
    assert "another process is bringing the database up to date; next at" in told[1][1]
    assert len(set(server.asked)) >= len(server.asked) - 1


def test_killed_at_any_moment_the_next_minute_completes_it(chain: Chain, served: Serve) -> None:
    """Also between what the database holds and what the files say."""
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
        held = connection.exec_driver_sql(
            "SELECT complaint_id, company_response FROM current_complaints"
        ).all()
    truth = {(row.identifier, row.value("company_response")) for row in server.sandbox.index.rows.values()}
    assert {tuple(row) for row in held} == {one for one in truth if one[0] in {row[0] for row in held}}
    assert len(held) > 250
    assert {path.parent.parent.name for path in chain.files() if path.suffix in (".json", ".csv")} == {
        "all~sync"
    }
