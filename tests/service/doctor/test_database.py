"""The check of the database."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import luigi
import pytest

from luigi_etl.api.query import parse_query
from luigi_etl.common.minutes import this_minute
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import record_snapshot
from luigi_etl.snapshot.paths import SnapshotFiles
from tests.conftest import Beside, Chain, Serve, free_port
from tests.made import ended, merged, stored, synced
from tests.service.doctor.helpers import DAY, HOUR, ONE, RunCheck, failure_of, findings_of

pytestmark = pytest.mark.slow

STATES = ["AK", "AL", "AR", "AZ", "CA", "CO", "CT"]
LISTED = [f"it covers state={state}, as of 2026-11-27 09:26 UTC" for state in STATES]


def test_missing_database_without_merges_passes(chain: Chain) -> None:
    stored(chain.folder / "data", this_minute())

    assert findings_of(chain, "database") == [(True, "data/complaints.db: none yet")]


def test_empty_server_database_is_none_yet(chain: Chain, postgres_address: str) -> None:
    chain.configure("storage", database=postgres_address)

    ((well, message),) = findings_of(chain, "database")

    assert (well, message.endswith(": none yet")) == (True, True)


def test_database_is_listed_with_size_and_last_sync(
    chain: Chain, served: Serve, database_address: str | Path, beside: Beside
) -> None:
    chain.configure("storage", database=database_address)
    minute = this_minute() - ONE
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}")
    assert chain.luigi(*arguments, task="SyncComplaints", url=served(2000).url).code == 0
    ((held,),) = beside("SELECT count(*) FROM complaints")
    (well, message), (_, coverage) = findings_of(chain, "database")
    assert well
    assert message == (
        f"{Database(database_address).name}: {held} complaints, last sync {minute:%Y-%m-%d %H:%M} UTC"
    )

    first = (minute - timedelta(days=90)).date()

    assert coverage == f"it covers all complaints from {first} on, as of {minute:%Y-%m-%d %H:%M} UTC"


def test_failed_and_skipped_syncs_are_not_the_last_sync(chain: Chain, served: Serve) -> None:
    url, minute = served().url, this_minute() - HOUR
    assert chain.luigi(task="MergeComplaints", url=url).code == 0
    synced(chain.folder / "data", minute)
    ended(chain.folder / "data", minute + ONE, "failed", slug="all~sync")
    ended(chain.folder / "data", minute + 2 * ONE, "skipped", slug="all~sync")

    message = f"data/complaints.db: 10 complaints, last sync {minute:%Y-%m-%d %H:%M} UTC"
    assert findings_of(chain, "database")[0] == (True, message)


def test_database_without_a_sync_passes(chain: Chain, served: Serve) -> None:
    assert chain.luigi(task="MergeComplaints", url=served().url).code == 0
    assert findings_of(chain, "database")[0] == (True, "data/complaints.db: 10 complaints, no sync on record")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (0, ["it covers no query completely"]),
        (2, LISTED[:2]),
        (7, [*LISTED[:5], "and 2 more: see `luigi-etl status`"]),
    ],
)
def test_coverage_is_listed_in_at_most_six_lines(
    here: RunCheck, sqlite_address: Path, states: int, expected: list[str]
) -> None:
    minute = datetime(2026, 11, 27, 9, 26)
    luigi.configuration.get_config().set("storage", "database", str(sqlite_address))
    with Database(sqlite_address).writing() as connection:
        for state in STATES[:states]:
            record_snapshot(connection, minute, parse_query(f"state={state}"), 0, is_whole=True)

    _, *findings = here("database")

    assert findings == [(True, line) for line in expected]


@pytest.mark.parametrize("make", [merged, synced])
def test_database_missing_after_a_run_fails(
    here: RunCheck, root: Path, make: Callable[[Path, datetime], SnapshotFiles]
) -> None:
    minute = this_minute() - ONE

    files = make(root, minute)

    outcome = "merged" if make is merged else "synced"
    assert here("database") == [
        (
            False,
            f"data/complaints.db does not exist, although a run filled it ({minute:%Y-%m-%d %H:%M} UTC of "
            f"{files.slug}, {outcome}): correct [storage] database, or let SyncComplaints fill it again",
        )
    ]


def test_database_missing_for_days_is_none_yet(here: RunCheck, root: Path) -> None:
    synced(root, this_minute() - DAY - ONE)

    assert here("database") == [(True, "data/complaints.db: none yet")]


def test_file_that_is_not_a_database_fails(chain: Chain) -> None:
    chain.configure("storage", database="notes.txt")
    (chain.folder / "notes.txt").write_text("notes " * 100)

    assert failure_of(chain, "database") == (
        "notes.txt can't be used as a database: file is not a database; give access to it, restore a "
        "backup, or set [storage] database"
    )


def test_database_of_a_newer_version_fails(
    chain: Chain, served: Serve, database_address: str | Path, beside: Beside
) -> None:
    chain.configure("storage", database=database_address)
    assert chain.luigi(task="MergeComplaints", url=served().url).code == 0
    beside("UPDATE schema_version SET version = 99")

    message = failure_of(chain, "database")

    assert message.startswith("the database's schema is of version 99; this luigi_etl knows up to ")
    assert message.endswith(": install a newer luigi_etl")


def test_unreachable_database_server_fails(here: RunCheck) -> None:
    port = free_port()
    luigi.configuration.get_config().set("storage", "database", f"postgresql://me@127.0.0.1:{port}/ours")

    ((well, message),) = here("database")

    assert not well
    assert message.startswith(f"postgresql://me@127.0.0.1:{port}/ours: ")
    assert message.endswith(": if this persists, check the server and [storage] database")


def test_database_message_hides_the_password(here: RunCheck) -> None:
    address = f"postgresql://127.0.0.1:{free_port()}/ours?sslpassword=sesame"
    luigi.configuration.get_config().set("storage", "database", address)

    ((_, message),) = here("database")

    assert "sesame" not in message
