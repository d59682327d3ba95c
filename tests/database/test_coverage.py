"""Coverage of the database, and warnings about queries that ask for more."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import luigi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, NullPool, create_engine, text

from luigi_etl import SyncComplaints
from luigi_etl.api.query import Query, parse_query
from luigi_etl.cli.main import run
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import confirm, covered, is_confirmation_due, rebuild, record_snapshot
from luigi_etl.database.covered_days import CoverageRow, ranges
from luigi_etl.database.doubts import contains, doubts, find_gaps
from luigi_etl.database.export import as_csv, matching
from luigi_etl.database.merge import merge
from luigi_etl.database.migration import create_or_migrate
from tests.conftest import Beside, Chain, Pipeline, Serve
from tests.made import taken
from tests.version_1 import undo_version_2

NOW = datetime(2026, 11, 27, 9, 26)
SYNCED = datetime(2026, 9, 26, 12, 0)  # the sandbox's current time
TODAY = NOW.date()
DAY = timedelta(days=1)
Source = dict[str, object]

VIEW = "SELECT query, first_day, last_day, as_of, newest_as_of, complete, newest FROM coverage_by_query"


def complaint(number: int, **fields: object) -> Source:
    return {"complaint_id": str(number), "date_received": "2026-11-01", "state": "CA", **fields}


def at(number: int) -> datetime:
    """Return a minute of this morning."""
    return NOW.replace(minute=number)


def query(*parts: str) -> Query:
    return parse_query("&".join(part for part in parts if part))


def days(first: date | None, last: date | None = None) -> str:
    bounds = {"date_received_min": first, "date_received_max": last}
    return "&".join(f"{name}={day}" for name, day in bounds.items() if day)


def row(
    filters: str, first: str | None, last: str | None, as_of: datetime = NOW, limit: int = 0
) -> CoverageRow:
    return CoverageRow(filters, _day(first), _day(last), as_of, limit)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


class Merges:
    """A database, with a method that merges snapshots into it."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self._root = root

    def merge(self, minute: datetime, *sources: Mapping[str, object], **options: Any) -> None:
        """Merge a snapshot of these complaints; it is complete by default."""
        merge(self.database, taken(self._root, minute, sources, **options))

    def covered(self) -> list[CoverageRow]:
        with self.database.reading() as connection:
            return covered(connection)

    def doubts(self, question: str = "") -> list[str]:
        with self.database.reading() as connection:
            return doubts(connection, parse_query(question), NOW)

    def view(self) -> list[tuple[Any, ...]]:
        """Return the view, with days and minutes as text."""
        with self.database.reading() as connection:
            found = connection.execute(text(f"{VIEW} ORDER BY query, newest, first_day"))
            return [tuple(map(_plain, one)) for one in found]

    def make_version_1(self, beside: Beside) -> None:
        undo_version_2(beside, is_file=self.database.name.endswith(".db"))


def _plain(value: Any) -> Any:
    return str(value)[:16] if isinstance(value, date) else value


@pytest.fixture
def merges(database: Database, tmp_path: Path) -> Merges:
    return Merges(database, tmp_path / "data")


@pytest.fixture
def connection() -> Iterator[Connection]:
    """Give a connection to an SQLite database in memory, with tables."""
    with in_memory() as connection:
        yield connection


def in_memory() -> Connection:
    connection = create_engine("sqlite://", poolclass=NullPool).connect()
    create_or_migrate(connection)
    return connection


def record(connection: Connection, minute: datetime, *parts: str, limit: int = 0, whole: bool = True) -> None:
    record_snapshot(connection, minute, query(*parts), limit, is_whole=whole)


# --- recording -----------------------------------------------------------------------------------


def test_complete_snapshot_covers_its_query(merges: Merges) -> None:
    merges.merge(NOW, complaint(1), query="state=CA&date_received_min=2026-10-01")

    assert merges.view() == [
        ("state=CA", "2026-10-01", None, "2026-11-27 09:26", "2026-11-27 09:26", True, None)
    ]


@pytest.mark.slow
def test_limited_snapshot_covers_the_newest(merges: Merges) -> None:
    merges.merge(NOW, complaint(1), limit=1, total=40)

    assert merges.view() == [("", None, None, "2026-11-27 09:26", "2026-11-27 09:26", False, 1)]


def test_rejected_complaint_is_not_covered(merges: Merges) -> None:
    merges.merge(NOW, complaint(1), complaint(2, date_received="never"))

    assert merges.covered() == []


def test_failed_merge_records_nothing(merges: Merges) -> None:
    merges.merge(at(1), complaint(1), query="state=CA")

    with pytest.raises(RuntimeError), merges.database.writing() as connection:
        record(connection, at(2), "state=NY")
        raise RuntimeError

    assert merges.covered() == [row("state=CA", None, None, at(1))]


def test_adjoining_windows_are_one_row(connection: Connection) -> None:
    for first, last in [("2026-11-20", None), ("2026-11-10", "2026-11-19"), ("2026-11-01", "2026-11-09")]:
        record(connection, NOW, f"date_received_min={first}", (last and f"date_received_max={last}") or "")

    assert covered(connection) == [row("", "2026-11-01", None)]


def test_newer_observation_replaces_the_days_it_contains(connection: Connection) -> None:
    record(connection, at(1), "state=CA")
    record(connection, at(5), "state=CA&date_received_min=2026-11-01")

    assert covered(connection) == [
        row("state=CA", None, "2026-10-31", at(1)),
        row("state=CA", "2026-11-01", None, at(5)),
    ]


def test_newest_few_are_implied_by_all(connection: Connection) -> None:
    record(connection, at(1), limit=10, whole=False)
    record(connection, at(5))

    assert covered(connection) == [row("", None, None, at(5))]


def test_newest_few_are_kept_once(connection: Connection) -> None:
    record(connection, at(5), limit=10, whole=False)
    record(connection, at(7), limit=10, whole=False)
    record(connection, at(6), limit=10, whole=False)

    assert covered(connection) == [row("", None, None, at(7), 10)]


def test_months_of_syncs_are_one_row_of_the_view(connection: Connection) -> None:
    start = NOW - 100 * DAY
    for number in range(101):
        today = start + number * DAY
        record(connection, today, days((today - 90 * DAY).date()))

    (only,) = connection.execute(text(VIEW))

    first = (start - 90 * DAY).date()
    assert (only.first_day, only.last_day) == (str(first), None)
    assert (only.as_of, only.newest_as_of) == (f"{start:%Y-%m-%d %H:%M}", f"{NOW:%Y-%m-%d %H:%M}")


def test_view_and_ranges_agree(connection: Connection) -> None:
    record(connection, at(1), "state=CA&date_received_max=2026-10-31")
    record(connection, at(2), "state=CA&date_received_min=2026-11-01")
    record(connection, at(3), "state=CA", limit=7, whole=False)
    record(connection, at(3), "state=CA&date_received_max=2026-11-20", limit=7, whole=False)
    record(connection, at(4), "date_received_min=2026-11-01&date_received_max=2026-11-05")
    record(connection, at(4), "date_received_min=2026-11-09")

    found = {
        (one.query, one.first_day, one.last_day, one.as_of, one.newest_as_of, one.newest or 0)
        for one in connection.execute(text(VIEW))
    }

    assert found == {
        (
            one.query,
            one.first_day and str(one.first_day),
            one.last_day and str(one.last_day),
            f"{one.as_of:%Y-%m-%d %H:%M}",
            f"{one.newest_as_of:%Y-%m-%d %H:%M}",
            one.row_limit,
        )
        for one in ranges(covered(connection))
    }


BOUND = st.none() | st.dates(date(2026, 11, 1), date(2026, 11, 8))
OBSERVATION = st.tuples(BOUND, BOUND, st.integers(0, 5), st.sampled_from([0, 0, 0, 10]))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(OBSERVATION, max_size=6), st.randoms(use_true_random=False))
def test_order_of_observations_does_not_matter(seen: list[Any], random: Any) -> None:
    seen = [one for one in seen if not (one[0] and one[1]) or one[0] <= one[1]]
    shuffled = random.sample(seen, len(seen))
    held = []
    for observations in (seen, shuffled):
        with in_memory() as connection:
            for first, last, minute, limit in observations:
                record(connection, at(minute), days(first, last), limit=limit, whole=not limit)
            held.append(covered(connection))

    assert held[0] == held[1]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(OBSERVATION, max_size=6))
def test_newest_observation_of_each_day_counts(seen: list[Any]) -> None:
    seen = [one for one in seen if not one[3] and (not (one[0] and one[1]) or one[0] <= one[1])]
    with in_memory() as connection:
        for first, last, minute, _ in seen:
            record(connection, at(minute), days(first, last))
        rows = covered(connection)

    for day in (date(2026, 10, 31) + number * DAY for number in range(10)):
        expected = [at(one[2]) for one in seen if (one[0] or day) <= day <= (one[1] or day)]
        held = [one.as_of for one in rows if (one.first_day or day) <= day <= (one.last_day or day)]
        assert held == [max(expected)] if expected else held == []


# --- confirmation by syncs -----------------------------------------------------------------------


def test_unchanged_index_confirms_the_days_of_a_sync(connection: Connection) -> None:
    synced = NOW - 3 * DAY
    record(connection, synced - 9 * DAY, "state=CA")
    record(connection, synced, "state=CA&date_received_min=2026-09-01")

    assert is_confirmation_due(connection, NOW, query("state=CA"), synced)
    confirm(connection, NOW, query("state=CA"), synced)

    assert covered(connection) == [
        row("state=CA", None, "2026-08-31", synced - 9 * DAY),
        row("state=CA", "2026-09-01", None),
    ]


@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=5), DAY])
def test_confirmation_is_due_once_a_day(connection: Connection, age: timedelta) -> None:
    record(connection, NOW - age)

    assert not is_confirmation_due(connection, NOW, query(), NOW - age)


@pytest.mark.slow
def test_sync_covers_its_days_in_one_row(pipeline: Pipeline, served: Serve) -> None:
    pipeline.configure("ccdb", url=served(200).url, page_size=20, retries=0)

    assert pipeline.run(SyncComplaints, timestamp=SYNCED, query="state=CA", since=date(2026, 6, 1))

    assert _covered(pipeline) == [row("state=CA", "2026-06-01", None, SYNCED)]


@pytest.mark.slow
def test_sync_of_an_unchanged_index_confirms_coverage(pipeline: Pipeline, served: Serve) -> None:
    pipeline.configure("ccdb", url=served(200).url, page_size=20, retries=0)
    pipeline.run(SyncComplaints, timestamp=SYNCED, since=date(2026, 6, 1))
    later = SYNCED + 3 * DAY

    assert pipeline.run(SyncComplaints, timestamp=later, since=date(2026, 6, 1))

    assert _covered(pipeline) == [row("", "2026-06-01", None, later)]


def _covered(pipeline: Pipeline) -> list[CoverageRow]:
    with pipeline.database.reading() as connection:
        return covered(connection)


# --- version 1 -----------------------------------------------------------------------------------


@pytest.fixture
def older(merges: Merges, beside: Beside) -> Merges:
    """Give a database of version 1 that holds snapshots."""
    merges.merge(at(1), complaint(1), query="state=CA")
    merges.merge(at(5), complaint(1), query="state=CA&date_received_min=2026-10-01")
    merges.merge(at(7), complaint(1), limit=1, total=9)
    merges.make_version_1(beside)
    return merges


EXPECTED = [
    row("", None, None, at(7), 1),
    row("state=CA", None, "2026-09-30", at(1)),
    row("state=CA", "2026-10-01", None, at(5)),
]


def test_coverage_of_an_older_version_is_derived(older: Merges) -> None:
    assert older.covered() == EXPECTED


def test_migration_fills_the_coverage_table(older: Merges, beside: Beside) -> None:
    with older.database.writing():
        pass

    assert beside("SELECT count(*) FROM coverage") == [(3,)]
    assert older.covered() == EXPECTED


def test_rebuild_drops_later_snapshots(merges: Merges) -> None:
    merges.merge(at(1), complaint(1), query="state=CA")
    merges.merge(at(2), complaint(1), query="tags=Servicemember")
    merges.merge(at(5), complaint(1), query="state=CA&date_received_min=2026-10-01")

    with merges.database.writing() as connection:
        connection.execute(text("DELETE FROM history"))
        connection.execute(text("DELETE FROM snapshots WHERE query LIKE '%date_received_min%'"))
        rebuild(connection, until=at(2))

    assert merges.covered() == [
        row("state=CA", None, None, at(1)),
        row("tags=Servicemember", None, None, at(2)),
    ]


# --- containment of queries ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        ("", "state=CA"),
        ("", "not_state=CA"),
        ("state=CA", "state=CA"),
        ("state=CA", "state=CA&product=Mortgage"),
        ("state=CA&state=NY", "state=NY"),
        ("state=CA", "state=CA&date_received_min=2026-01-01"),
        ("date_received_min=2026-11-01", ""),
        ("product=Debt", "product=Debt•Medical"),
        ("product=Debt•Medical&product=Debt•Auto", "product=Debt•Medical"),
        ("not_state=CA", "not_state=CA&product=Mortgage"),
        ("company_received_min=2026-01-01", "company_received_min=2026-02-01"),
        ("company_received_max=2026-03-01", "company_received_max=2026-02-01"),
    ],
)
def test_query_contains_a_narrower_one(wider: str, narrower: str) -> None:
    assert contains(parse_query(wider), parse_query(narrower))


@pytest.mark.parametrize(
    ("narrower", "wider"),
    [
        ("state=CA", ""),
        ("state=NY", "state=CA"),
        ("state=CA", "state=CA&state=NY"),
        ("state=CA&product=Mortgage", "state=CA"),
        ("product=Debt•Medical", "product=Debt"),
        ("product=Debt•Medical", "product=Debt•Medical&product=Debt•Auto"),
        ("not_state=CA", ""),
        ("not_state=CA&not_product=Mortgage", "not_state=CA"),
        ("not_state=CA&not_state=NY", "not_state=CA"),
        ("company_received_min=2026-02-01", "company_received_min=2026-01-01"),
        ("company_received_max=2026-02-01", ""),
        ("search_term=loan", ""),
        ("search_term=loan", "state=CA"),
    ],
)
def test_query_does_not_contain_a_wider_one(narrower: str, wider: str) -> None:
    assert not contains(parse_query(narrower), parse_query(wider))


# --- warnings ------------------------------------------------------------------------------------

SYNC = "`luigi --module luigi_etl SyncComplaints --local-scheduler --since"
LAST_90_DAYS = [row("state=CA", "2026-08-29", None)]


def test_covered_question_raises_no_doubt() -> None:
    assert find_gaps(query("state=CA&date_received_min=2026-08-29"), LAST_90_DAYS, NOW) == []


def test_earlier_days_are_named_with_the_remedy() -> None:
    assert find_gaps(query("state=CA"), LAST_90_DAYS, NOW) == [
        "the database covers state=CA from 2026-08-29 on, as of 2026-11-27 09:26 UTC; the query asks "
        f"for more (until 2026-08-28): run {SYNC} 2011-12-01 --query 'state=CA'`"
    ]


@pytest.mark.parametrize(
    ("question", "rows", "expected"),
    [
        ("", LAST_90_DAYS, f"only state=CA from 2026-08-29 on, .* for more: run {SYNC} 2011-12-01`$"),
        ("", [], "^the database covers no query completely; "),
        ("", [row("", None, None, NOW, 10)], "covers only the newest 10 of all complaints, as of 2026-11-27"),
        ("", [row("", None, "2026-10-31")], f"\\(from 2026-11-01 on\\): run {SYNC} 2026-11-01`$"),
        ("", [row("", None, "2026-10-01"), row("", "2026-10-03", None)], "for more \\(of 2026-10-02\\): run"),
        ("date_received_max=2020-01-01", LAST_90_DAYS, "--query 'date_received_max=2020-01-01'`$"),
        ("state=NY&state=CA", LAST_90_DAYS, "--query 'state=CA&state=NY'`$"),
        ("", [row("", None, None, NOW - 3 * DAY)], "^the database covers all complaints as of 2026-11-24"),
        (
            "",
            [row("", None, "2026-08-28", NOW - 30 * DAY), row("", "2026-08-29", None)],
            "covers all complaints until 2026-08-28 as of 2026-10-28 09:26 UTC only; ",
        ),
        ("date_received_min=2026-11-27", [row("", None, None, NOW - DAY)], "as of 2026-11-26 09:26 UTC only"),
    ],
)
def test_uncovered_days_are_named(question: str, rows: list[CoverageRow], expected: str) -> None:
    (line,) = find_gaps(parse_query(question), rows, NOW)

    assert re.search(expected, line), line


@pytest.mark.parametrize(
    ("question", "rows"),
    [
        ("", [row("", None, None)]),
        ("", [row("", "2011-12-01", None, NOW - DAY)]),
        ("", [row("", None, "2026-11-27")]),
        ("date_received_max=2026-10-31", [row("", None, "2026-10-31")]),
        ("state=CA", [row("", "2026-11-01", None), row("state=CA", None, "2026-10-31")]),
    ],
)
def test_covered_days_raise_no_doubt(question: str, rows: list[CoverageRow]) -> None:
    assert find_gaps(parse_query(question), rows, NOW) == []


def test_query_that_is_no_longer_valid_covers_nothing() -> None:
    (line,) = find_gaps(query("state=CA"), [row("format=csv", None, None)], NOW)

    assert line.startswith("the database covers only format=csv")


def test_changed_tag_is_doubted(merges: Merges) -> None:
    merges.merge(at(1), complaint(1, tags="Servicemember"), complaint(2, tags="Servicemember"))
    merges.merge(at(5), complaint(2, tags="Servicemember"), query="tags=Servicemember")

    assert merges.doubts("tags=Servicemember") == [
        f"1 complaint of these may no longer match tags=Servicemember; to make sure run {SYNC} 2011-12-01`"
    ]


def test_unverified_complaint_is_doubted(merges: Merges, beside: Beside) -> None:
    merges.merge(at(1), complaint(1), complaint(2, state="NY"))
    beside("CREATE TABLE IF NOT EXISTS unverified (complaint_id TEXT, since TIMESTAMP)")
    beside("INSERT INTO unverified (complaint_id, since) VALUES ('1', '2026-11-27 09:26')")

    assert merges.doubts("state=NY") == []
    assert merges.doubts("state=CA") == [
        "1 complaint of these may be withdrawn or changed; the next SyncComplaints checks them"
    ]


# --- no warning means no difference --------------------------------------------------------------

STATES = ["CA", "NY"]
DAYS = [date(2026, 11, 1) + number * DAY for number in range(3)]
TAGS = ["Servicemember", None]
WORLD = st.lists(  # three complaints: state, day and tags, or None for a missing one
    st.none() | st.tuples(st.sampled_from(STATES), st.sampled_from(DAYS), st.sampled_from(TAGS)),
    min_size=3,
    max_size=3,
)
FILTERS = ["", "state=CA", "state=NY", "not_state=NY", "tags=Servicemember", "tags=Servicemember&state=CA"]
DAY_OR_NONE = st.sampled_from([None, None, None, *DAYS])
ASKED = st.tuples(st.sampled_from(FILTERS), DAY_OR_NONE, DAY_OR_NONE).filter(
    lambda asked: not (asked[1] and asked[2] and asked[1] > asked[2])
)


def matches(one: tuple[str, date, str | None], asked: tuple[str, date | None, date | None]) -> bool:
    """Return whether a complaint matches a query as in the API."""
    filters, first, last = asked
    state, day, tags = one
    states = {pair[6:] for pair in filters.split("&") if pair.startswith("state=")}
    return (
        (not states or state in states)
        and (filters != "not_state=NY" or state != "NY")
        and ("tags" not in filters or tags == "Servicemember")
        and (first or day) <= day <= (last or day)
    )


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=WORLD,
    now=WORLD,
    old=st.lists(ASKED, max_size=2),
    new=st.lists(ASKED, min_size=1, max_size=3),
    question=ASKED,
)
def test_answer_without_a_doubt_is_the_truth(
    tmp_path_factory: pytest.TempPathFactory,
    before: Sequence[Any],
    now: Sequence[Any],
    old: list[Any],
    new: list[Any],
    question: Any,
) -> None:
    """The index changes between the old snapshots and the new ones."""
    root = tmp_path_factory.mktemp("data")
    merges = Merges(Database(root / "complaints.db"), root)
    asked_for = str(query(question[0], days(*question[1:])))
    for start, world, snapshots in ((NOW - 30 * DAY, before, old), (at(1), now, new)):
        for number, asked in enumerate(snapshots):
            found = [
                complaint(identity, state=one[0], date_received=str(one[1]), tags=one[2])
                for identity, one in enumerate(world)
                if one and matches(one, asked)
            ]
            minute = start + timedelta(minutes=number)
            merges.merge(minute, *found, query=str(query(asked[0], days(*asked[1:]))))

    is_certain = not merges.doubts(asked_for)

    truth = {str(identity) for identity, one in enumerate(now) if one and matches(one, question)}
    assert not is_certain or exported(merges.database, asked_for) == truth


def exported(database: Database, question: str) -> set[str]:
    with matching(database, parse_query(question)) as rows:
        lines = b"".join(block.lines for block in as_csv(rows)).decode()
    return {one[-1] for one in list(csv.reader(io.StringIO(lines)))[1:]}


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def configured(database_address: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process use the test's database."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "database", str(database_address))
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)


@pytest.mark.usefixtures("configured")
def test_export_warns_and_still_writes(
    merges: Merges, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    merges.merge(NOW, complaint(1), query="state=CA&date_received_min=2026-08-29")

    code = run(["export", "--query", "state=CA"])

    (message,) = caplog.messages
    assert (code, capsys.readouterr().out.count("\n")) == (0, 2)
    assert message.startswith("luigi-etl: warning: the database covers state=CA from 2026-08-29 on, as of ")
    assert message.endswith("--since 2011-12-01 --query 'state=CA'`")


@pytest.mark.usefixtures("configured")
def test_export_of_an_older_version_warns(older: Merges, caplog: pytest.LogCaptureFixture) -> None:
    assert run(["export"]) == 0

    assert "the database covers only the newest 1 of all complaints" in caplog.text
    assert older.covered() == EXPECTED


@pytest.mark.slow
def test_warning_goes_to_standard_error(merges: Merges, chain: Chain, database_address: str | Path) -> None:
    chain.configure("storage", database=database_address)
    merges.merge(NOW, complaint(1), query="date_received_min=2026-08-29")

    found = chain.program("luigi-etl", "export")

    assert (found.code, found.out.count("\n"), found.err.count("\n")) == (0, 2, 1)
    assert found.err.startswith("luigi-etl: warning: the database covers all complaints from 2026-08-29 on")
