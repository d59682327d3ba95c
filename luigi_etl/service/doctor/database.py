"""Check the database: it is whole, and what it covers."""

from collections.abc import Iterator

from sqlalchemy import Connection

from luigi_etl.common.errors import NoDatabaseError, TransientError
from luigi_etl.common.minutes import as_text, this_minute
from luigi_etl.common.terminal import counted
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import covered
from luigi_etl.database.covered_days import CoveredRange, ranges
from luigi_etl.database.damage import find_missing
from luigi_etl.database.rows import count_complaints
from luigi_etl.database.schema import RESTORE
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.doctor.runs import DAY, describe_run
from luigi_etl.service.run_history import TROUBLE, Run, newest_of_each
from luigi_etl.service.status import count_held
from luigi_etl.snapshot.guard import RELEASE
from luigi_etl.tasks.config import storage
from luigi_etl.tasks.future_minutes import find_later_in_database, remedy

MOST_RANGES = 5  # of the database's coverage


def check_database() -> Iterator[Finding]:
    """Check that the database is readable and whole; list its coverage."""
    database = Database(storage().database_address)
    ended_well = newest_of_each(storage().path, besides=TROUBLE | {"skipped"})
    try:
        with database.reading() as connection:
            held, missing = count_complaints(connection), find_missing(connection)
            later = None if missing else find_later_in_database(connection)
            known = [] if missing else ranges(covered(connection))
            open_matters = None if missing else _open_matters(connection)
    except NoDatabaseError:
        yield _without_database(database.name, ended_well)
    except TransientError as error:
        yield failed(f"{error}: if it stays so, see to it, or to [storage] database")
    else:
        if missing:
            yield failed(f"{database.name} is damaged: {missing}; {RESTORE}")
            return
        if later:
            yield failed(remedy(database.name, later))
        yield passed(f"{database.name}: {counted(held, 'complaint')}, {_last_sync(ended_well)}")
        yield from _coverage(known)
        if open_matters:
            yield failed(open_matters)


def _open_matters(connection: Connection) -> str:
    """Return in one line how many withdrawals are held back; nothing if none is."""
    held = count_held(connection)
    return f"the withdrawal of {counted(held, 'complaint')} is held back: {RELEASE}" if held else ""


def _coverage(known: list[CoveredRange]) -> Iterator[Finding]:
    """Give what the database covers, in at most `MOST_RANGES` lines and one for the rest."""
    for one in known[:MOST_RANGES]:
        yield passed(f"it covers {one}")
    if len(known) > MOST_RANGES:
        yield passed(f"and {len(known) - MOST_RANGES:,} more: see `luigi-etl status`")
    if not known:
        yield passed("it covers no query completely")


def _without_database(name: str, ended_well: list[Run]) -> Finding:
    now = this_minute()
    for run in ended_well:
        if run.outcome in ("merged", "synced") and now - run.minute < DAY:
            return failed(
                f"{name}: there is nothing, although there was {describe_run(run)}: "
                "see to [storage] database, or let SyncComplaints fill it again"
            )
    return passed(f"{name}: none yet")


def _last_sync(ended_well: list[Run]) -> str:
    synced = [run.minute for run in ended_well if run.outcome == "synced"]
    return f"the last sync of {as_text(max(synced))}" if synced else "no sync on record"
