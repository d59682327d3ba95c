"""Databases of older versions: the tables of version 1 with one complaint, and steps back."""

import re
from collections.abc import Callable

_STATEMENTS = """
CREATE TABLE complaints (
    complaint_id TEXT NOT NULL,
    date_received DATE, product TEXT, sub_product TEXT, issue TEXT, sub_issue TEXT,
    complaint_what_happened TEXT, company_public_response TEXT, company TEXT, state TEXT, zip_code
    TEXT, tags TEXT, consumer_consent_provided TEXT, submitted_via TEXT, date_sent_to_company DATE,
    company_response TEXT, timely TEXT, consumer_disputed TEXT, has_narrative BOOLEAN,
    first_seen MINUTE NOT NULL, last_seen MINUTE NOT NULL, last_changed MINUTE NOT NULL,
    withdrawn MINUTE, sent INTEGER NOT NULL, last_sent TEXT,
    PRIMARY KEY (complaint_id)
);
CREATE INDEX complaints_by_company ON complaints (company, date_received);
CREATE INDEX complaints_by_date_received ON complaints (date_received);
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE snapshots (
    id SERIAL NOT NULL, timestamp MINUTE NOT NULL, query TEXT NOT NULL, row_limit NUMBER NOT NULL,
    rows NUMBER NOT NULL, last_indexed TEXT, is_complete BOOLEAN NOT NULL, is_sandbox BOOLEAN NOT NULL,
    content_hash TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (timestamp, query, row_limit)
);
CREATE TABLE syncs (
    id SERIAL NOT NULL, timestamp MINUTE NOT NULL, query TEXT NOT NULL, since DATE NOT NULL,
    last_indexed TEXT, total_record_count NUMBER, hits_total NUMBER NOT NULL, windows TEXT NOT NULL,
    lookups TEXT, is_finished BOOLEAN NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE history (
    id SERIAL NOT NULL, complaint_id TEXT NOT NULL, change TEXT NOT NULL, field TEXT, old TEXT, new TEXT,
    snapshot_id NUMBER NOT NULL, PRIMARY KEY (id), FOREIGN KEY(snapshot_id) REFERENCES snapshots (id)
);
CREATE INDEX history_by_complaint ON history (complaint_id);
CREATE INDEX history_by_snapshot ON history (snapshot_id);
CREATE VIEW current_complaints AS SELECT complaint_id,
    date_received, product, sub_product, issue, sub_issue, complaint_what_happened,
    company_public_response, company, state, zip_code, tags, consumer_consent_provided,
    submitted_via, date_sent_to_company, company_response, timely, consumer_disputed, has_narrative,
    first_seen, last_seen, last_changed FROM complaints WHERE withdrawn IS NULL;
CREATE VIEW changes AS SELECT h.complaint_id, h.change, h.field, h.old, h.new, s.timestamp AS snapshot
    FROM history h JOIN snapshots s ON s.id = h.snapshot_id;
INSERT INTO schema_version VALUES (1);
INSERT INTO snapshots (timestamp, query, row_limit, rows, is_complete, is_sandbox, content_hash)
    VALUES ('2026-11-22 09:26', 'size=10', 10, 1, false, false, 'sha256:0');
INSERT INTO complaints (complaint_id, company, first_seen, last_seen, last_changed, sent)
    VALUES ('7', 'Acme Bank', '2026-11-22 09:26', '2026-11-22 09:26', '2026-11-22 09:26', 128);
INSERT INTO history (complaint_id, change, snapshot_id) VALUES ('7', 'new', 1)
"""


def _in(types: dict[str, str]) -> str:
    return re.sub(r"\b(?:MINUTE|SERIAL|NUMBER)\b", lambda found: types[found[0]], _STATEMENTS)


VERSION_1_OF_SQLITE = _in({"MINUTE": "DATETIME", "SERIAL": "INTEGER", "NUMBER": "INTEGER"})
VERSION_1_OF_POSTGRESQL = _in(
    {"MINUTE": "TIMESTAMP WITHOUT TIME ZONE", "SERIAL": "BIGSERIAL", "NUMBER": "BIGINT"}
)


def undo_version_4(run: Callable[[str], object], *, is_file: bool) -> None:
    """Make a database of version 4 one of version 3: ids are text, and the history has lines `new`."""
    minute = "DATETIME" if is_file else "TIMESTAMP"
    text_ids = "ALTER COLUMN complaint_id TYPE TEXT"
    in_sqlite = (
        "CREATE TABLE old_history (id INTEGER NOT NULL, complaint_id TEXT NOT NULL, change TEXT NOT NULL, "
        "field TEXT, old TEXT, new TEXT, snapshot_id INTEGER NOT NULL, PRIMARY KEY (id), "
        "FOREIGN KEY(snapshot_id) REFERENCES snapshots (id))",
        "INSERT INTO old_history SELECT * FROM history",
        "DROP TABLE history",
        "ALTER TABLE old_history RENAME TO history",
        "CREATE INDEX history_by_complaint ON history (complaint_id)",
        "CREATE INDEX history_by_snapshot ON history (snapshot_id)",
        "CREATE TABLE old_unverified "
        "(complaint_id TEXT PRIMARY KEY, since DATETIME NOT NULL, held_since DATETIME)",
        "INSERT INTO old_unverified SELECT * FROM unverified",
        "DROP TABLE unverified",
        "ALTER TABLE old_unverified RENAME TO unverified",
    )
    in_postgres = (f"ALTER TABLE history {text_ids}", f"ALTER TABLE unverified {text_ids}")
    for statement in (
        "CREATE TABLE old AS SELECT * FROM complaints",
        "ALTER TABLE stored_complaints RENAME TO replaced",
        "DROP VIEW changes",
        "DROP VIEW current_complaints",
        "DROP VIEW complaints",
        _statement("CREATE TABLE complaints").replace("MINUTE", minute),
        "INSERT INTO complaints SELECT * FROM old",
        *(in_sqlite if is_file else in_postgres),
        "INSERT INTO history (complaint_id, change, snapshot_id) "
        "SELECT complaint_id, 'new', first_snapshot FROM replaced",
        "DROP TABLE old",
        "DROP TABLE replaced",
        "DROP TABLE digested_file",
        "CREATE INDEX complaints_by_company ON complaints (company, date_received)"
        if is_file
        else "CREATE INDEX complaints_by_company ON complaints USING spgist (company)",
        "CREATE INDEX complaints_by_date_received ON complaints (date_received)",
        "CREATE INDEX complaints_withdrawn ON complaints (withdrawn) WHERE withdrawn IS NOT NULL",
        _statement("CREATE VIEW current_complaints"),
        _statement("CREATE VIEW changes"),
        "UPDATE schema_version SET version = 3",
    ):
        run(statement)


def _statement(start: str) -> str:
    (found,) = (one for one in _STATEMENTS.split(";") if one.strip().startswith(start))
    return found


def undo_version_3(run: Callable[[str], object], *, is_file: bool) -> None:
    """Remove from a database of the newest version what version 2 lacks."""
    undo_version_4(run, is_file=is_file)
    names = "id, timestamp, query, row_limit, rows, last_indexed, is_complete, is_sandbox, content_hash"
    in_sqlite = (
        "DROP VIEW changes",
        "CREATE TABLE old (id INTEGER NOT NULL, timestamp DATETIME NOT NULL, query TEXT NOT NULL, "
        "row_limit INTEGER NOT NULL, rows INTEGER NOT NULL, last_indexed TEXT, is_complete BOOLEAN NOT NULL, "
        "is_sandbox BOOLEAN NOT NULL, content_hash TEXT NOT NULL, PRIMARY KEY (id), "
        "UNIQUE (timestamp, query, row_limit))",
        f"INSERT INTO old SELECT {names} FROM snapshots",
        "DROP TABLE snapshots",
        "ALTER TABLE old RENAME TO snapshots",
        _statement("CREATE VIEW changes"),
    )
    in_postgres = (
        "DROP INDEX snapshots_once",
        "ALTER TABLE snapshots DROP COLUMN source",
        "CREATE UNIQUE INDEX snapshots_once ON snapshots (timestamp, md5(query), row_limit)",
    )
    for statement in (*(in_sqlite if is_file else in_postgres), "UPDATE schema_version SET version = 2"):
        run(statement)


def undo_version_2(run: Callable[[str], object], *, is_file: bool) -> None:
    """Remove from a database of the newest version what version 1 lacks."""
    undo_version_3(run, is_file=is_file)
    statements = [
        "DROP VIEW coverage_by_query",
        *(f"DROP TABLE {table}" for table in ("coverage", "unverified")),
        "DROP INDEX complaints_withdrawn",
        "ALTER TABLE syncs DROP COLUMN form",
        "UPDATE schema_version SET version = 1",
    ]
    if not is_file:
        statements += [
            "DROP INDEX complaints_by_company",
            "CREATE INDEX complaints_by_company ON complaints (company, date_received)",
            "DROP INDEX snapshots_once",
            "ALTER TABLE snapshots ADD UNIQUE (timestamp, query, row_limit)",
        ]
    for statement in statements:
        run(statement)
