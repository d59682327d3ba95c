"""What keeps the database up to date: a task for each minute."""

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import luigi

from luigi_etl.common.errors import DriftError, HeldBackError, RefusedError, TransientError
from luigi_etl.snapshot.paths import SnapshotFiles, sync_folder, sync_slug
from luigi_etl.tasks.base import Recorded, Repeated, Snapshot, Targets, targets
from luigi_etl.tasks.chain import ExtractComplaints, ParseComplaints
from luigi_etl.tasks.config import ccdb, guard, storage
from luigi_etl.tasks.future_minutes import warn_of_later_minutes
from luigi_etl.tasks.parameters import MOST_DAYS, DayParameter, WholeNumberParameter

if TYPE_CHECKING:
    from luigi_etl.database.change_log import Counts
    from luigi_etl.database.sync import Syncer
    from luigi_etl.database.sync_table import Sync
    from luigi_etl.snapshot.guard import HitProfile

logger = logging.getLogger("luigi_etl")


class Window(Snapshot):
    """The base of the tasks that read a window of a sync, whose files lie apart from all snapshots."""

    sync = luigi.Parameter(description="the query that is synced, as its files are named")

    @cached_property
    def files(self) -> SnapshotFiles:
        """The paths of what is made."""
        return SnapshotFiles(sync_folder(storage().path, self.sync), self.slug, self.timestamp)


class ExtractWindow(Window, ExtractComplaints):
    """The API's pages of a window."""


class ParseWindow(Window, ParseComplaints):
    """The complaints of a window, and its rejected hits."""

    def requires(self) -> ExtractWindow:
        """Return the task that fetches the pages."""
        return self.same(ExtractWindow)


class MergeWindow(Window):
    """A window in the database."""

    def requires(self) -> ParseWindow:
        """Return the task that reads the complaints."""
        return self.same(ParseWindow)

    def output(self) -> Targets:
        """Return the changes."""
        return targets(changes=self.files.changes)

    def run(self) -> None:
        """Merge the window, with further attempts after failures that pass."""
        self.with_retries(self._attempt)

    def _attempt(self) -> None:
        from luigi_etl.database.change_log import Key, write_changes
        from luigi_etl.database.connection import Database
        from luigi_etl.database.merge import merge_window

        database = Database(storage().database_address)
        merge_window(database, self.files, self.parsed_query, self.show_progress)
        write_changes(database, [Key(self.timestamp, self.query, 0)], self.files.changes)


class SyncComplaints(Repeated, Recorded):
    """The database, up to date: one request if nothing has changed, else the last days again, by windows."""

    days = WholeNumberParameter(90, 1, MOST_DAYS, "read so many days again; what is older hardly changes")
    since = DayParameter("read again from this day on, instead of days")

    @property
    def slug(self) -> str:
        """The query as a file name, apart from its snapshots."""
        return sync_slug(self.parsed_query.slug(0))

    @property
    def first_day(self) -> date:
        """The day from which on complaints are read again."""
        return self.since or self.timestamp.date() - timedelta(days=self.days)

    def run(self) -> Iterator[list[MergeWindow]]:
        """Go on with the sync that is under way, or see whether there is to be one.

        Luigi leaves here until the windows are merged, then runs this once more: by then one is under way.
        After one that was interrupted, and does not reach as far back as this should, another one is begun.
        """
        counts = None
        while sync := self.with_retries(self._begun):
            slug = self.parsed_query.slug(0)
            yield [MergeWindow(one.timestamp, one.query, 0, slug) for one in sync.windows]
            counts = self._end(sync)
            if sync.since <= self.first_day:
                break
        counts = counts or self._stay()
        warn_of_later_minutes(self.task_family)
        self.record("synced", counts=counts._asdict())
        self._has_run = True

    @cached_property
    def _upkeep(self) -> "Syncer":
        from luigi_etl.database.connection import Database
        from luigi_etl.database.sync import Syncer

        return Syncer(Database(storage().database_address), storage().path, self.parsed_query)

    def _begun(self) -> "Sync | None":
        from luigi_etl.api.client import Client

        self._upkeep.lock_out_others()
        with Client(ccdb().settings(), self.set_status) as client:
            sync = self._upkeep.interrupted(client, self.timestamp) or self._upkeep.begin(
                client, self.timestamp, self.first_day, guard().limits()
            )
        if sync:
            self.set_status(f"what was received since {sync.since}, by windows: {len(sync.windows):,}")
        return sync

    def _end(self, sync: "Sync") -> "Counts":
        """Look up the complaints that the windows lack; report and return what changed."""
        problem = self._verify(sync)
        counts, form = self.with_retries(lambda: self._upkeep.finish(sync, self.files))
        self.print_result(f"{counts}, of what was received since {sync.since}: {self.files.changes}")
        self._check(form, problem)
        return counts

    def _stay(self) -> "Counts":
        """Report that the API has nothing new, unless the last sync left something open."""
        from luigi_etl.database.change_log import Counts

        counts, last = Counts(), self._upkeep.last()
        if last is None:
            return counts
        before = len(last.lookups)
        problem = self._verify(last)
        if len(last.lookups) > before:
            counts = self.with_retries(lambda: self._upkeep.report(last, before, self.files.changes))
            self.print_result(
                f"{counts}, by looking up what earlier syncs did not find: {self.files.changes}"
            )
        else:
            self.print_result("up to date: nothing changed since the last sync")
        self._check(last.form, problem)
        return counts

    def _verify(self, sync: "Sync") -> str:
        """Look up what is unverified; return why that is held back, if it is."""
        from luigi_etl.api.client import Client
        from luigi_etl.database.id_lookup import QueryRead, Verifier
        from luigi_etl.database.sql_filter import is_lasting

        if not is_lasting(self.parsed_query):
            return ""
        now = self.timestamp
        covered = QueryRead(self.parsed_query, self._upkeep.days_of(sync))
        with Client(ccdb().settings(), self.set_status) as client:
            verifier = Verifier(self._upkeep.database, client)
            try:
                for lookup in verifier.verify(covered, now, guard().limits()):
                    self._upkeep.add_lookup(sync, lookup)
            except HeldBackError as error:
                return str(error)
            except (TransientError, RefusedError) as error:
                logger.warning("%s: what is missing stays unverified: %s", self.task_family, error)
        return ""

    def _check(self, form: "HitProfile | None", problem: str) -> None:
        """Fail where what was read is not what the API sends today, or its losses are implausible.

        Raises:
            HeldBackError, DriftError: everything that can be read is in the database.

        """
        if problem:
            raise HeldBackError(problem)
        drift = form and guard().limits().find_drift(form)
        if drift:
            raise DriftError(f"{drift}; every valid complaint was merged")
        if form and form.rejected:
            logger.warning(
                "%s: %d hits of the last sync are no valid complaints", self.task_family, form.rejected
            )
