import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, select, text

from luigi_etl.common.errors import DatabaseError, SchemaError
from luigi_etl.database.connection import Database
from luigi_etl.database.migration import create_or_migrate
from luigi_etl.database.migration_steps import STEPS, Step
from luigi_etl.database.schema import complaints
from tests.conftest import Beside, read_only
from tests.postgres import PostgresServer
from tests.version_1 import VERSION_1_OF_POSTGRESQL, VERSION_1_OF_SQLITE, undo_version_3

Row = tuple[object, ...]
NEWEST = 1 + len(STEPS)


def with_a_column(name: str) -> Step:
    """Return a step that adds a column to the table `history`."""
    return lambda connection: connection.execute(text(f"ALTER TABLE history ADD COLUMN {name} INTEGER"))


def failing(connection: Connection) -> None:
    with_a_column("half")(connection)
    raise RuntimeError("the step fails")


def sqlalchemy_engine(address: str | Path) -> Engine:
    if isinstance(address, Path):
        return create_engine(f"sqlite:///{address}", poolclass=NullPool)
    return create_engine(address.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)


def columns(database: Database, table: str = "history") -> list[str]:
    with database.writing() as connection:
        return [column["name"] for column in inspect(connection).get_columns(table)]


def migrate(database: Database, *steps: Step) -> None:
    """Migrate a database to a future version."""
    with database.writing() as connection:
        create_or_migrate(connection, (*STEPS, *steps))


def version(beside: Beside) -> list[Row]:
    return beside("SELECT version FROM schema_version")


@pytest.fixture
def created(database: Database) -> Database:
    """Give a database with the tables of the newest version."""
    with database.writing():
        return database


# --- new databases -------------------------------------------------------------------------------


@pytest.mark.usefixtures("created")
def test_first_writer_creates_the_tables(beside: Beside) -> None:
    tables = ("snapshots", "complaints", "history", "syncs")
    assert [beside(f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 4


@pytest.mark.usefixtures("created")
def test_first_writer_creates_the_views(beside: Beside) -> None:
    assert beside("SELECT count(*) FROM current_complaints") == beside("SELECT count(*) FROM changes")


@pytest.mark.usefixtures("created")
def test_first_writer_records_the_version(beside: Beside) -> None:
    assert version(beside) == [(NEWEST,)]


def test_second_writer_keeps_tables_and_rows(created: Database, beside: Beside) -> None:
    beside("INSERT INTO stored_complaints (complaint_id, first_snapshot, sent) VALUES (7, 1, 0)")
    with created.writing():
        pass
    assert (beside("SELECT complaint_id FROM complaints"), version(beside)) == ([(7,)], [(NEWEST,)])


def test_new_database_has_the_newest_version(database_address: str | Path, beside: Beside) -> None:
    with sqlalchemy_engine(database_address).begin() as connection:
        create_or_migrate(connection, [failing])
    assert version(beside) == [(2,)]


# --- other versions ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_newer_version_is_refused(created: Database, beside: Beside, method: str) -> None:
    beside("UPDATE schema_version SET version = 7")

    with pytest.raises(SchemaError) as caught, getattr(created, method)():
        pass
    assert str(caught.value) == (
        f"the database's schema is of version 7; this luigi_etl knows up to {NEWEST}: "
        "install a newer luigi_etl"
    )


def test_newer_version_is_not_changed(created: Database, beside: Beside) -> None:
    beside("UPDATE schema_version SET version = 99")
    with pytest.raises(SchemaError), created.writing():
        pass
    assert version(beside) == [(99,)]


def test_older_version_is_migrated_step_by_step(created: Database, beside: Beside) -> None:
    migrate(created, with_a_column("second"), with_a_column("third"))
    assert beside("SELECT second, third FROM history") == []
    assert version(beside) == [(NEWEST + 2,)]


def test_only_pending_steps_are_applied(created: Database, beside: Beside) -> None:
    with created.writing() as connection:
        create_or_migrate(connection, [*STEPS, with_a_column("second")])
        create_or_migrate(connection, [*STEPS, failing, with_a_column("third")])
    assert version(beside) == [(NEWEST + 2,)]


def test_steps_are_applied_in_order(created: Database) -> None:
    taken: list[str] = []
    migrate(created, *(lambda _, name=name: taken.append(name) for name in "abc"))
    assert taken == ["a", "b", "c"]


def test_failed_step_keeps_the_version(created: Database, beside: Beside) -> None:
    with pytest.raises(RuntimeError):
        migrate(created, with_a_column("second"), failing)
    assert version(beside) == [(NEWEST,)]


def test_failed_step_rolls_back_all_steps(created: Database) -> None:
    before = columns(created)
    with pytest.raises(RuntimeError):
        migrate(created, with_a_column("second"), failing)
    assert columns(created) == before


# --- damaged versions ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reading", "writing"])
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE schema_version SET version = 0", "schema_version holds 0; "),
        ("UPDATE schema_version SET version = -3", "schema_version holds -3; "),
        ("INSERT INTO schema_version VALUES (1)", "schema_version holds 2 rows, not one; "),
    ],
)
def test_damaged_version_is_named(
    created: Database, beside: Beside, method: str, statement: str, found: str
) -> None:
    beside(statement)

    with pytest.raises(SchemaError) as caught, getattr(created, method)():
        pass

    assert str(caught.value) == (
        f"the database is damaged: {found}restore a backup, or set [storage] database to another"
    )


# --- version 1 -----------------------------------------------------------------------------------


@pytest.fixture
def of_version_1(database: Database, beside: Beside) -> Database:
    """Give a database of version 1 with one complaint."""
    is_file = database.name.endswith(".db")
    for statement in (VERSION_1_OF_SQLITE if is_file else VERSION_1_OF_POSTGRESQL).split(";"):
        beside(statement)
    return database


def test_reading_migrates_version_1(of_version_1: Database, beside: Beside) -> None:
    with of_version_1.reading() as connection:
        found = connection.scalars(select(complaints.c.company)).all()

    assert (found, version(beside)) == (["Acme Bank"], [(NEWEST,)])


def test_first_write_migrates_version_1(of_version_1: Database, beside: Beside) -> None:
    with of_version_1.writing():
        pass

    assert (beside("SELECT company FROM complaints"), version(beside)) == ([("Acme Bank",)], [(NEWEST,)])


def test_migrated_database_equals_a_new_one(
    of_version_1: Database, database_address: str | Path, tmp_path: Path, beside: Beside
) -> None:
    with of_version_1.writing() as connection:
        migrated = shape(connection)
    new = Database(tmp_path / "new.db")
    if isinstance(database_address, str):
        beside("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        new = of_version_1

    with new.writing() as connection:
        assert shape(connection) == migrated


def shape(connection: Connection) -> dict[str, object]:
    """Return the columns and indexes of all tables, and the names of the views."""
    inspector = inspect(connection)
    tables: dict[str, object] = {
        name: (
            [
                (column["name"], repr(column["type"]), column["nullable"])
                for column in inspector.get_columns(name)
            ],
            sorted(
                (index["name"], index["column_names"], index["unique"])
                for index in inspector.get_indexes(name)
            ),
            inspector.get_pk_constraint(name)["constrained_columns"],
            [constraint["column_names"] for constraint in inspector.get_unique_constraints(name)],
        )
        for name in inspector.get_table_names()
    }
    return {**tables, "views": sorted(inspector.get_view_names())}


def test_views_of_others_survive_in_sqlite(tmp_path: Path) -> None:
    address = tmp_path / "complaints.db"
    with sqlite3.connect(address) as file:
        file.executescript(VERSION_1_OF_SQLITE)
        for table in ("complaints", "history", "snapshots", "changes"):
            file.execute(f"CREATE VIEW my_{table} AS SELECT * FROM {table}")

    with Database(address).reading() as connection:
        found = connection.exec_driver_sql("SELECT company FROM my_complaints").scalar()

    assert found == "Acme Bank"


def test_views_of_others_are_named_in_postgresql(
    postgres_address: str, shared_postgres: PostgresServer
) -> None:
    shared_postgres.execute(VERSION_1_OF_POSTGRESQL, "test")
    shared_postgres.execute("CREATE VIEW mine AS SELECT company FROM complaints", "test")

    with pytest.raises(DatabaseError) as caught, Database(postgres_address).reading():
        pass

    assert "can't be upgraded" in str(caught.value)
    assert "drop those objects, such as your views, run this again" in str(caught.value)


def test_roles_may_read_the_migrated_tables(postgres_address: str, shared_postgres: PostgresServer) -> None:
    for statement in (
        VERSION_1_OF_POSTGRESQL,
        'DROP ROLE IF EXISTS "an Analyst"; CREATE ROLE "an Analyst"',
        'GRANT SELECT ON complaints, current_complaints, changes TO "an Analyst"',
    ):
        shared_postgres.execute(statement, "test")

    with Database(postgres_address).reading() as connection:
        allowed = connection.exec_driver_sql(
            "SELECT bool_and(has_table_privilege('an Analyst', name, 'SELECT')) "
            "FROM unnest(ARRAY['complaints', 'current_complaints', 'changes']) AS name"
        ).scalar()

    shared_postgres.execute('DROP OWNED BY "an Analyst"; DROP ROLE "an Analyst"', "test")
    assert allowed


@pytest.mark.parametrize("identifier", ["007", "abc", "", "9" * 30, "-1"])
@pytest.mark.parametrize("table", ["complaints", "history"])
def test_id_that_is_no_number_stops_the_migration(
    of_version_1: Database, beside: Beside, identifier: str, table: str
) -> None:
    beside(f"UPDATE {table} SET complaint_id = '{identifier}'")

    with pytest.raises(SchemaError) as caught, of_version_1.reading():
        pass

    assert str(caught.value) == (
        f"the table {table} has a complaint_id that is no number of at most 18 digits: "
        f"{identifier!r}; delete such rows, they are not the CFPB's"
    )
    assert version(beside) == [(1,)]


def test_reader_without_rights_learns_who_upgrades(tmp_path: Path) -> None:
    address = tmp_path / "complaints.db"
    with sqlite3.connect(address) as file:
        file.executescript(VERSION_1_OF_SQLITE)

    with (
        read_only(tmp_path),
        pytest.raises(DatabaseError, match="run `luigi-etl status` once as their owner"),
        Database(address).reading(),
    ):
        pass


# --- version 2 -----------------------------------------------------------------------------------


@pytest.fixture
def of_version_2(of_version_1: Database, beside: Beside) -> Database:
    """Give a database of version 2 with one complaint."""
    with of_version_1.writing():
        pass
    undo_version_3(beside, is_file=of_version_1.name.endswith(".db"))
    return of_version_1


def test_reading_migrates_version_2(of_version_2: Database, beside: Beside) -> None:
    with of_version_2.reading() as connection:
        found = connection.scalars(select(complaints.c.company)).all()

    assert (found, version(beside)) == (["Acme Bank"], [(NEWEST,)])


def test_migration_keeps_snapshots_and_their_changes(of_version_2: Database, beside: Beside) -> None:
    with of_version_2.writing():
        pass

    assert version(beside) == [(NEWEST,)]
    assert beside("SELECT id, query, row_limit, content_hash, source FROM snapshots") == [
        (1, "size=10", 10, "sha256:0", "")
    ]
    assert [row[:2] for row in beside("SELECT complaint_id, change FROM changes")] == [(7, "new")]


# --- foreign tables ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reading", "writing"])
def test_foreign_table_of_our_name_is_refused(database: Database, beside: Beside, method: str) -> None:
    beside("CREATE TABLE complaints (text TEXT)")
    with pytest.raises(SchemaError) as caught, getattr(database, method)():
        pass
    assert str(caught.value) == (
        "the database has no schema version, but a table complaints that luigi_etl did not create; "
        "set [storage] database to another"
    )


def test_foreign_view_of_our_name_is_refused(database: Database, beside: Beside) -> None:
    beside("CREATE VIEW changes AS SELECT 1 AS one")
    with pytest.raises(SchemaError, match="but a view changes that luigi_etl did not create"):
        database.writing().__enter__()


def test_foreign_schema_version_is_refused(database: Database, beside: Beside) -> None:
    """Flyway has a table and a column of these names."""
    beside("CREATE TABLE schema_version (version VARCHAR(50), description VARCHAR(200))")
    beside("INSERT INTO schema_version VALUES ('1', 'first')")
    with pytest.raises(SchemaError, match="but a table schema_version that luigi_etl did not create"):
        database.writing().__enter__()


def test_foreign_tables_of_other_names_are_kept(database: Database, beside: Beside) -> None:
    beside("CREATE TABLE invoices (number INTEGER)")
    with database.writing():
        pass
    assert (beside("SELECT * FROM invoices"), version(beside)) == ([], [(NEWEST,)])


def test_refused_table_is_not_changed(database: Database, beside: Beside) -> None:
    beside("CREATE TABLE complaints (text TEXT)")
    beside("INSERT INTO complaints VALUES ('hello')")
    with pytest.raises(SchemaError), database.writing():
        pass
    assert beside("SELECT * FROM complaints") == [("hello",)]
