"""PruneSnapshots, the nightly clean-up."""

from datetime import datetime, timedelta, timezone

import luigi

from luigi_etl.tasks.base import Repeated
from luigi_etl.tasks.config import storage
from luigi_etl.tasks.parameters import MOST_DAYS, WholeNumberParameter


class PruneSnapshots(Repeated):
    """A clean-up of old snapshots and leftover files; the newest snapshot of each query stays."""

    keep_days = WholeNumberParameter(30, 1, MOST_DAYS, description="keep snapshots younger than this")
    dry_run = luigi.BoolParameter(description="only show what would be removed")

    def run(self) -> None:
        """Remove old snapshots, and report how many."""
        from luigi_etl.snapshot.prune import prune

        now = datetime.now(timezone.utc).replace(tzinfo=None)
        before = now - timedelta(days=self.keep_days)
        pruned = prune(storage().path, before, dry_run=self.dry_run)
        days = "day" if self.keep_days == 1 else "days"
        self.print_result(f"older than {self.keep_days} {days}: {pruned.summarize(self.dry_run)}")
        pruned.check()
        self._has_run = True
