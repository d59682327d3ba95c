"""The verdicts on all snapshots of a folder and on the database."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from luigi_etl.database.connection import Database
from luigi_etl.service.verify.database import verify_database
from luigi_etl.service.verify.snapshot import verify_snapshot
from luigi_etl.service.verify.verdict import Verdict
from luigi_etl.snapshot.listing import FoundSnapshot, list_days, list_slugs, list_snapshots


def verify(
    root: Path, database: Database, is_wanted: Callable[[str], bool], since: datetime
) -> Iterator[Verdict]:
    """Verify the snapshots since a minute (naive UTC), and the database.

    `is_wanted` chooses queries by the names of their folders. The database is compared with the newest
    complete, merged snapshot of each query.

    Raises:
        OSError: a folder can't be read.
        DatabaseError, DatabaseUnavailableError: as `Database` raises them.

    """
    for slug in filter(is_wanted, list_slugs(root)):
        for found in _snapshots(root, slug, since):
            verdict = verify_snapshot(found)
            if verdict and not (verdict.difference and _is_pruned(found)):
                yield verdict
        verdict = verify_database(database, _snapshots(root, slug, since))
        if verdict:
            yield verdict


def _snapshots(root: Path, slug: str, since: datetime) -> Iterator[FoundSnapshot]:
    for day in list_days(root, slug):
        if day >= since.date():
            yield from (one for one in list_snapshots(root, slug, day) if one.files.timestamp >= since)


def _is_pruned(found: FoundSnapshot) -> bool:
    """Return whether another process has removed the snapshot in the meantime."""
    return not any(path.exists() for path in found.paths)
