"""The database's tables and views."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.dialects import sqlite

from luigi_etl.snapshot.columns import COLUMNS

FIELDS = tuple(column.field for column in COLUMNS if column.field != "complaint_id")
DATES = frozenset(column.field for column in COLUMNS if column.type == "date")
TYPES = {"date": Date, "boolean": Boolean, "string": Text}

# A minute, naive UTC. SQLite stores the text 2026-11-22 09:26, which sorts and suits its date functions.
Minute = DateTime().with_variant(
    sqlite.DATETIME(  # type: ignore[no-untyped-call]
        storage_format="%(year)04d-%(month)02d-%(day)02d %(hour)02d:%(minute)02d"
    ),
    "sqlite",
)
Number = BigInteger().with_variant(Integer, "sqlite")


class ComplaintId(TypeDecorator[str]):
    """A complaint's id: text of digits in the program, an integer in the database."""

    impl = Number
    cache_ok = True

    def process_bind_param(self, value: str | None, _: Dialect) -> int | None:
        """Return an id as the database stores it."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, _: Dialect) -> str | None:
        """Return an id as the program uses it."""
        return None if value is None else str(value)


metadata = MetaData()  # `info["since"]`: the schema version that added a table or column
RESTORE = "restore a backup, or set [storage] database to another"

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
    # the hash of a complaint file's content; empty: the API
    Column("source", Text, nullable=False, server_default="", info={"since": 3}),
    Index("snapshots_once", "timestamp", "query", "row_limit", "source", unique=True).ddl_if(
        dialect="sqlite"
    ),
    # PostgreSQL's B-trees accept up to 2,700 bytes; a query may be longer.
    Index("snapshots_once", "timestamp", text("md5(query)"), "row_limit", "source", unique=True).ddl_if(
        dialect="postgresql"
    ),
)
stored_complaints = Table(
    "stored_complaints",
    metadata,
    Column("complaint_id", ComplaintId, primary_key=True, autoincrement=False),
    *(Column(column.field, TYPES[column.type]) for column in COLUMNS if column.field in FIELDS),
    Column("first_snapshot", Number, nullable=False),  # the id of the snapshot that showed it first
    # null: in the digested file, and not since
    Column("last_seen", Minute),
    Column("last_changed", Minute),  # null: it never changed
    Column("withdrawn", Minute),
    Column("sent", Integer, nullable=False),  # bit mask: the fields that were ever sent
    Column("last_sent", Text),  # JSON: minute of the last value of each field that is no longer sent
    # the digest of its line in the digested file, while that line would change nothing; else null
    Column("file_digest", Number),
    info={"since": 4},
)
# SQL, because SQLAlchemy's options for PostgreSQL import its dialect, which slows each start.
_INDEXES = {
    "complaints_by_date_received": "(date_received)",
    "complaints_by_first_snapshot": "(first_snapshot)",
    "complaints_withdrawn": "(withdrawn) WHERE withdrawn IS NOT NULL",
}
STORED_INDEXES = {
    "sqlite": {**_INDEXES, "complaints_by_company": "(company, date_received)"},
    # SP-GiST accepts text of any length.
    "postgresql": {**_INDEXES, "complaints_by_company": "USING spgist (company)"},
}
# The minute of the file whose lines have the digests in `stored_complaints`; the file loaded first, or the
# newest complete one.
digested_file = Table("digested_file", metadata, Column("as_of", Minute, nullable=False), info={"since": 4})
# The view that everybody reads.
complaints = Table(
    "complaints",
    MetaData(),
    Column("complaint_id", ComplaintId, primary_key=True),
    *(Column(column.field, TYPES[column.type]) for column in COLUMNS if column.field in FIELDS),
    *(Column(name, Minute) for name in ("first_seen", "last_seen", "last_changed", "withdrawn")),
    Column("sent", Integer),
    Column("last_sent", Text),
)
history = Table(
    "history",
    metadata,
    Column("id", Number, primary_key=True),
    Column("complaint_id", ComplaintId, nullable=False),
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
    Column("form", Text, info={"since": 2}),  # JSON of guard.HitProfile; null before the sync ended
)
# Complaints that a complete snapshot of the minute `since` lacked, without proof of a withdrawal.
unverified = Table(
    "unverified",
    metadata,
    Column("complaint_id", ComplaintId, primary_key=True, autoincrement=False),
    Column("since", Minute, nullable=False),
    Column("held_since", Minute),  # minute when an implausible loss was first seen
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
    Column("range_start", Date, nullable=False),  # equal in all rows with adjoining days
    info={"since": 2},
)
schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

_FIRST_SEEN = "(SELECT s.timestamp FROM snapshots s WHERE s.id = c.first_snapshot)"
_AS_OF = "(SELECT as_of FROM digested_file)"
VIEWS = {
    "complaints": (
        f"SELECT c.complaint_id, {', '.join(f'c.{field}' for field in FIELDS)}, {_FIRST_SEEN} AS first_seen, "  # noqa: S608
        f"CASE WHEN c.file_digest IS NOT NULL AND (c.last_seen IS NULL OR c.last_seen < {_AS_OF}) "
        f"THEN {_AS_OF} ELSE c.last_seen END AS last_seen, "
        f"coalesce(c.last_changed, {_FIRST_SEEN}) AS last_changed, c.withdrawn, c.sent, c.last_sent "
        "FROM stored_complaints c"
    ),
    "current_complaints": (
        f"SELECT complaint_id, {', '.join(FIELDS)}, first_seen, last_seen, last_changed "  # noqa: S608
        "FROM complaints WHERE withdrawn IS NULL"
    ),
    "changes": (
        "SELECT c.complaint_id, 'new' AS change, NULL AS field, NULL AS old, NULL AS new, "
        "s.timestamp AS snapshot FROM stored_complaints c JOIN snapshots s ON s.id = c.first_snapshot "
        "UNION ALL SELECT h.complaint_id, h.change, h.field, h.old, h.new, s.timestamp AS snapshot "
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
