"""Merge of snapshots, into both kinds of database."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from luigi_etl.common.errors import DamagedFileError, DatabaseError, HeldBackError
from luigi_etl.database.connection import Database
from luigi_etl.database.merge import merge
from luigi_etl.database.schema import FIELDS, complaints, metadata
from luigi_etl.database.sql_filter import make_lookup_query
from luigi_etl.snapshot.guard import Guard
from luigi_etl.snapshot.paths import SnapshotFiles
from tests.made import taken

pytestmark = pytest.mark.libraries

MINUTE = datetime(2026, 11, 22, 9, 26)
Source = dict[str, object]


def minute(number: int) -> datetime:
    return MINUTE + timedelta(minutes=number)


def complaint(number: int, **fields: object) -> Source:
    return {"complaint_id": str(number), "date_received": "2026-11-01", "state": "CA", **fields}


class Book:
    """A database, with methods that merge snapshots and query it."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.root = root

    def merge(self, at: int, *sources: Mapping[str, object], **options: Any) -> SnapshotFiles:
        """Merge a snapshot of these complaints; it is complete by default."""
        files = taken(self.root, minute(at), sources, **options)
        merge(self.database, files)
        return files

    def row(self, number: int) -> Any:
        """Return the row of a complaint."""
        with self.database.reading() as connection:
            return connection.execute(
                select(complaints).where(complaints.c.complaint_id == str(number))
            ).one_or_none()

    def current(self) -> list[str]:
        """Return the ids of the complaints that are not withdrawn."""
        return [str(row[0]) for row in self.sql("SELECT complaint_id FROM current_complaints ORDER BY 1")]

    def unverified(self) -> list[str]:
        return [str(row[0]) for row in self.sql("SELECT complaint_id FROM unverified ORDER BY 1")]

    def changes(self, number: int) -> list[tuple[Any, ...]]:
        """Return the history of a complaint: kind, field, old, new, and the number of the minute."""
        found = self.sql(
            "SELECT change, field, old, new, snapshot FROM changes "
            f"WHERE complaint_id = '{number}' ORDER BY snapshot, change DESC, field"
        )
        return [(*row[:4], _number(row[4])) for row in found]

    def kinds(self, number: int) -> list[tuple[str, int]]:
        """Return the history of a complaint without its fields."""
        return [(change, at) for change, _, _, _, at in self.changes(number)]

    def sql(self, statement: str) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.exec_driver_sql(statement))

    def everything(self) -> dict[str, list[Any]]:
        """Return all rows of all tables."""
        with self.database.reading() as connection:
            return {
                table.name: sorted(map(repr, connection.execute(select(table))))
                for table in metadata.sorted_tables
            }


def _number(value: Any) -> int:
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return round((at - MINUTE) / timedelta(minutes=1))


@pytest.fixture
def book(database: Database, tmp_path: Path) -> Book:
    return Book(database, tmp_path / "data")


# --- new and changed complaints ------------------------------------------------------------------


def test_new_complaint_is_stored_with_typed_fields(book: Book) -> None:
    book.merge(0, complaint(7, date_sent_to_company="2026-11-03", has_narrative=True, zip_code="01234"))
    row = book.row(7)
    assert (row.complaint_id, row.state, row.zip_code, row.has_narrative) == ("7", "CA", "01234", True)
    assert (row.date_received, row.date_sent_to_company) == (date(2026, 11, 1), date(2026, 11, 3))


def test_new_complaint_has_the_times_of_its_snapshot(book: Book) -> None:
    book.merge(0, complaint(7))
    row = book.row(7)
    assert (row.first_seen, row.last_seen, row.last_changed, row.withdrawn) == (MINUTE, MINUTE, MINUTE, None)
    assert book.changes(7) == [("new", None, None, None, 0)]


def test_changed_field_is_updated_and_recorded(book: Book) -> None:
    book.merge(0, complaint(7, company_response="In progress", has_narrative=False))
    book.merge(5, complaint(7, company_response="Closed", has_narrative=True, date_received="2026-11-02"))
    row = book.row(7)
    assert (row.company_response, row.has_narrative, row.date_received) == ("Closed", True, date(2026, 11, 2))
    assert (row.first_seen, row.last_seen, row.last_changed) == (minute(0), minute(5), minute(5))
    assert book.changes(7)[1:] == [
        ("changed", "company_response", "In progress", "Closed", 5),
        ("changed", "date_received", "2026-11-01", "2026-11-02", 5),
        ("changed", "has_narrative", "false", "true", 5),
    ]


def test_unchanged_complaint_gets_only_last_seen(book: Book) -> None:
    book.merge(0, complaint(7))
    book.merge(5, complaint(7))
    row = book.row(7)
    assert (row.first_seen, row.last_seen, row.last_changed) == (minute(0), minute(5), minute(0))
    assert len(book.changes(7)) == 1


def test_field_that_is_no_longer_sent_keeps_its_value(book: Book) -> None:
    book.merge(0, complaint(7, complaint_what_happened="They took it."))
    book.merge(5, complaint(7))
    assert book.row(7).complaint_what_happened == "They took it."
    assert len(book.changes(7)) == 1


def test_null_replaces_a_value(book: Book) -> None:
    book.merge(0, complaint(7, tags="Servicemember"))
    book.merge(5, complaint(7, tags=None))
    assert book.row(7).tags is None
    assert book.changes(7)[1:] == [("changed", "tags", "Servicemember", None, 5)]


def test_empty_text_equals_null(book: Book) -> None:
    book.merge(0, complaint(7, tags=""))
    book.merge(5, complaint(7, tags=None))
    assert (book.row(7).tags, len(book.changes(7))) == (None, 1)


def test_text_is_stored_exactly_except_for_nul(book: Book) -> None:
    text = "'; DROP TABLE complaints; -- % \\ \r\n \u2022 \U0001f600 %(x)s :x"
    book.merge(0, complaint(7, company=text, issue="a\0b"))
    assert (book.row(7).company, book.row(7).issue) == (text, "a\ufffdb")
    book.merge(1, complaint(7, company=text, issue="a\0b"))
    assert len(book.changes(7)) == 1


def test_merge_of_several_batches_is_complete(book: Book) -> None:
    book.merge(0, *(complaint(number) for number in range(2500)))
    book.merge(1, *(complaint(number, state="TX") for number in range(2500)))
    assert book.sql("SELECT count(*) FROM complaints WHERE state = 'TX'")[0][0] == 2500
    assert book.sql("SELECT count(*) FROM history")[0][0] == 2500


# --- repeated and late snapshots -----------------------------------------------------------------


def test_merging_a_snapshot_twice_changes_nothing(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    files = book.merge(1, complaint(1, state="TX"))
    before = book.everything()
    merge(book.database, files)
    assert book.everything() == before


def test_new_content_of_a_snapshot_replaces_the_old(book: Book) -> None:
    book.merge(0, complaint(1))
    book.merge(0, complaint(1, state="TX"))
    assert book.row(1).state == "TX"
    assert book.sql("SELECT count(*) FROM snapshots")[0][0] == 1


def test_late_snapshot_keeps_newer_values(book: Book) -> None:
    book.merge(5, complaint(7, state="TX"), limit=1)
    book.merge(0, complaint(7, state="CA"), limit=1)
    row = book.row(7)
    assert row.state == "TX"
    assert (row.first_seen, row.last_seen, row.last_changed) == (minute(0), minute(5), minute(5))


def test_late_snapshot_extends_the_history(book: Book) -> None:
    book.merge(9, complaint(7, state="TX"), limit=1)
    book.merge(0, complaint(7, state="CA"), limit=1)
    book.merge(5, complaint(7, state="NV"), limit=1)
    assert book.changes(7) == [
        ("new", None, None, None, 0),
        ("changed", "state", "CA", "NV", 5),
        ("changed", "state", "NV", "TX", 9),
    ]


def test_temporary_value_is_in_the_history(book: Book) -> None:
    book.merge(0, complaint(7), limit=1)
    book.merge(9, complaint(7), limit=1)
    book.merge(5, complaint(7, state="NV"), limit=1)
    assert book.row(7).state == "CA"
    assert book.changes(7)[1:] == [
        ("changed", "state", "CA", "NV", 5),
        ("changed", "state", "NV", "CA", 9),
    ]


def test_late_snapshot_moves_a_change_to_its_minute(book: Book) -> None:
    book.merge(0, complaint(7), limit=1)
    book.merge(9, complaint(7, state="TX"), limit=1)
    book.merge(5, complaint(7, state="TX"), limit=1)
    assert book.changes(7)[1:] == [("changed", "state", "CA", "TX", 5)]
    assert book.row(7).last_changed == minute(5)


def test_late_snapshot_adds_a_field_never_sent_since(book: Book) -> None:
    book.merge(5, complaint(7), limit=1)
    book.merge(0, complaint(7, complaint_what_happened="They took it."), limit=1)
    assert book.row(7).complaint_what_happened == "They took it."
    assert book.changes(7) == [("new", None, None, None, 0)]


ORDERS = list(permutations([0, 5, 9]))


@pytest.mark.parametrize("order", ORDERS)
def test_rejected_hit_changes_no_values(book: Book, order: Sequence[int]) -> None:
    seen = {0: {"state": "CA"}, 5: {"state": "TX"}, 9: {"state": "TX", "date_received": "never"}}
    for at in order:
        book.merge(at, complaint(7, **seen[at]), limit=1)
    assert book.row(7).state == "TX"
    assert book.changes(7)[1:] == [("changed", "state", "CA", "TX", 5)]


@pytest.mark.parametrize("order", ORDERS)
def test_field_may_be_unset_in_some_complaints(book: Book, order: Sequence[int]) -> None:
    seen = {0: {"tags": "a"}, 5: {"tags": "b"}, 9: {}}
    for at in order:
        book.merge(at, complaint(7, **seen[at]), complaint(8, tags="c"), limit=2)
    assert book.row(7).tags == "b"
    assert book.changes(7)[1:] == [("changed", "tags", "a", "b", 5)]


@pytest.mark.parametrize("order", ORDERS)
def test_field_may_be_sent_only_for_a_while(book: Book, order: Sequence[int]) -> None:
    seen: dict[int, Source] = {0: {}, 5: {"tags": "b"}, 9: {}}
    for at in order:
        book.merge(at, complaint(7, **seen[at]), limit=1)
    assert book.row(7).tags == "b"


# --- withdrawals and returns ---------------------------------------------------------------------


def test_missing_complaint_is_withdrawn_and_kept(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1))
    assert book.row(2).withdrawn == minute(5)
    assert (book.row(2).last_seen, book.row(2).state) == (minute(0), "CA")
    assert book.current() == ["1"]
    assert book.kinds(2) == [("new", 0), ("withdrawn", 5)]


def test_missing_complaint_is_withdrawn_once(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    for at in (5, 6):
        book.merge(at, complaint(1))
    assert book.kinds(2) == [("new", 0), ("withdrawn", 5)]


@pytest.mark.parametrize("query", ["state=CA", "date_received_min=2026-11-01", "company=&product="])
def test_complaints_missing_from_a_part_are_unverified(book: Book, query: str) -> None:
    """Complaints can leave any filter. Only a snapshot of everything or a lookup proves a withdrawal."""
    book.merge(
        0, complaint(1, company="A", product="B"), complaint(2, date_received="2026-10-01", state="TX")
    )
    book.merge(5, query=query.replace("company=&product=", "company=A&product=B"))

    assert book.current() == ["1", "2"]
    assert book.unverified() == ["1"]


def test_lookup_that_lacks_a_complaint_withdraws_it(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2), complaint(3))
    book.merge(5, query="state=CA")
    book.merge(6, complaint(1), query=str(make_lookup_query(["1", "2"])))

    assert (book.current(), book.unverified()) == (["1", "3"], ["3"])
    assert book.kinds(2) == [("new", 0), ("withdrawn", 6)]


def test_observed_complaint_is_no_longer_unverified(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, query="state=CA")
    book.merge(6, complaint(1, state="TX"), limit=1)

    assert book.unverified() == ["2"]


# --- implausible losses --------------------------------------------------------------------------


MANY = [complaint(number) for number in range(300)]


def test_implausible_loss_withdraws_nothing(book: Book) -> None:
    book.merge(0, *MANY)

    with pytest.raises(HeldBackError, match="held back: 101 of 300 complaints would be withdrawn"):
        book.merge(5, *MANY[101:])

    assert len(book.current()) == 300
    book.merge(6, *MANY)
    assert book.sql("SELECT count(*) FROM history WHERE change = 'withdrawn'")[0][0] == 0


def test_plausible_loss_is_withdrawn(book: Book) -> None:
    book.merge(0, *MANY)
    book.merge(5, *MANY[100:])

    assert len(book.current()) == 200


@pytest.mark.slow
def test_empty_snapshot_withdraws_nothing(book: Book) -> None:
    book.merge(0, *MANY)

    with pytest.raises(HeldBackError):
        book.merge(5)

    assert len(book.current()) == 300


@pytest.mark.parametrize(("later", "is_confirmed"), [(60, False), (24 * 60, True)])
def test_loss_is_accepted_on_a_later_day(book: Book, later: int, is_confirmed: bool) -> None:
    book.merge(0, *MANY)
    with pytest.raises(HeldBackError):
        book.merge(5, *MANY[200:])

    with nullcontext() if is_confirmed else pytest.raises(HeldBackError):
        book.merge(5 + later, *MANY[200:])

    assert len(book.current()) == (100 if is_confirmed else 300)


def test_guard_option_accepts_a_held_back_loss(book: Book) -> None:
    """The same snapshot is merged again."""
    book.merge(0, *MANY)
    with pytest.raises(HeldBackError):
        book.merge(5, *MANY[200:])

    merge(book.database, taken(book.root, minute(5), MANY[200:]), guard=Guard(accept=True))

    assert len(book.current()) == 100


def test_flagged_data_withdraws_nothing(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1), is_flagged=True)

    assert (book.current(), book.unverified()) == (["1", "2"], [])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"limit": 1},
        {"limit": 10},
        {"query": "date_received_min=2026-11-02"},
        {"query": "date_received_max=2026-10-31"},
        {"query": "state=TX"},
        {"query": "not_state=CA"},
        {"query": "search_term=loan&field=all"},
        {"query": "company_response=Closed"},
        {"query": "timely=Yes"},
        {"query": "tags=Servicemember"},
        {"query": "zip_code=01234"},
    ],
)
def test_partial_snapshot_withdraws_nothing(book: Book, options: dict[str, Any]) -> None:
    """A snapshot with a limit, of another window, or with a changing filter."""
    kept = complaint(2, company_response="Closed", timely="Yes", tags="Servicemember", zip_code="01234")
    book.merge(0, complaint(1), kept)
    book.merge(5, complaint(3, state="TX", date_received="2026-11-09"), **options)
    assert book.row(2).withdrawn is None


def test_rejected_hit_counts_as_seen(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1), complaint(2, date_received="never"))
    assert (book.row(2).withdrawn, book.row(2).last_seen) == (None, minute(5))


def test_snapshot_with_a_hit_without_id_withdraws_nothing(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1), {"complaint_id": None})
    assert book.row(2).withdrawn is None


def test_merge_accepts_nul_in_a_rejected_id(book: Book) -> None:
    book.merge(0, complaint(1), {"complaint_id": "2\0"})
    assert book.current() == ["1"]


def test_merge_accepts_a_lone_surrogate(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(1, complaint(1), complaint(2, company="\ud800x"))
    assert (book.row(2).withdrawn, book.row(2).last_seen) == (None, minute(1))


def test_hit_that_was_never_valid_is_not_stored(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2, date_received="never"))
    assert book.current() == ["1"]


def test_complaint_that_reappears_is_returned(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1))
    book.merge(9, complaint(1), complaint(2))
    assert book.row(2).withdrawn is None
    assert book.kinds(2) == [("new", 0), ("withdrawn", 5), ("returned", 9)]


def test_limited_snapshot_returns_a_complaint(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1))
    book.merge(9, complaint(2), limit=1)
    assert book.row(2).withdrawn is None


def test_complaint_may_return_several_times(book: Book) -> None:
    for at in range(6):
        book.merge(at, complaint(1), *[complaint(2)][at % 2 :])
    kinds = ["new", "withdrawn", "returned", "withdrawn", "returned", "withdrawn"]
    assert book.kinds(2) == list(zip(kinds, range(6), strict=True))


def test_later_part_does_not_undo_a_proven_withdrawal(book: Book) -> None:
    book.merge(9, complaint(1), query="date_received_min=2026-11-01")
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1))
    book.merge(7, complaint(1), complaint(2))

    assert book.kinds(2) == [("new", 0), ("withdrawn", 5), ("returned", 7)]
    assert book.unverified() == ["2"]


def test_complaint_moved_to_an_earlier_window_is_kept(book: Book) -> None:
    october = "date_received_min=2026-10-01&date_received_max=2026-10-31"
    november = "date_received_min=2026-11-01"
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(2, date_received="2026-10-31"), query=october)
    book.merge(6, complaint(1), query=november)
    assert book.row(2).withdrawn is None
    assert book.kinds(2) == [("new", 0), ("changed", 5)]


@pytest.mark.parametrize("later", [5, 6])
def test_complaint_moved_to_a_later_window_is_kept(book: Book, later: int) -> None:
    october = "date_received_min=2026-10-01&date_received_max=2026-10-31"
    november = "date_received_min=2026-11-01"
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1), query=november)
    book.merge(later, complaint(2, date_received="2026-10-31"), query=october)
    assert book.row(2).withdrawn is None
    assert book.kinds(2) == [("new", 0), ("changed", later)]


def test_complaint_seen_in_the_same_minute_is_not_withdrawn(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(5, complaint(1))
    book.merge(5, complaint(2), limit=1)
    assert book.kinds(2) == [("new", 0)]


def test_late_complete_snapshot_moves_a_withdrawal_earlier(book: Book) -> None:
    book.merge(0, complaint(1), complaint(2))
    book.merge(9, complaint(1))
    book.merge(5, complaint(1))
    assert book.row(2).withdrawn == minute(5)
    assert book.kinds(2) == [("new", 0), ("withdrawn", 5)]


def test_late_snapshot_does_not_withdraw_complaints_seen_since(book: Book) -> None:
    book.merge(9, complaint(1), complaint(2))
    book.merge(5, complaint(1))
    assert book.row(2).withdrawn is None


def test_complaint_only_in_a_late_snapshot_is_withdrawn(book: Book) -> None:
    book.merge(5, complaint(1))
    book.merge(9, complaint(1))
    book.merge(0, complaint(1), complaint(2))
    assert book.row(2).withdrawn == minute(5)
    assert book.kinds(2) == [("new", 0), ("withdrawn", 5)]


HISTORY = st.lists(  # for each minute three complaints: value, day and tags, or None for a missing one
    st.lists(
        st.none()
        | st.tuples(
            st.sampled_from(["CA", "TX", None]),
            st.sampled_from(["2026-10-31", "2026-11-01"]),
            st.booleans(),
        ),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=5,
)
ASKED = ["", "date_received_max=2026-10-31", "date_received_min=2026-11-01", "newest"]


@pytest.mark.slow
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=HISTORY, ends=st.integers(0, 5), data=st.data())
def test_order_of_snapshots_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, history: list[Any], ends: int, data: st.DataObject
) -> None:
    """Compare values, first and last minute, and withdrawal. Tags are sent only for a while."""
    asked = [data.draw(st.sampled_from(ASKED)) for _ in history]
    order = data.draw(st.permutations(range(len(history))))
    held = []
    for merged in (range(len(history)), order):
        root = tmp_path_factory.mktemp("data")
        book = Book(Database(root / "complaints.db"), root)
        for at in merged:
            merge_state(book, at, history[at], asked[at], with_tags=at < ends)
        held.append(
            [(*row[: 1 + len(FIELDS)], row.first_seen, row.last_seen, row.withdrawn) for row in _rows(book)]
        )
    assert held[0] == held[1]


def _rows(book: Book) -> list[Any]:
    with book.database.reading() as connection:
        return list(connection.execute(select(complaints).order_by(complaints.c.complaint_id)))


def merge_state(book: Book, at: int, state: Sequence[Any], asked: str, *, with_tags: bool) -> None:
    sources = [
        complaint(
            number,
            state=one[0],
            date_received=one[1],
            **({"tags": f"t{at}"} if with_tags and one[2] else {}),
        )
        for number, one in enumerate(state)
        if one and (asked in ("", "newest") or (one[1] == "2026-10-31") == ("max" in asked))
    ]
    if asked == "newest":
        book.merge(at, *sources[:1], limit=1)
    else:
        book.merge(at, *sources, query=asked)


# --- bad input and bad luck ----------------------------------------------------------------------


def _edit_csv(files: SnapshotFiles) -> Path:
    files.complaints.write_text(files.complaints.read_text().replace("CA", "TX"))
    return files.complaints


def _edit_package(files: SnapshotFiles) -> Path:
    package = json.loads(files.datapackage.read_text())
    package["snapshot"]["hits_total"] += 1
    files.datapackage.write_text(json.dumps(package))
    return files.datapackage


def _edit_parsed(files: SnapshotFiles) -> Path:
    files.parsed.write_text(files.parsed.read_text().replace("CA", "TX"))
    return files.parsed


def _cut_parsed(files: SnapshotFiles) -> Path:
    files.parsed.write_bytes(files.parsed.read_bytes()[:-20])
    return files.parsed


def _break_rejected(files: SnapshotFiles) -> Path:
    files.rejected.write_text("no\n")
    return files.rejected


def _remove_csv(files: SnapshotFiles) -> Path:
    files.complaints.unlink()
    return files.complaints


@pytest.mark.parametrize(
    "damage", [_edit_csv, _edit_package, _edit_parsed, _cut_parsed, _break_rejected, _remove_csv]
)
def test_edited_file_of_a_snapshot_is_refused_by_name(
    book: Book, damage: Callable[[SnapshotFiles], Path]
) -> None:
    book.merge(0, complaint(1))
    before = book.everything()
    files = taken(book.root, minute(1), [complaint(2), complaint(3)])
    path = damage(files)
    with pytest.raises(DamagedFileError) as error:
        merge(book.database, files)
    assert str(path) in str(error.value)
    assert book.everything() == before


def test_layout_of_the_data_package_does_not_matter(book: Book) -> None:
    files = taken(book.root, MINUTE, [complaint(1)])
    package = json.loads(files.datapackage.read_text())
    files.datapackage.write_text(json.dumps(dict(reversed(package.items()))))
    merge(book.database, files)
    assert book.current() == ["1"]


def test_sandbox_and_cfpb_complaints_are_not_mixed(book: Book) -> None:
    book.merge(0, complaint(1), sandbox="seed 1")
    with pytest.raises(DatabaseError, match=r"of the CFPB, but the database holds complaints of the sandbox"):
        book.merge(1, complaint(2))
    assert book.current() == ["1"]


@pytest.mark.slow
def test_concurrent_merges_all_succeed(book: Book) -> None:
    sources = [[complaint(number + at, state=f"{at}") for number in range(1500)] for at in range(4)]
    files = [taken(book.root, minute(at), some, limit=2000) for at, some in enumerate(sources)]
    threads = [threading.Thread(target=merge, args=(book.database, one)) for one in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row[0] for row in book.sql("SELECT count(*) FROM snapshots")} == {4}
    assert [book.row(number).state for number in (0, 1, 2, 3, 1502)] == ["0", "1", "2", "3", "3"]
