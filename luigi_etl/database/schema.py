"""The database's tables, views and version: what is asked of it in SQL, and how later versions change it.

A schema version is a number in a table of its own, and a list of steps that lead from each version to
the next. Alembic would bring a folder of scripts, a template language and a command for what is here a
list that runs inside the first merge's own transaction.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import (
    INTEGER,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Inspector,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import sqlite

from luigi_etl.common.errors import SchemaError
from luigi_etl.snapshot.complaint import COLUMNS

FIELDS = tuple(column.field for column in COLUMNS if column.field != "complaint_id")
DATES = frozenset(column.field for column in COLUMNS if column.type == "date")
TYPES = {"date": Date, "boolean": Boolean, "string": Text}

# A snapshot's minute, naive UTC; SQLite keeps the text 2026-11-22 09:26, which sorts and is a date to it.
Minute = DateTime().with_variant(
    sqlite.DATETIME(  # type: ignore[no-untyped-call]
        storage_format="%(year)04d-%(month)02d-%(day)02d %(hour)02d:%(minute)02d"
    ),
    "sqlite",
)
Number = BigInteger().with_variant(Integer, "sqlite")
metadata = MetaData()  # `info["since"]`: the version that a table or a column is there from
RESTORE = "bring back a copy, or set [storage] database to another"

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Number, primary_key=True),
    Column("timestamp", Minute, nullable=False),
    Column("query", Text, nullable=False),
    Column("row_limit", Number, nullable=False),
    Column("rows", Number, nullable=False),
    Column("last_indexed", Text),
    Column("is_complete", Boolean, nullable=False),
    Column("is_sandbox", Boolean, nullable=False),
    Column("content_hash", Text, nullable=False),
    # PostgreSQL's B-trees take values up to 2,700 bytes; a query may be longer.
    UniqueConstraint("timestamp", "query", "row_limit").ddl_if(dialect="sqlite"),
    Index("snapshots_once", "timestamp", text("md5(query)"), "row_limit", unique=True).ddl_if(
        dialect="postgresql"
    ),
)
complaints = Table(
    "complaints",
    metadata,
    Column("complaint_id", Text, primary_key=True),
    *(Column(column.field, TYPES[column.type]) for column in COLUMNS if column.field in FIELDS),
    Column("first_seen", Minute, nullable=False),
    Column("last_seen", Minute, nullable=False),
    Column("last_changed", Minute, nullable=False),
    Column("withdrawn", Minute),
    Column("sent", Integer, nullable=False),  # bits: the fields, in their order, that were ever sent with it
    Column("last_sent", Text),  # JSON: of those that were not when it was seen last, when they were
    Index("complaints_by_date_received", "date_received"),
    Index("complaints_by_company", "company", "date_received").ddl_if(dialect="sqlite"),
    # SP-GiST takes a text of any length.
    Index("complaints_by_company", "company", postgresql_using="spgist").ddl_if(dialect="postgresql"),
)
_by_withdrawal = Index(
    "complaints_withdrawn",
    complaints.c.withdrawn,
    sqlite_where=complaints.c.withdrawn.is_not(None),
    postgresql_where=complaints.c.withdrawn.is_not(None),
)
history = Table(
    "history",
    metadata,
    Column("id", Number, primary_key=True),
    Column("complaint_id", Text, nullable=False),
    Column("change", Text, nullable=False),
    Column("field", Text),
    Column("old", Text),
    Column("new", Text),
    Column("snapshot_id", ForeignKey("snapshots.id"), nullable=False),
    Index("history_by_complaint", "complaint_id"),
    Index("history_by_snapshot", "snapshot_id"),
)
syncs = Table(
    "syncs",
    metadata,
    Column("id", Number, primary_key=True),
    Column("timestamp", Minute, nullable=False),
    Column("query", Text, nullable=False),
    Column("since", Date, nullable=False),
    Column("last_indexed", Text),
    Column("total_record_count", Number),
    Column("hits_total", Number, nullable=False),
    Column("windows", Text, nullable=False),
    Column("lookups", Text),
    Column("is_finished", Boolean, nullable=False),
    Column("form", Text, info={"since": 2}),  # JSON of guard.HitProfile, once the sync came to its end
)
# Complaints that a complete observation, of the minute `since`, lacked, and that nothing proves to be gone.
unverified = Table(
    "unverified",
    metadata,
    Column("complaint_id", Text, primary_key=True),
    Column("since", Minute, nullable=False),
    Column("held_since", Minute),  # an implausible loss, and when it was first seen
    info={"since": 2},
)
coverage = Table(
    "coverage",
    metadata,
    Column("id", Number, primary_key=True),
    Column("query", Text, nullable=False),  # without its bounds of date_received
    Column("first_day", Date),  # null: no bound
    Column("last_day", Date),  # null: no bound
    Column("as_of", Minute, nullable=False),
    Column("row_limit", Number, nullable=False),  # 0: every complaint of these days
    Column("range_start", Date, nullable=False),  # the same in all rows whose days adjoin
    info={"since": 2},
)
_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

VIEWS = {
    "current_complaints": (
        f"SELECT complaint_id, {', '.join(FIELDS)}, first_seen, last_seen, last_changed "  # noqa: S608
        "FROM complaints WHERE withdrawn IS NULL"
    ),
    "changes": (
        "SELECT h.complaint_id, h.change, h.field, h.old, h.new, s.timestamp AS snapshot "
        "FROM history h JOIN snapshots s ON s.id = h.snapshot_id"
    ),
    "coverage_by_query": (
        "SELECT query, CASE WHEN count(first_day) = count(*) THEN min(first_day) END AS first_day, "
        "CASE WHEN count(last_day) = count(*) THEN max(last_day) END AS last_day, "
        "min(as_of) AS as_of, max(as_of) AS newest_as_of, row_limit = 0 AS complete, "
        "nullif(row_limit, 0) AS newest FROM coverage "
        "GROUP BY query, row_limit, range_start, CASE WHEN row_limit > 0 THEN id END"
    ),
}

Step = Callable[[Connection], object]


def _lift_limits_of_indexes(connection: Connection) -> None:
    """Replace PostgreSQL's indexes that fail on long values."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text("DROP INDEX IF EXISTS complaints_by_company"))
    connection.execute(
        text("ALTER TABLE snapshots DROP CONSTRAINT IF EXISTS snapshots_timestamp_query_row_limit_key")
    )
    connection.execute(text("CREATE INDEX complaints_by_company ON complaints USING spgist (company)"))
    connection.execute(
        text("CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, md5(query), row_limit)")
    )


def _doubt_withdrawals(connection: Connection) -> None:
    """Let later syncs verify each withdrawal that version 1 concluded from a part of the complaints alone."""
    unverified.create(connection)
    connection.execute(text("ALTER TABLE syncs ADD COLUMN form TEXT"))
    newest = (
        select(func.max(history.c.id))
        .where(history.c.change == "withdrawn", history.c.complaint_id == complaints.c.complaint_id)
        .correlate(complaints)
        .scalar_subquery()
    )
    unproven = (
        select(complaints.c.complaint_id, complaints.c.withdrawn)
        .join(history, history.c.id == newest)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(complaints.c.withdrawn.is_not(None), snapshots.c.query != "")
    )
    connection.execute(unverified.insert().from_select(["complaint_id", "since"], unproven))


def _to_version_2(connection: Connection) -> None:
    _lift_limits_of_indexes(connection)
    _doubt_withdrawals(connection)
    _by_withdrawal.create(connection)
    coverage.create(connection)
    connection.execute(text(f"CREATE VIEW coverage_by_query AS {VIEWS['coverage_by_query']}"))


# From version 1 to 2, from 2 to 3, ...; a new database is made at the last.
STEPS: Sequence[Step] = (_to_version_2,)
NEWEST = 1 + len(STEPS)


def prepare(connection: Connection, steps: Sequence[Step] = STEPS) -> int | None:
    """Make the tables and views, or bring those of an older version to this one.

    Return the version before, None where there was nothing.

    Raises:
        SchemaError: the database holds tables that are not ours, or is of a newer version.

    """
    newest = 1 + len(steps)
    version = version_of(connection)
    if version is None:
        metadata.create_all(connection, checkfirst=False)
        for name, query in VIEWS.items():
            connection.execute(text(f"CREATE VIEW {name} AS {query}"))
        connection.execute(_version.insert().values(version=newest))
        return None
    check_version(version, newest)
    for step in steps[version - 1 :]:
        step(connection)
    if version < newest:
        connection.execute(_version.update().values(version=newest))
    return version


def version_of(connection: Connection) -> int | None:
    """Return the version of a database's schema, or None where nothing was made yet.

    Raises:
        SchemaError: there are tables or views of our names, and not one version of ours.

    """
    inspector = inspect(connection)
    if inspector.has_table(_version.name) and _is_our_version(inspector):
        versions = connection.scalars(select(_version.c.version)).all()
        if len(versions) > 1:
            raise SchemaError(
                f"the database is damaged: schema_version holds {len(versions)} rows, not one; {RESTORE}"
            )
        if versions:
            return int(versions[0])
    tables, views = set(inspector.get_table_names()), set(inspector.get_view_names())
    if taken := (tables | views) & (metadata.tables.keys() | VIEWS.keys()):
        name = min(taken)
        raise SchemaError(
            f"the database has no schema version, but a {'view' if name in views else 'table'} {name}: "
            "luigi_etl did not make it; set [storage] database to one of its own"
        )
    return None


def _is_our_version(inspector: Inspector) -> bool:
    """Tell our table of the version from others': the name is a common one (Flyway has it too)."""
    columns = inspector.get_columns(_version.name)
    return [(column["name"], type(column["type"])) for column in columns] == [("version", INTEGER)]


def check_version(version: int, newest: int = NEWEST) -> None:
    """See to it that this version of the program can use a database.

    Raises:
        SchemaError: it is of a newer one, or of none that ever was.

    """
    if version < 1:
        raise SchemaError(f"the database is damaged: schema_version holds {version}; {RESTORE}")
    if version > newest:
        raise SchemaError(
            f"the database's schema is of version {version}; this luigi_etl knows up to {newest}: "
            "install a newer luigi_etl"
        )
