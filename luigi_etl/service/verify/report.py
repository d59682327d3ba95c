"""The verdicts on all snapshots of a folder and on the database."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from luigi_etl.database.connection import Database
from luigi_etl.service.verify.database import verify_database
from luigi_etl.service.verify.snapshot import verify_snapshot
from luigi_etl.service.verify.verdict import Verdict
from luigi_etl.snapshot.listing import FoundSnapshot, days, slugs, snapshots

Wanted = Callable[[str], bool]


def verify(root: Path, database: Database, wanted: Wanted, since: datetime) -> Iterator[Verdict]:
    """Verify the snapshots of minutes since `since` (naive UTC) and the database.

    `wanted` chooses the queries by the names of their folders. Of each query the newest complete snapshot
    that was merged and is still on the disk is compared with the database.

    Raises:
        OSError: a folder can't be read.
        DatabaseError, DatabaseUnavailableError: as `Database` raises them.

    """
    for slug in filter(wanted, slugs(root)):
        for found in _snapshots(root, slug, since):
            verdict = verify_snapshot(found)
            if verdict and not (verdict.difference and _is_pruned_meanwhile(found)):
                yield verdict
        verdict = verify_database(database, _snapshots(root, slug, since))
        if verdict:
            yield verdict


def _snapshots(root: Path, slug: str, since: datetime) -> Iterator[FoundSnapshot]:
    for day in days(root, slug):
        if day >= since.date():
            yield from (one for one in snapshots(root, slug, day) if one.files.timestamp >= since)


def _is_pruned_meanwhile(found: FoundSnapshot) -> bool:
    return not any(path.exists() for path in found.paths)
