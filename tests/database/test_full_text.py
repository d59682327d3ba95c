"""Full-text search over the narratives: the index follows each write, and a search never fails oddly."""

import csv
import io
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import luigi
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from luigi_etl.api.query import parse_query
from luigi_etl.bulk.content import read_facts
from luigi_etl.cli.main import run
from luigi_etl.common.errors import DatabaseError, QueryError, SchemaError, SettingError
from luigi_etl.database.connection import Database
from luigi_etl.database.damage import find_damage
from luigi_etl.database.export import open_matches
from luigi_etl.database.file_import import FileToImport, import_file
from luigi_etl.database.merge import merge
from luigi_etl.database.search import LONGEST, Search
from luigi_etl.service.forget.deletion import forget
from luigi_etl.tasks.merge import MergeComplaints
from tests.conftest import Beside, Pipeline
from tests.made import taken
from tests.version_1 import VERSION_1_OF_POSTGRESQL, VERSION_1_OF_SQLITE

FEE = "They charged an overdraft fee of {$35.00}, twice."
FEES = "The fees for an overdraft are unfair."
DEBT = "This debt is not mine; I wrote to me@example.com."
OTHER = "Somebody opened an account in my name."
HEADER = ("Date received", "Consumer complaint narrative", "Complaint ID")


def at(number: int) -> datetime:
    return datetime(2026, 11, 22, 9, number)


class Narratives:
    """A database, with methods that merge narratives and search in them."""

    def __init__(self, address: Path | str, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.database = Database(address, full_text=True)

    def switch_off(self) -> None:
        """Write with the setting off."""
        with Database(self.address, full_text=False).writing():
            pass

    def api(self, minute: int, *narratives: str | None, **options: Any) -> None:
        """Merge a snapshot; the complaints have the ids 1, 2, ..."""
        sources = [
            {
                "complaint_id": str(number),
                "date_received": "2026-11-01",
                "state": "CA" if number % 2 else "TX",
                "complaint_what_happened": narrative,
            }
            for number, narrative in enumerate(narratives, 1)
        ]
        merge(self.database, taken(self.folder, at(minute), sources, **options))

    def file(self, minute: int, *narratives: str) -> None:
        """Merge a complete file; an empty cell is no narrative."""
        path, rows = self.folder / f"{minute}.csv", io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(("2026-11-01", one, number) for number, one in enumerate(narratives, 1))
        path.write_text(rows.getvalue())
        file = FileToImport(path, read_facts(path), at(minute), is_complete=True)
        import_file(self.database, file, self.folder / "rejected.jsonl")

    def find(self, words: str, query: str = "") -> list[int]:
        """Return the ids of the complaints that an export with this search holds, sorted."""
        with open_matches(self.database, parse_query(query), Search(words)) as rows:
            return sorted(int(row[-1]) for row in rows)

    def check(self) -> None:
        """Check that SQLite's index equals the narratives."""
        if isinstance(self.address, Path):
            with self.database.writing() as connection:
                connection.execute(
                    text("INSERT INTO narratives (narratives, rank) VALUES ('integrity-check', 1)")
                )


@pytest.fixture
def narratives(database_address: Path | str, tmp_path: Path) -> Iterator[Narratives]:
    """Give an empty database whose index is switched on, and check the index at the end."""
    narratives = Narratives(database_address, tmp_path)
    yield narratives
    with narratives.database.reading() as connection:
        assert not find_damage(connection)


# --- the index follows each write ----------------------------------------------------------------


def test_search_finds_words_of_a_merged_snapshot(narratives: Narratives) -> None:
    narratives.api(0, FEE, DEBT, None)

    assert narratives.find("overdraft") == [1]
    assert narratives.find("debt") == [2]
    assert narratives.find("mortgage") == []
    narratives.check()


def test_search_finds_words_of_a_loaded_file(narratives: Narratives) -> None:
    narratives.file(0, FEE, "", DEBT)

    assert narratives.find("overdraft") == [1]
    narratives.check()


def test_load_into_an_indexed_table_is_indexed(narratives: Narratives) -> None:
    with narratives.database.writing():
        pass  # creates the index before the load

    narratives.file(0, FEE, "", DEBT)

    assert narratives.find("debt") == [3]
    narratives.check()


def test_search_finds_words_of_a_later_file(narratives: Narratives) -> None:
    narratives.file(0, FEE, "", DEBT)

    narratives.file(1, FEE, OTHER, "", FEES)

    assert narratives.find("overdraft") == [1, 4]
    assert narratives.find("account") == [2]
    assert narratives.find("debt") == []
    narratives.check()


def test_search_follows_a_changed_narrative(narratives: Narratives) -> None:
    narratives.api(0, FEE, DEBT, None)

    narratives.api(1, OTHER, None, DEBT)

    assert narratives.find("overdraft") == []
    assert narratives.find("account") == [1]
    assert narratives.find("debt") == [3]
    narratives.check()


def test_other_changes_keep_a_narrative_indexed(narratives: Narratives) -> None:
    narratives.api(0, FEE)
    for minute in (1, 2):
        source = {"complaint_id": "1", "date_received": "2026-11-01", "state": f"S{minute}"}
        merge(narratives.database, taken(narratives.folder, at(minute), [source]))

    assert narratives.find("overdraft") == [1]
    narratives.check()


def test_withdrawn_complaints_are_not_exported(narratives: Narratives) -> None:
    narratives.api(0, FEE, FEES)

    narratives.api(1, FEE)

    assert narratives.find("overdraft") == [1]
    narratives.check()


def test_forgotten_complaints_are_not_found(narratives: Narratives) -> None:
    narratives.api(0, FEE)
    narratives.api(1, DEBT, FEES)

    forget(Database(narratives.address), narratives.folder, at(0))

    assert narratives.find("overdraft") == [1]
    assert narratives.find("debt") == []
    narratives.check()


def test_long_narrative_of_many_words_is_merged(narratives: Narratives) -> None:
    """PostgreSQL refuses a document of more than a megabyte of words."""
    words = " ".join(f"word{number:x}-part{number:x}" for number in range(120_000))

    narratives.api(0, f"overdraft {words}")

    assert narratives.find("overdraft") == [1]


# --- the setting ---------------------------------------------------------------------------------


def test_index_is_created_over_merged_complaints(database_address: Path | str, tmp_path: Path) -> None:
    narratives = Narratives(database_address, tmp_path)
    narratives.database = Database(database_address)
    narratives.api(0, FEE, None)
    narratives.database = Database(database_address, full_text=True)

    narratives.api(1, FEE, None, FEES)

    assert narratives.find("fee") == [1, 3]
    narratives.check()


def test_search_without_an_index_names_the_setting(narratives: Narratives) -> None:
    narratives.api(0, FEE)
    narratives.switch_off()

    with pytest.raises(SettingError, match=r"^search: .* set \[storage\] full_text=true, and the next merge"):
        narratives.find("fee")


def test_index_is_dropped_completely(narratives: Narratives, beside: Beside) -> None:
    with Database(narratives.address).writing():
        pass
    before = _list_objects(beside, narratives.address)
    narratives.api(0, FEE)
    assert set(_list_objects(beside, narratives.address)) > set(before)

    narratives.switch_off()

    assert _list_objects(beside, narratives.address) == before


def test_index_is_created_again_after_changes_without_it(narratives: Narratives) -> None:
    narratives.api(0, FEE, DEBT)
    narratives.switch_off()
    narratives.database = Database(narratives.address)
    narratives.api(1, OTHER, FEES)

    narratives.database = Database(narratives.address, full_text=True)
    narratives.api(2, OTHER, FEES, FEE)

    assert narratives.find("fee") == [2, 3]
    assert narratives.find("account") == [1]
    narratives.check()


def test_failed_write_creates_no_index(narratives: Narratives) -> None:
    narratives.api(0, FEE)
    narratives.switch_off()

    with pytest.raises(RuntimeError), narratives.database.writing():
        raise RuntimeError

    with pytest.raises(SettingError):
        narratives.find("fee")


def test_older_database_is_indexed(narratives: Narratives, beside: Beside) -> None:
    version_1 = VERSION_1_OF_SQLITE if isinstance(narratives.address, Path) else VERSION_1_OF_POSTGRESQL
    for statement in version_1.split(";"):
        beside(statement)
    beside(f"UPDATE complaints SET complaint_what_happened = '{FEE}'")

    with narratives.database.writing():
        pass

    assert narratives.find("overdraft") == [7]
    narratives.check()


def test_tasks_create_and_drop_the_index(pipeline: Pipeline) -> None:
    def merged(minute: int) -> None:
        files = taken(pipeline.root, at(minute), [{"complaint_id": "1", "complaint_what_happened": FEE}])
        pipeline.run(MergeComplaints, timestamp=files.timestamp, limit=0)
        assert files.changes.exists()

    def is_indexed() -> bool:
        try:
            with open_matches(pipeline.database, parse_query(""), Search("fee")) as rows:
                return len(list(rows)) == 1
        except SettingError:
            return False

    merged(0)
    assert not is_indexed()
    pipeline.configure("storage", full_text=True)
    merged(1)
    assert is_indexed()
    pipeline.configure("storage", full_text=False)
    merged(2)
    assert not is_indexed()


def test_table_of_another_program_is_kept(sqlite_address: Path, tmp_path: Path) -> None:
    narratives = Narratives(sqlite_address, tmp_path)
    with Database(sqlite_address).writing() as connection:
        connection.execute(text("CREATE TABLE narratives (mine TEXT)"))

    with pytest.raises(SchemaError, match="a table narratives that luigi_etl did not create"):
        narratives.api(0, FEE)
    narratives.switch_off()

    with Database(sqlite_address).reading() as connection:
        assert connection.execute(text("SELECT count(mine) FROM narratives")).scalar() == 0


def test_sqlite_without_fts5_is_one_line(
    sqlite_address: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luigi_etl.database.full_text.FTS5", "fts6")

    with pytest.raises(DatabaseError, match=r"has no FTS5: use another Python, or set \[storage\] full_text"):
        Narratives(sqlite_address, tmp_path).api(0, FEE)


def test_index_in_use_is_dropped_later(postgres_address: str, tmp_path: Path) -> None:
    narratives = Narratives(postgres_address, tmp_path)
    narratives.api(0, FEE)

    with narratives.database.reading() as connection:
        connection.execute(text("SELECT count(*) FROM complaints"))
        narratives.switch_off()
    assert narratives.find("fee") == [1]
    narratives.switch_off()

    with pytest.raises(SettingError):
        narratives.find("fee")


def test_postgres_searches_with_the_index(postgres_address: str, tmp_path: Path) -> None:
    narratives = Narratives(postgres_address, tmp_path)
    narratives.api(0, FEE)

    with narratives.database.reading() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        condition = Search("fee").to_condition(connection).compile(compile_kwargs={"literal_binds": True})
        plan = connection.execute(text(f"EXPLAIN SELECT complaint_id FROM complaints WHERE {condition}"))
        assert "complaints_by_narrative" in str(plan.fetchall())


def _list_objects(beside: Beside, address: Path | str) -> list[tuple[Any, ...]]:
    names = "name FROM sqlite_master" if isinstance(address, Path) else "relname FROM pg_class"
    return sorted(beside(f"SELECT {names}"))


# --- the words of a search -----------------------------------------------------------------------

TEXTS = (FEE, FEES, DEBT, OTHER, "She said “never”; naïve or not, a follow-up came.")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("overdraft fee", [1, 2]),
        ("FEE Overdraft", [1, 2]),
        ("fees", [1, 2]),
        ('"overdraft fee"', [1]),
        ('"overdraft fees', [1]),
        ("overdraft -unfair", [1]),
        ('overdraft -"overdraft fee"', [2]),
        ("unfair OR debt", [2, 3]),
        ("unfair or debt OR account", [2, 3, 4]),
        ("overdraft unfair OR debt -mine", [2]),
        ("OR fee OR", [1, 2]),
        ("fee AND debt", []),
        ("fee & !!", [1, 2]),
        ("(overdraft) fee:*", [1, 2]),
        ("overdr*", []),
        ("me@example.com", [3]),
        ("follow-up", [5]),
        ("naïve", [5]),
        ("naive", []),
        ("35.00", [1]),
        ("complaint_what_happened : fee", []),
    ],
)
def test_search_has_the_same_meaning_in_both(filled: Narratives, words: str, found: list[int]) -> None:
    assert filled.find(words) == found


@pytest.fixture
def filled(narratives: Narratives) -> Narratives:
    """Give a database with five narratives, and a complaint without one."""
    narratives.api(0, *TEXTS, None)
    return narratives


@pytest.mark.parametrize(
    "words", ["", " ", "!?", '""', "-fee", 'debt OR -"fee"', "OR", "-", "x" * 501, "\ud800"]
)
def test_search_without_words_is_an_error(words: str) -> None:
    with pytest.raises(QueryError) as caught:
        Search(words)

    assert str(caught.value).startswith("search: ")
    assert str(caught.value).isprintable()


def test_common_words_differ_between_databases(filled: Narratives) -> None:
    if isinstance(filled.address, Path):
        assert filled.find("the") == [2]
    else:
        with pytest.raises(QueryError, match="common words such as 'the'"):
            filled.find("the")
    assert filled.find("the fees unfair") == [2]


SYNTAX = st.sampled_from(
    [
        "-",
        '"',
        " ",
        "OR",
        " OR ",
        "AND",
        "NOT",
        "NEAR(",
        ")",
        "*",
        ":",
        "^",
        "+",
        "|",
        "&",
        "!",
        "<->",
        "\\",
        "'",
        "\0",
    ]
)
SEARCHES = st.lists(SYNTAX | st.text(max_size=6) | st.sampled_from(["fee", "the"])).map("".join)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=SEARCHES)
@example(words="a " * (LONGEST // 2))
@example(words="a -b" * (LONGEST // 4))
@example(words="a OR" * (LONGEST // 5))
@example(words="a" * LONGEST)
@example(words="\U0001d538" * LONGEST)
@example(words="￿")
def test_any_text_is_a_search_or_a_query_error(filled: Narratives, words: str) -> None:
    with suppress(QueryError):
        filled.find(words)


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def command(filled: Narratives, monkeypatch: pytest.MonkeyPatch) -> Narratives:
    """Give a database that commands of this process use."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "database", str(filled.address))
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    return filled


@pytest.mark.usefixtures("command")
def test_export_holds_the_complaints_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--search", "overdraft fee"]) == 0
    assert _ids(capsys) == ["2", "1"]

    assert run(["export", "--search", "overdraft fee", "--query", "state=CA"]) == 0
    assert _ids(capsys) == ["1"]


def test_failed_search_is_one_line(
    command: Narratives, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["export", "--search", ""]) == 2
    assert capsys.readouterr().err.count("\n") == 1

    command.switch_off()
    assert run(["export", str(tmp_path / "found.csv"), "--search", "fee"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "found.csv").exists()


def _ids(capsys: pytest.CaptureFixture[str]) -> list[str]:
    _, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    return [row[-1] for row in rows]
