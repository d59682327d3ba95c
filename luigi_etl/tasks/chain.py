"""The chain: its tasks, each a few declarative lines over a module that knows nothing of Luigi.

CreateDocument ─────────────────────────────┐
ExtractComplaints ──▶ ParseComplaints ──▶ StoreComplaints ──▶ MergeComplaints

The modules of the database are imported where a task runs: a run each minute does not use them.
"""

import contextlib
import logging
from typing import TYPE_CHECKING

import luigi

from luigi_etl.api.client import Client
from luigi_etl.common.errors import (
    DamagedFileError,
    DriftError,
    EtlError,
    HeldBackError,
    RefusedError,
    TransientError,
)
from luigi_etl.common.minutes import as_parameter, this_minute
from luigi_etl.common.progress import ProgressBar
from luigi_etl.common.terminal import counted, print_line
from luigi_etl.snapshot.datapackage import SnapshotSpec, describe
from luigi_etl.snapshot.extract import Progress, extract
from luigi_etl.snapshot.guard import profile_hits
from luigi_etl.snapshot.newest import find_reason_to_keep
from luigi_etl.snapshot.parse import Summary, parse, read_summary
from luigi_etl.snapshot.store import create_document, publish, store
from luigi_etl.tasks.base import Snapshot, Targets, targets
from luigi_etl.tasks.config import ccdb, guard, storage
from luigi_etl.tasks.later import database_warning, latest_warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from luigi_etl.database.change_log import Counts, Key
    from luigi_etl.database.connection import Database

logger = logging.getLogger("luigi_etl")


class CreateDocument(Snapshot):
    """The empty document: its columns are decided here and nowhere after."""

    def output(self) -> Targets:
        """Return the document."""
        return targets(document=self.files.document)

    def run(self) -> None:
        """Write the header."""
        columns = create_document(self.files.document, storage().columns)
        self.set_file_status(self.files.document, counted(columns, "column"))


class ExtractComplaints(Snapshot):
    """The API's pages, verbatim: the source of truth, from which everything after can be redone offline."""

    def output(self) -> Targets:
        """Return the pages."""
        return targets(extracted=self.files.extracted)

    def run(self) -> None:
        """Walk over the API's pages, and again after failures that pass."""
        try:
            self.with_retries(self._attempt)
        except KeyboardInterrupt:
            again = f"--timestamp {as_parameter(self.timestamp)}"
            logger.warning(
                "%s: interrupted; whole pages are kept, %s goes on from there", self.task_family, again
            )
            raise

    def _attempt(self) -> None:
        bar = ProgressBar()
        with Client(ccdb().settings(), self.set_status) as client:
            try:
                extract(
                    client,
                    self.parsed_query.pairs,
                    self.limit,
                    self.files.extracted,
                    lambda progress: self._report(progress, bar),
                )
            finally:
                bar.clear()

    def _report(self, progress: Progress, bar: ProgressBar) -> None:
        pages = counted(progress.pages, "page")
        if progress.collected >= progress.expected:
            self.set_file_status(self.files.extracted, f"{counted(progress.collected, 'complaint')}, {pages}")
            return
        bar.show(progress.collected, progress.expected)
        message = f"{progress.collected:,} of {counted(progress.expected, 'complaint')}, {pages}"
        self.show_progress(progress.collected, progress.expected, message)


class ParseComplaints(Snapshot):
    """Typed complaints, and apart from them what is none."""

    def requires(self) -> ExtractComplaints:
        """Return the task that fetches the pages."""
        return self.same(ExtractComplaints)

    def output(self) -> Targets:
        """Return the complaints, the rejected hits and the summary."""
        files = self.files
        return targets(parsed=files.parsed, rejected=files.rejected, summary=files.summary)

    def run(self) -> None:
        """Parse the pages."""
        files = self.files
        summary = parse(
            files.extracted, files.parsed, files.rejected, files.summary, self.limit, self.show_progress
        )
        self.set_file_status(
            files.parsed, f"{counted(summary.parsed, 'complaint')}, {summary.rejected:,} rejected"
        )
        self._warn(summary)

    def _warn(self, summary: Summary) -> None:
        if summary.rejected:
            logger.warning(
                "%s: %d of %d hits are no valid complaints, see %s",
                self.task_family,
                summary.rejected,
                summary.hits,
                self.files.rejected,
            )
        if not summary.hits_total and not self.parsed_query.is_of_days_only:
            renamed = "; names of products changed in 2017 and 2023" if "product=" in self.query else ""
            logger.warning(
                "%s: no complaint matches %s; values are exact, capitals and all%s",
                self.task_family,
                self.query,
                renamed,
            )


class StoreComplaints(Snapshot):
    """The document, filled, described, and put where the newest always is."""

    is_required = False  # by a task that checks itself, once it has used every valid complaint

    def requires(self) -> dict[str, Snapshot]:
        """Return the tasks that make the document and what fills it."""
        return {"document": self.same(CreateDocument), "complaints": self.same(ParseComplaints)}

    def output(self) -> Targets:
        """Return the CSV and its description."""
        return targets(complaints=self.files.complaints, datapackage=self.files.datapackage)

    def run(self) -> None:
        """Write the CSV, give it the fixed name of the newest, and describe it last: then it is whole.

        Raises:
            HeldBackError: it lacks implausibly many complaints; the newest stays what it was.
            DriftError: its hits are not what the API sends today.

        """
        files = self.files
        summary = read_summary(files.summary)
        stored = store(
            files.document,
            files.parsed,
            files.complaints,
            summary.parsed,
            self.timestamp,
            self.show_progress,
        )
        problem = self._publish(summary)
        describe(files.datapackage, files.complaints, stored, summary, self._asked())
        self.record("stored")
        self.set_file_status(
            files.complaints, f"{counted(stored.rows, 'row')}, {counted(stored.size, 'byte')}"
        )
        self.tell(summary)
        if not self.is_required:
            self.check(summary, problem)

    def _asked(self) -> SnapshotSpec:
        return SnapshotSpec(self.parsed_query, self.limit, self.timestamp)

    def _publish(self, summary: Summary) -> str:
        """Give the CSV the fixed name of the newest, unless it holds less; return why that is held back."""
        limits, files = guard().limits(), self.files
        drift = limits.find_drift(profile_hits([summary]))
        if drift and drift.is_loss:
            return ""
        if problem := find_reason_to_keep(files, summary, limits):
            return problem
        if not publish(files.complaints, files.latest):
            stays = latest_warning(files.latest) or f"{files.latest} is of a newer minute and stays"
            logger.warning("%s: %s", self.task_family, stays)
        return ""

    def check(self, summary: Summary, problem: str) -> None:
        """Fail for a problem, or where the hits are not what the API sends today.

        Raises:
            HeldBackError, DriftError: every valid complaint is stored.

        """
        if problem:
            raise HeldBackError(problem)
        drift = guard().limits().find_drift(profile_hits([summary]))
        if drift and drift.is_loss:
            raise DriftError(
                f"{drift}; what is valid is in {self.files.complaints}, {self.files.latest} stays"
            )
        if drift:
            raise DriftError(f"{drift}; nothing else is missing in {self.files.complaints}")

    def tell(self, summary: Summary, already: str = "") -> None:
        """Print the run's one line: how many complaints, of how many, where."""
        sandbox = " (of the sandbox, not CFPB data)" if summary.sandbox else ""
        counts = f"{counted(summary.parsed, 'complaint')} of {summary.hits_total:,} that match"
        print_line(f"{already}{counts}{sandbox}: {self.files.complaints}")


class MergeComplaints(Snapshot):
    """The snapshot in the database, and what it brought there."""

    def requires(self) -> StoreComplaints:
        """Return the task that makes the snapshot whole."""
        stored = self.same(StoreComplaints)
        stored.is_required = True
        return stored

    def output(self) -> Targets:
        """Return the changes."""
        return targets(changes=self.files.changes)

    def run(self) -> None:
        """Merge the snapshot, and again after failures that pass; report what changed.

        Raises:
            HeldBackError: the snapshot lacks implausibly many complaints; none is withdrawn.
            DriftError: its hits are not what the API sends today; every valid complaint was merged.

        """
        problem, counts = self.with_retries(self._attempt)
        warn_of_later_minutes(self.task_family)
        self.record("merged", counts=counts._asdict())
        print_line(f"{counts}: {self.files.changes}")
        self.set_file_status(self.files.changes, str(counts))
        summary = read_summary(self.files.summary)
        problem = problem or find_reason_to_keep(self.files, summary, guard().limits())
        self.same(StoreComplaints).check(summary, problem)

    def _attempt(self) -> "tuple[str, Counts]":
        """Merge; return why the withdrawals are held back, if they are, and what changed."""
        from luigi_etl.database.change_log import Key, write_changes
        from luigi_etl.database.connection import Database
        from luigi_etl.database.merge import merge

        database, problem = Database(storage().database_address), ""
        keys = [Key(self.timestamp, self.query, self.limit)]
        try:
            merge(database, self.files, self.show_progress, guard().limits())
            keys += self._verified(database)
        except HeldBackError as error:
            problem = str(error)
        return problem, write_changes(database, keys, self.files.changes)

    def _verified(self, database: "Database") -> "Iterator[Key]":
        """Look up the complaints that are unverified since a complete snapshot, now, and give the lookups.

        Raises:
            HeldBackError: there are implausibly many.

        """
        from luigi_etl.database.id_lookup import QueryRead, Verifier
        from luigi_etl.database.sql_filter import is_lasting

        if self.limit or not is_lasting(self.parsed_query):
            return
        with Client(ccdb().settings(), self.set_status) as client:
            verifier = Verifier(database, client)
            try:
                yield from verifier.verify(
                    QueryRead(self.parsed_query, self.parsed_query), this_minute(), guard().limits()
                )
            except (TransientError, RefusedError) as error:
                logger.warning("%s: what is missing stays unverified: %s", self.task_family, error)


def warn_of_later_minutes(task: str) -> None:
    """Warn where the database holds a minute that is still to come: until then it ignores what is merged."""
    from luigi_etl.database.connection import Database

    with contextlib.suppress(EtlError):
        if warning := database_warning(Database(storage().database_address)):
            logger.warning("%s: %s", task, warning)


def _tell_it_is_there(task: StoreComplaints) -> None:

    with contextlib.suppress(DamagedFileError):
        task.tell(read_summary(task.files.summary), "already stored: ")


def _tell_it_is_merged(task: MergeComplaints) -> None:
    print_line(f"already merged: {task.files.changes}")


MergeComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_tell_it_is_merged)
StoreComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_tell_it_is_there)
