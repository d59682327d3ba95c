"""SyncComplaints, which keeps the database up to date, and the tasks of its windows."""

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import luigi

from luigi_etl.common.errors import DriftError, HeldBackError, RefusedError, TransientError
from luigi_etl.common.terminal import counted
from luigi_etl.snapshot.paths import SnapshotFiles, sync_folder, sync_slug
from luigi_etl.tasks.base import Recorded, Repeated, Snapshot, Targets, targets
from luigi_etl.tasks.chain import ExtractComplaints, ParseComplaints
from luigi_etl.tasks.config import ccdb, guard, storage
from luigi_etl.tasks.future_minutes import warn_about_future_minutes
from luigi_etl.tasks.parameters import MOST_DAYS, DayParameter, WholeNumberParameter

if TYPE_CHECKING:
    from luigi_etl.database.change_log import Counts
    from luigi_etl.database.sync import Syncer
    from luigi_etl.database.sync_table import Sync
    from luigi_etl.snapshot.guard import HitProfile

logger = logging.getLogger("luigi_etl")


class Window(Snapshot):
    """The base of the tasks of a sync's window; its files are not among the snapshots."""

    sync = luigi.Parameter(description="query of the sync, as a file name")

    @cached_property
    def files(self) -> SnapshotFiles:
        """The paths of the files."""
        return SnapshotFiles(sync_folder(storage().path, self.sync), self.slug, self.timestamp)


class ExtractWindow(Window, ExtractComplaints):
    """The API's pages of a window."""


class ParseWindow(Window, ParseComplaints):
    """The valid complaints of a window and, separately, its rejected hits."""

    def requires(self) -> ExtractWindow:
        """Return the task that fetches the pages."""
        return self.clone_as(ExtractWindow)


class MergeWindow(Window):
    """A window merged into the database, and the file of its changes."""

    def requires(self) -> ParseWindow:
        """Return the task that parses the pages."""
        return self.clone_as(ParseWindow)

    def output(self) -> Targets:
        """Return the changes."""
        return targets(changes=self.files.changes)

    def run(self) -> None:
        """Merge the window, with retries."""
        self.with_retries(self._attempt)

    def _attempt(self) -> None:
        from luigi_etl.database.change_log import Key, write_changes
        from luigi_etl.database.merge import merge_window

        database = storage().open_database()
        merge_window(database, self.files, self.parsed_query, self.show_progress)
        write_changes(database, [Key(self.timestamp, self.query, 0)], self.files.changes)


class SyncComplaints(Repeated, Recorded):
    """An up-to-date database: one request if nothing changed, else the last days again, in windows."""

    days = WholeNumberParameter(
        90, 1, MOST_DAYS, "number of days to read again; older complaints rarely change"
    )
    since = DayParameter("first day to read again, instead of days")

    @property
    def slug(self) -> str:
        """The query as a file name, different from that of its snapshots."""
        return sync_slug(self.parsed_query.slug(0))

    @property
    def first_day(self) -> date:
        """The first day to read again."""
        return self.since or self.timestamp.date() - timedelta(days=self.days)

    def run(self) -> Iterator[list[MergeWindow]]:
        """Resume the unfinished sync, or begin one if the API has changed.

        At `yield` Luigi merges the windows, then calls `run` again, which resumes the sync and finishes it.
        If a resumed sync does not reach back to `first_day`, another one follows.
        """
        counts = None
        while sync := self.with_retries(self._resume_or_begin):
            slug = self.parsed_query.slug(0)
            yield [MergeWindow(one.timestamp, one.query, 0, slug) for one in sync.windows]
            counts = self._finish(sync)
            if sync.since <= self.first_day:
                break
        counts = counts or self._check_last_sync()
        warn_about_future_minutes(self.task_family)
        self.record("synced", counts=counts._asdict())
        self._has_run = True

    @cached_property
    def _syncer(self) -> "Syncer":
        from luigi_etl.database.sync import Syncer

        return Syncer(storage().open_database(), storage().path, self.parsed_query)

    def _resume_or_begin(self) -> "Sync | None":
        from luigi_etl.api.client import Client

        self._syncer.lock_out_others()
        with Client(ccdb().settings(), self.set_status) as client:
            sync = self._syncer.resume(client, self.timestamp) or self._syncer.begin(
                client, self.timestamp, self.first_day, guard().limits()
            )
        if sync:
            self.set_status(
                f"reading complaints received since {sync.since}: {counted(len(sync.windows), 'window')}"
            )
        return sync

    def _finish(self, sync: "Sync") -> "Counts":
        """Look up complaints that are missing in the windows; report and return the changes."""
        problem = self._verify(sync)
        counts, form = self.with_retries(lambda: self._syncer.finish(sync, self.files))
        self.print_result(f"{counts}, among complaints received since {sync.since}: {self.files.changes}")
        self._check(form, problem)
        return counts

    def _check_last_sync(self) -> "Counts":
        """Report that nothing changed; first look up complaints that the last sync left unverified."""
        from luigi_etl.database.change_log import Counts

        counts, last = Counts(), self._syncer.last_sync()
        if last is None:
            return counts
        before = len(last.lookups)
        problem = self._verify(last)
        if len(last.lookups) > before:
            counts = self.with_retries(
                lambda: self._syncer.write_lookup_changes(last, before, self.files.changes)
            )
            self.print_result(f"{counts}, among complaints missing from earlier syncs: {self.files.changes}")
        else:
            self.print_result("up to date: nothing changed since the last sync")
        self._check(last.form, problem)
        return counts

    def _verify(self, sync: "Sync") -> str:
        """Look up unverified complaints; return why withdrawals are held back, or an empty text."""
        from luigi_etl.api.client import Client
        from luigi_etl.database.id_lookup import QueryRead, Verifier
        from luigi_etl.database.sql_filter import has_stable_filters

        if not has_stable_filters(self.parsed_query):
            return ""
        now = self.timestamp
        covered = QueryRead(self.parsed_query, self._syncer.days_of(sync))
        with Client(ccdb().settings(), self.set_status) as client:
            verifier = Verifier(self._syncer.database, client)
            try:
                for lookup in verifier.verify(covered, now, guard().limits()):
                    self._syncer.add_lookup(sync, lookup)
            except HeldBackError as error:
                return str(error)
            except (TransientError, RefusedError) as error:
                logger.warning("%s: missing complaints stay unverified: %s", self.task_family, error)
        return ""

    def _check(self, form: "HitProfile | None", problem: str) -> None:
        """Raise an error for `problem` or for schema drift.

        Raises:
            HeldBackError, DriftError: every valid complaint is in the database.

        """
        if problem:
            raise HeldBackError(problem)
        drift = form and guard().limits().find_drift(form)
        if drift:
            raise DriftError(f"{drift}; every valid complaint was merged")
        if form and form.rejected:
            logger.warning(
                "%s: %d hits of the last sync are not valid complaints", self.task_family, form.rejected
            )
