"""`luigi-etl forget`: rows and history are as if the later snapshots had never been merged."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from luigi_etl.api.query import parse_query
from luigi_etl.common.errors import StorageError
from luigi_etl.common.minutes import this_minute
from luigi_etl.database.connection import Database
from luigi_etl.database.schema import complaints, history, snapshots, syncs
from luigi_etl.service.doctor.report import CHECKS
from luigi_etl.service.forget.deletion import forget
from luigi_etl.service.forget.preview import Removal, find_later_snapshots, preview
from luigi_etl.snapshot.store import publish
from luigi_etl.tasks.future_minutes import describe_future_minute, warn_about_database, warn_about_latest
from tests.conftest import Chain, Pipeline, Serve, read_only
from tests.database.test_merge import ASKED, HISTORY, MINUTE, Book, complaint, merge_state, minute
from tests.made import merged, stored, synced, taken
from tests.tasks.test_sync import FIRST, SyncRunner
from tests.tasks.test_sync import MINUTE as MINUTE_OF_SYNCS

ALL_UNSET = Removal()


@pytest.fixture
def book(database: Database, tmp_path: Path) -> Book:
    return Book(database, tmp_path / "data")


def dump(book: Book) -> tuple[list[str], list[str]]:
    """Return the complaints, and the history without its ids."""
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    lines = select(*columns, snapshots.c.timestamp).join(snapshots, snapshots.c.id == history.c.snapshot_id)
    with book.database.reading() as connection:
        return (
            sorted(map(repr, connection.execute(select(complaints)))),
            sorted(map(repr, connection.execute(lines))),
        )


def without_files(book: Book, *minutes: int) -> None:
    for at in minutes:
        for path in book.root.glob(f"snapshots/*/*/{minute(at):%Y%m%dT%H%M}Z.*"):
            path.unlink()


# --- one snapshot --------------------------------------------------------------------------------


def test_later_complaint_is_removed(book: Book) -> None:
    book.merge(0, complaint(1))
    before = dump(book)
    book.merge(90, complaint(1), complaint(2))

    found = forget(book.database, book.root, minute(0))

    assert dump(book) == before
    assert found._replace(files=0) == Removal(snapshots=1, removed=1, restored=1)


@pytest.mark.parametrize("files", ["with files", "without files"])
@pytest.mark.parametrize(
    "later",
    [
        [complaint(1, state="TX"), complaint(2)],
        [complaint(1, has_narrative=True, date_received="2026-10-31"), complaint(2)],
        [complaint(1, company="Acme"), complaint(2)],
        [complaint(1)],
        [],
        [complaint(3)],
    ],
)
def test_values_and_withdrawals_are_restored(book: Book, later: list[Any], files: str) -> None:
    book.merge(0, complaint(1, has_narrative=False), complaint(2))
    before = dump(book)
    book.merge(90, *later)
    if files == "without files":
        without_files(book, 0, 90)

    forget(book.database, book.root, minute(0))

    assert dump(book) == before


def test_returned_complaint_is_withdrawn_again(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(1, complaint(1))
    before = dump(book)
    book.merge(90, complaint(1), complaint(2))

    forget(book.database, book.root, minute(1))

    assert dump(book) == before


@pytest.mark.parametrize("files", ["with files", "without files"])
def test_complaint_new_after_the_wrong_one_is_not_withdrawn(book: Book, files: str) -> None:
    book.merge(0, complaint(1))
    book.merge(90, complaint(1))
    book.merge(1, complaint(1), complaint(2))
    assert book.current() == ["1"]
    if files == "without files":
        without_files(book, 0, 1, 90)

    forget(book.database, book.root, minute(1))

    assert book.current() == ["1", "2"]
    assert book.kinds(2) == [("new", 1)]


@pytest.mark.parametrize("files", ["with files", "without files"])
def test_change_ignored_after_the_wrong_one_is_applied(book: Book, files: str) -> None:
    book.merge(0, complaint(1))
    book.merge(90, complaint(1))
    book.merge(1, complaint(1, state="TX"))
    assert book.row(1).state == "CA"
    if files == "without files":
        without_files(book, 0, 1, 90)

    forget(book.database, book.root, minute(1))

    assert (book.row(1).state, book.row(1).last_seen, book.row(1).last_changed) == (
        "TX",
        minute(1),
        minute(1),
    )
    assert book.changes(1) == [("new", None, None, None, 0), ("changed", "state", "CA", "TX", 1)]


def test_last_seen_without_files_comes_from_the_history(book: Book) -> None:
    book.merge(0, complaint(1))
    book.merge(1, complaint(1, state="TX"))
    book.merge(2, complaint(1, state="TX"))
    book.merge(90, complaint(1, state="TX"))
    without_files(book, 0, 1, 2, 90)

    forget(book.database, book.root, minute(2))

    assert book.row(1).last_seen == minute(1)


def test_files_newer_than_missing_ones_are_merged_again(book: Book) -> None:
    book.merge(0, complaint(1))
    book.merge(1, complaint(1, state="TX"))
    book.merge(2, complaint(1, state="TX"), complaint(2))
    before = dump(book)
    book.merge(90, complaint(1))
    without_files(book, 0, 1)

    forget(book.database, book.root, minute(2))

    assert dump(book) == before


def test_edited_file_counts_as_missing(book: Book) -> None:
    files = book.merge(0, complaint(1))
    before = dump(book)
    book.merge(90, complaint(1, state="TX"))
    files.parsed.write_text(files.parsed.read_text().replace("CA", "NY"))

    forget(book.database, book.root, minute(0))

    assert dump(book) == before


def test_snapshot_of_the_given_minute_stays(book: Book) -> None:
    book.merge(90, complaint(1))
    before = dump(book)

    assert (forget(book.database, book.root, minute(90)), dump(book)) == (ALL_UNSET, before)


# --- any order -----------------------------------------------------------------------------------


def orders(data: st.DataObject, states: dict[int, Any]) -> tuple[list[int], list[int]]:
    """Return the right minutes in order, and again with the wrong ones inserted anywhere."""
    right = sorted(at for at in states if at < 90)
    places = [(data.draw(st.integers(0, len(right))), at) for at in states if at >= 90]
    merged_in_turn = sorted([*places, *((place + 0.5, at) for place, at in enumerate(right))])
    return right, [at for _, at in merged_in_turn]


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=HISTORY, wrong=HISTORY, ends=st.integers(0, 9), data=st.data())
def test_forgotten_snapshots_leave_no_trace(
    tmp_path_factory: pytest.TempPathFactory,
    history: list[Any],
    wrong: list[Any],
    ends: int,
    data: st.DataObject,
) -> None:
    """Rows and history equal those of the right snapshots alone, for any order of merges."""
    states = dict(enumerate(history)) | {90 + at: state for at, state in enumerate(wrong)}
    queries = {at: data.draw(st.sampled_from(ASKED)) for at in states}

    dumps = []
    for order in orders(data, states):
        root = tmp_path_factory.mktemp("data")
        book = Book(Database(root / "complaints.db"), root)
        for at in order:
            merge_state(book, at, states[at], queries[at], with_tags=at % 90 < ends)
        forget(book.database, root, minute(89))
        dumps.append(dump(book))

    assert dumps[0] == dumps[1]


@pytest.mark.slow
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=HISTORY, wrong=HISTORY, data=st.data())
def test_without_files_values_and_changes_are_exact(
    tmp_path_factory: pytest.TempPathFactory, history: list[Any], wrong: list[Any], data: st.DataObject
) -> None:
    """If files are missing, values and changes are exact, and `last_seen` is never too late."""
    states = dict(enumerate(history)) | {90 + at: state for at, state in enumerate(wrong)}
    queries = {at: data.draw(st.sampled_from(ASKED)) for at in states}
    gone = data.draw(st.sets(st.sampled_from(range(len(history)))))

    books = []
    for order in orders(data, states):
        root = tmp_path_factory.mktemp("data")
        book = Book(Database(root / "complaints.db"), root)
        for at in order:
            merge_state(book, at, states[at], queries[at], with_tags=False)
        without_files(book, *gone)
        forget(book.database, root, minute(89))
        books.append(book)

    exact, found = (_rows(book) for book in books)
    assert [_exact(row) for row in found] == [_exact(row) for row in exact]
    assert all(one.last_seen <= other.last_seen for one, other in zip(found, exact, strict=True))
    assert _changes(books[1]) == _changes(books[0])


def _rows(book: Book) -> list[Any]:
    with book.database.reading() as connection:
        return list(connection.execute(select(complaints).order_by(complaints.c.complaint_id)))


def _exact(row: Any) -> tuple[Any, ...]:
    return (row.complaint_id, row.state, row.date_received, row.first_seen, row.last_changed)


def _changes(book: Book) -> list[str]:
    return [line for line in dump(book)[1] if "'new'" in line or "'changed'" in line]


# --- syncs ---------------------------------------------------------------------------------------


def put_sync(book: Book, at: int, windows: str = "[]", lookups: str | None = None) -> None:
    with book.database.writing() as connection:
        connection.execute(
            syncs.insert().values(
                timestamp=minute(at),
                query="",
                since=date(2026, 11, 1),
                hits_total=1,
                windows=windows,
                lookups=lookups,
                is_finished=True,
            )
        )


def window(at: int, query: str = "") -> str:
    return f'[{{"timestamp":"{minute(at):%Y-%m-%dT%H:%M:%S}","query":"{query}"}}]'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "windows", "lookups", "left"),
    [
        (0, "[]", None, 1),
        (90, "[]", None, 0),
        (0, window(90), None, 0),
        (0, window(0), window(90), 0),
        (0, window(0), window(0), 1),
        (1, window(1, str(parse_query(""))), None, 0),  # merged after the wrong one
    ],
)
def test_later_sync_is_removed(book: Book, at: int, windows: str, lookups: str | None, left: int) -> None:
    """This includes a sync with windows merged after the wrong snapshot: the next sync reads them again."""
    book.merge(0, complaint(1), query="state=CA")
    book.merge(90, complaint(1))
    book.merge(1, complaint(1))
    put_sync(book, at, windows, lookups)

    forget(book.database, book.root, minute(1))

    assert len(book.sql("SELECT * FROM syncs")) == left


# --- files ---------------------------------------------------------------------------------------


def test_later_files_are_removed_and_latest_is_restored(tmp_path: Path) -> None:
    kept = stored(tmp_path, minute(0))
    publish(kept.complaints, kept.latest)
    later = merged(tmp_path, minute(2 * 1440))
    publish(later.complaints, later.latest)
    synced(tmp_path, minute(90), changes=True)

    found = forget(Database(tmp_path / "complaints.db"), tmp_path, minute(1))

    assert found.files == 11
    assert kept.latest.samefile(kept.complaints)
    assert not later.folder.exists()
    assert sorted(path.name for path in (tmp_path / "snapshots").rglob("*Z.*") if path.is_file()) == sorted(
        path.name for path in kept.all if path.exists()
    )


def test_latest_without_a_remaining_snapshot_is_removed(tmp_path: Path) -> None:
    later = stored(tmp_path, minute(90))
    publish(later.complaints, later.latest)

    forget(Database(tmp_path / "complaints.db"), tmp_path, minute(1))

    assert not later.latest.exists()


def test_missing_database_is_not_created(tmp_path: Path) -> None:
    stored(tmp_path, minute(90))

    forget(Database(tmp_path / "complaints.db"), tmp_path, minute(1))

    assert not (tmp_path / "complaints.db").exists()


def test_second_call_finishes_a_failed_removal_of_files(book: Book) -> None:
    kept = book.merge(0, complaint(1))
    before = dump(book)
    later = book.merge(90, complaint(1))
    publish(later.complaints, later.latest)
    with read_only(later.folder), pytest.raises(StorageError):
        forget(book.database, book.root, minute(1))

    found = forget(book.database, book.root, minute(1))

    assert (dump(book), found.snapshots, kept.latest.samefile(kept.complaints)) == (before, 0, True)


@pytest.mark.parametrize("left", ["latest is of a later minute", "latest is missing"])
def test_second_call_restores_latest_after_a_kill(tmp_path: Path, left: str) -> None:
    kept = stored(tmp_path, minute(0))
    if "later" in left:
        later = stored(tmp_path, minute(90))
        publish(later.complaints, later.latest)
        for path in later.all:
            path.unlink(missing_ok=True)

    forget(Database(tmp_path / "complaints.db"), tmp_path, minute(1))

    assert kept.latest.samefile(kept.complaints)


# --- the command ---------------------------------------------------------------------------------


def test_preview_changes_nothing(book: Book) -> None:
    book.merge(0, complaint(1))
    later = book.merge(90, complaint(1), complaint(2))
    before = book.everything()

    found = preview(book.database, book.root, minute(0))

    assert found._replace(files=0) == Removal(snapshots=1, removed=1, restored=1)
    assert found.files == sum(path.exists() for path in later.all)
    assert book.everything() == before
    assert [str(one) for one in find_later_snapshots(book.database, minute(0))] == [
        f"1 snapshot of all complaints, limit 0: {minute(90):%Y-%m-%dT%H%M} to {minute(90):%Y-%m-%dT%H%M}"
    ]


@pytest.mark.slow
def test_command_prints_one_line_of_counts(chain: Chain) -> None:
    later = stored(chain.folder / "data", minute(90))

    dry = chain.program("luigi-etl", "forget", "--after", f"{MINUTE:%Y-%m-%dT%H%M}", "--dry-run")
    run = chain.program("luigi-etl", "forget", "--after", f"{MINUTE:%Y-%m-%dT%H:%MZ}")

    counts = "0 snapshots and 0 syncs; 0 complaints removed, 0 complaints restored; 8 files removed\n"
    files = "files of 1 minute of all-newest-10: 2026-11-22T1056 to 2026-11-22T1056\n"
    assert (dry.code, dry.out, dry.err) == (0, f"{files}would forget {counts}", "")
    assert (run.code, run.out, run.err) == (0, f"forgot {counts}", "")
    assert not later.complaints.exists()


@pytest.mark.slow
def test_invalid_minute_is_refused(chain: Chain) -> None:
    run = chain.program("luigi-etl", "forget", "--after", "yesterday")

    assert run.code == 2
    assert run.err == (
        "luigi-etl: error: --after: 'yesterday' is not a minute (UTC) such as 2026-11-22T0926\n"
    )


# --- warnings about later minutes ----------------------------------------------------------------


@pytest.mark.parametrize(("ahead", "is_later"), [(-1, False), (4, False), (90, True), (43_200, True)])
def test_later_minute_is_found(database: Database, tmp_path: Path, ahead: int, is_later: bool) -> None:
    book = Book(database, tmp_path)
    at = this_minute() + timedelta(minutes=ahead)
    files = book.merge(_number(at), complaint(1))
    publish(files.complaints, files.latest)

    warnings = [warn_about_database(database), warn_about_latest(files.latest)]

    assert warnings == (
        [describe_future_minute(database.name, at), describe_future_minute(files.latest, at)]
        if is_later
        else ["", ""]
    )


def _number(at: datetime) -> int:
    return round((at - MINUTE) / timedelta(minutes=1))


def test_remedy_names_the_minute_and_the_command() -> None:
    assert describe_future_minute("complaints.db", minute(90)).startswith(
        "complaints.db: 2026-11-22T1056 is later than now, a clock was ahead; `luigi-etl forget --after 20"
    )


def test_missing_latest_is_not_later(tmp_path: Path) -> None:
    assert warn_about_latest(tmp_path / "latest.csv") == ""


def test_doctor_fails_for_a_later_minute(pipeline: Pipeline) -> None:
    later = this_minute() + timedelta(days=30)
    files = taken(pipeline.root, later, [complaint(1)])
    Book(pipeline.database, pipeline.root).merge(_number(later), complaint(1))
    publish(files.complaints, files.latest)

    ill = [one.message for check in ("database", "runs") for one in CHECKS[check]() if not one.well]

    assert [f"{later:%Y-%m-%dT%H%M} is later than now" in one for one in ill] == [True, True, True]
    assert all("`luigi-etl forget --after 20" in one for one in ill)


# --- a sync --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sync_after_forgetting_restores_the_truth(pipeline: Pipeline, served: Serve) -> None:
    """The clock was ahead for one sync. Windows keep no files, so the next sync reads them again."""
    runner = SyncRunner(pipeline, served(300))
    for at in (0, 90, 1):
        assert runner.sync(at)
        runner.change()
    frozen = runner.current()

    found = forget(pipeline.database, pipeline.root, MINUTE_OF_SYNCS + timedelta(minutes=1))
    assert runner.sync(2)

    assert found.snapshots
    assert found.syncs == 2
    assert runner.current() == runner.truth(since=FIRST) != frozen
    assert runner.withdrawn() == [one for one in _held_ids(pipeline) if one not in runner.index.rows]
    assert runner.pipeline.sql("SELECT * FROM snapshots WHERE timestamp > '2026-09-26 12:02'") == []


def _held_ids(pipeline: Pipeline) -> list[str]:
    return [
        str(row[0]) for row in pipeline.sql("SELECT CAST(complaint_id AS text) FROM complaints ORDER BY 1")
    ]
