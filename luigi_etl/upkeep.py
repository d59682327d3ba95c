"""What keeps the database up to date: a task for each minute."""

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from luigi_etl.config import MOST_DAYS, DayParameter, WholeNumberParameter, ccdb, storage
from luigi_etl.errors import RefusedError
from luigi_etl.paths import sync_slug
from luigi_etl.snapshot import Recorded, Repeated
from luigi_etl.tasks import MergeComplaints

if TYPE_CHECKING:
    from luigi_etl.sync import Sync, Upkeep

logger = logging.getLogger("luigi_etl")


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

    def run(self) -> Iterator[list[MergeComplaints]]:
        """Go on with the sync that is under way, or see whether there is to be one.

        Luigi leaves here until the windows are merged, then runs this once more: by then one is under way.
        After one that was interrupted, and does not reach as far back as this should, another one is begun.
        """
        while sync := self.patiently(self._begun):
            yield [MergeComplaints(one.timestamp, one.query, 0) for one in sync.windows]
            self._end(sync)
            if sync.since <= self.first_day:
                break
        self.record("synced")
        self._has_run = True

    @cached_property
    def _upkeep(self) -> "Upkeep":
        from luigi_etl.database import Database
        from luigi_etl.sync import Upkeep

        return Upkeep(Database(storage().database_address), storage().path, self.parsed_query)

    def _begun(self) -> "Sync | None":
        from luigi_etl.ccdb import Client

        self._upkeep.keep_alone()
        with Client(ccdb().settings(), self.say) as client:
            sync = self._upkeep.interrupted(client, self.timestamp) or self._upkeep.begin(
                client, self.timestamp, self.first_day
            )
        if sync:
            self.say(f"what was received since {sync.since}, by windows: {len(sync.windows):,}")
        else:
            self.conclude("up to date: nothing changed since the last sync")
        return sync

    def _end(self, sync: "Sync") -> None:
        """Look up what the windows did not find, and tell what changed; each step again after failures."""
        whole = self.patiently(lambda: self._upkeep.with_lookups(sync, self.timestamp))
        try:
            self.patiently(lambda: self._look_up(whole))
        except RefusedError as error:
            logger.warning(
                "%s: what moved out of the windows counts as withdrawn: %s", self.task_family, error
            )
        counts = self.patiently(lambda: self._upkeep.finish(whole, self.files.changes))
        self.conclude(f"{counts}, of what was received since {sync.since}: {self.files.changes}")

    def _look_up(self, sync: "Sync") -> None:
        from luigi_etl.ccdb import Client

        with Client(ccdb().settings(), self.say) as client:
            self._upkeep.look_up(client, sync)
