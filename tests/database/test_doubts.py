"""Warnings that an answer from the database may differ from the API's."""

import csv
import io
import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import luigi
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luigi_etl.api.query import parse_query
from luigi_etl.cli.main import run
from luigi_etl.database.connection import Database
from luigi_etl.database.covered_days import CoverageRow
from luigi_etl.database.doubts import contains, find_gaps
from luigi_etl.database.export import as_csv, open_matches
from tests.conftest import Beside, Chain
from tests.database.conftest import COVERAGE_OF_OLDER, NOW, Merges, at, complaint, days, query, row

DAY = timedelta(days=1)

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
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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
    with open_matches(database, parse_query(question)) as rows:
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
    assert older.covered() == COVERAGE_OF_OLDER


@pytest.mark.slow
def test_warning_goes_to_standard_error(merges: Merges, chain: Chain, database_address: str | Path) -> None:
    chain.configure("storage", database=database_address)
    merges.merge(NOW, complaint(1), query="date_received_min=2026-08-29")

    found = chain.program("luigi-etl", "export")

    assert (found.code, found.out.count("\n"), found.err.count("\n")) == (0, 2, 1)
    assert found.err.startswith("luigi-etl: warning: the database covers all complaints from 2026-08-29 on")
