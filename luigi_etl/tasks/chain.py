"""The chain: its tasks, each a few declarative lines over a module that knows nothing of Luigi.

CreateDocument ─────────────────────────────┐
ExtractComplaints ──▶ ParseComplaints ──▶ StoreComplaints ──▶ MergeComplaints (merge.py)
"""

import contextlib
import logging

import luigi

from luigi_etl.api.client import Client
from luigi_etl.common.errors import DamagedFileError, DriftError, HeldBackError
from luigi_etl.common.minutes import as_parameter
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
from luigi_etl.tasks.future_minutes import latest_warning

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


def _tell_it_is_there(task: StoreComplaints) -> None:

    with contextlib.suppress(DamagedFileError):
        task.tell(read_summary(task.files.summary), "already stored: ")


StoreComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_tell_it_is_there)
