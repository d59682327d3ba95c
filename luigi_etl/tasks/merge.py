"""MergeComplaints, the task that merges a snapshot into the database.

The database modules are imported inside `run`, because StoreComplaints runs each minute without them.
"""

import logging
from typing import TYPE_CHECKING

import luigi

from luigi_etl.api.client import Client
from luigi_etl.common.errors import HeldBackError, RefusedError, TransientError
from luigi_etl.common.minutes import this_minute
from luigi_etl.common.terminal import print_line
from luigi_etl.snapshot.newest import find_reason_to_keep
from luigi_etl.snapshot.parse import read_summary
from luigi_etl.tasks.base import Snapshot, Targets, targets
from luigi_etl.tasks.chain import StoreComplaints
from luigi_etl.tasks.config import ccdb, guard, storage
from luigi_etl.tasks.future_minutes import warn_about_future_minutes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luigi_etl.database.change_log import Counts, Key
    from luigi_etl.database.connection import Database

logger = logging.getLogger("luigi_etl")


class MergeComplaints(Snapshot):
    """A snapshot merged into the database, and the file of its changes."""

    def requires(self) -> StoreComplaints:
        """Return the task that completes the snapshot."""
        stored = self.clone_as(StoreComplaints)
        stored.is_check_deferred = True
        return stored

    def output(self) -> Targets:
        """Return the changes."""
        return targets(changes=self.files.changes)

    def run(self) -> None:
        """Merge the snapshot, with retries, and report the changes.

        Raises:
            HeldBackError: implausibly many complaints are missing; no complaint is marked as withdrawn.
            DriftError: schema drift, or too many invalid hits; every valid complaint was merged.

        """
        problem, counts = self.with_retries(self._attempt)
        warn_about_future_minutes(self.task_family)
        self.record("merged", counts=counts._asdict())
        print_line(f"{counts}: {self.files.changes}")
        self.set_file_status(self.files.changes, str(counts))
        summary = read_summary(self.files.summary)
        problem = problem or find_reason_to_keep(self.files, summary, guard().limits())
        self.clone_as(StoreComplaints).check(summary, problem)

    def _attempt(self) -> "tuple[str, Counts]":
        """Merge; return why withdrawals are held back (or an empty text), and the changes."""
        from luigi_etl.database.change_log import Key, write_changes
        from luigi_etl.database.merge import merge

        database, problem = storage().open_database(), ""
        keys = [Key(self.timestamp, self.query, self.limit)]
        try:
            merge(database, self.files, self.show_progress, guard().limits())
            keys += self._verify(database)
        except HeldBackError as error:
            problem = str(error)
        return problem, write_changes(database, keys, self.files.changes)

    def _verify(self, database: "Database") -> "Iterator[Key]":
        """Look up unverified complaints by id, and yield the keys of the lookups.

        Raises:
            HeldBackError: implausibly many complaints are unverified.

        """
        from luigi_etl.database.id_lookup import QueryRead, Verifier
        from luigi_etl.database.sql_filter import has_stable_filters

        if self.limit or not has_stable_filters(self.parsed_query):
            return
        with Client(ccdb().settings(), self.set_status) as client:
            verifier = Verifier(database, client)
            try:
                yield from verifier.verify(
                    QueryRead(self.parsed_query, self.parsed_query), this_minute(), guard().limits()
                )
            except (TransientError, RefusedError) as error:
                logger.warning("%s: missing complaints stay unverified: %s", self.task_family, error)


def _print_already_merged(task: MergeComplaints) -> None:
    print_line(f"already merged: {task.files.changes}")


MergeComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_print_already_merged)
