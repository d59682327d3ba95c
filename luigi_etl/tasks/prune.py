"""What keeps the disk from filling: a task for each night."""

from datetime import datetime, timedelta, timezone

import luigi

from luigi_etl.tasks.base import Repeated
from luigi_etl.tasks.config import storage
from luigi_etl.tasks.parameters import MOST_DAYS, WholeNumberParameter


class PruneSnapshots(Repeated):
    """Removes old snapshots of all queries, whole, and what interrupted runs left; never a query's newest."""

    keep_days = WholeNumberParameter(30, 1, MOST_DAYS, description="snapshots younger than this stay")
    dry_run = luigi.BoolParameter(description="only tell what would be removed")

    def run(self) -> None:
        """Remove what is old, and tell how much it was."""
        from luigi_etl.snapshot.prune import prune

        now = datetime.now(timezone.utc).replace(tzinfo=None)
        before = now - timedelta(days=self.keep_days)
        pruned = prune(storage().path, before, dry_run=self.dry_run)
        days = "day" if self.keep_days == 1 else "days"
        self.print_result(f"older than {self.keep_days} {days}: {pruned.told(self.dry_run)}")
        pruned.check()
        self._has_run = True
