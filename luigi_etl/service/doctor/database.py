"""Check the database, and list its coverage."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from luigi_etl.common.errors import NoDatabaseError, TransientError
from luigi_etl.common.minutes import as_text, this_minute
from luigi_etl.common.terminal import counted
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import read_coverage
from luigi_etl.database.covered_days import CoveredRange, join_ranges
from luigi_etl.database.damage import find_missing_part
from luigi_etl.database.rows import count_complaints
from luigi_etl.database.schema import RESTORE
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.doctor.runs import DAY, describe_run
from luigi_etl.service.run_history import find_newest_runs
from luigi_etl.service.run_status import TROUBLE, Run
from luigi_etl.service.status import count_held_back
from luigi_etl.snapshot.guard import HELD_BACK_REMEDY
from luigi_etl.tasks.config import storage
from luigi_etl.tasks.future_minutes import describe_future_minute, find_future_minute

MOST_RANGES = 5  # of the coverage


@dataclass(frozen=True)
class _Content:
    complaints: int
    later_minute: datetime | None
    coverage: list[CoveredRange]
    held_back: int


def check_database() -> Iterator[Finding]:
    """Check that the database can be read and is whole; list its coverage."""
    database = Database(storage().database_address)
    succeeded = find_newest_runs(storage().path, ignoring=TROUBLE | {"skipped"})
    try:
        with database.reading() as connection:
            count, missing = count_complaints(connection), find_missing_part(connection)
            content = None if missing else _read_content(connection, count)
    except NoDatabaseError:
        yield _check_absence(database.name, succeeded)
    except TransientError as error:
        yield failed(f"{error}: if this persists, check the server and [storage] database")
    else:
        if content:
            yield from _check_content(database.name, content, succeeded)
        else:
            yield failed(f"{database.name} is damaged: {missing}; {RESTORE}")


def _read_content(connection: Connection, complaints: int) -> _Content:
    return _Content(
        complaints,
        find_future_minute(connection),
        join_ranges(read_coverage(connection)),
        count_held_back(connection),
    )


def _check_content(name: str, content: _Content, succeeded: list[Run]) -> Iterator[Finding]:
    if content.later_minute:
        yield failed(describe_future_minute(name, content.later_minute))
    yield passed(f"{name}: {counted(content.complaints, 'complaint')}, {_last_sync(succeeded)}")
    yield from _list_coverage(content.coverage)
    if content.held_back:
        yield failed(
            f"the withdrawal of {counted(content.held_back, 'complaint')} is held back: {HELD_BACK_REMEDY}"
        )


def _list_coverage(coverage: list[CoveredRange]) -> Iterator[Finding]:
    for covered_range in coverage[:MOST_RANGES]:
        yield passed(f"it covers {covered_range}")
    if len(coverage) > MOST_RANGES:
        yield passed(f"and {len(coverage) - MOST_RANGES:,} more: see `luigi-etl status`")
    if not coverage:
        yield passed("it covers no query completely")


def _check_absence(name: str, succeeded: list[Run]) -> Finding:
    """Check that no run of the last day filled the missing database."""
    now = this_minute()
    for run in succeeded:
        if run.outcome in ("merged", "synced") and now - run.minute < DAY:
            return failed(
                f"{name} does not exist, although a run filled it ({describe_run(run)}): "
                "correct [storage] database, or let SyncComplaints fill it again"
            )
    return passed(f"{name}: none yet")


def _last_sync(succeeded: list[Run]) -> str:
    synced = [run.minute for run in succeeded if run.outcome == "synced"]
    return f"last sync {as_text(max(synced))}" if synced else "no sync on record"
