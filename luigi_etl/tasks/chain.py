"""The tasks of the chain; the work is in modules that do not import Luigi.

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
from luigi_etl.tasks.future_minutes import warn_about_latest

logger = logging.getLogger("luigi_etl")


class CreateDocument(Snapshot):
    """An empty CSV with the chosen columns; no later step changes them."""

    def output(self) -> Targets:
        """Return the document."""
        return targets(document=self.files.document)

    def run(self) -> None:
        """Write the header."""
        columns = create_document(self.files.document, storage().columns)
        self.set_file_status(self.files.document, counted(columns, "column"))


class ExtractComplaints(Snapshot):
    """The API's pages, unchanged; every later file can be made from them offline."""

    def output(self) -> Targets:
        """Return the pages."""
        return targets(extracted=self.files.extracted)

    def run(self) -> None:
        """Read all pages of the API, with retries."""
        try:
            self.with_retries(self._attempt)
        except KeyboardInterrupt:
            logger.warning(
                "%s: interrupted; complete pages are kept: resume with --timestamp %s",
                self.task_family,
                as_parameter(self.timestamp),
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
    """Valid complaints and, separately, rejected hits."""

    def requires(self) -> ExtractComplaints:
        """Return the task that fetches the pages."""
        return self.clone_as(ExtractComplaints)

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
                "%s: %d of %d hits are not valid complaints, see %s",
                self.task_family,
                summary.rejected,
                summary.hits,
                self.files.rejected,
            )
        if not summary.hits_total and not self.parsed_query.has_only_days:
            renamed = "; product names changed in 2017 and 2023" if "product=" in self.query else ""
            logger.warning(
                "%s: no complaint matches %s; values must match exactly, including case%s",
                self.task_family,
                self.query,
                renamed,
            )


class StoreComplaints(Snapshot):
    """The filled CSV and its description; the newest CSV of a query also has a fixed name."""

    is_check_deferred = False  # MergeComplaints calls `check` itself, after the merge

    def requires(self) -> dict[str, Snapshot]:
        """Return the tasks that write the document and the complaints."""
        return {"document": self.clone_as(CreateDocument), "complaints": self.clone_as(ParseComplaints)}

    def output(self) -> Targets:
        """Return the CSV and its description."""
        return targets(complaints=self.files.complaints, datapackage=self.files.datapackage)

    def run(self) -> None:
        """Write the CSV, publish it as the newest, and write its description last.

        Raises:
            HeldBackError: implausibly many complaints are missing; the newest CSV stays.
            DriftError: schema drift, or too many invalid hits.

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
        spec = SnapshotSpec(self.parsed_query, self.limit, self.timestamp)
        describe(files.datapackage, files.complaints, stored, summary, spec)
        self.record("stored")
        self.set_file_status(
            files.complaints, f"{counted(stored.rows, 'row')}, {counted(stored.size, 'byte')}"
        )
        self.print_summary(summary)
        if not self.is_check_deferred:
            self.check(summary, problem)

    def _publish(self, summary: Summary) -> str:
        """Publish the CSV as the newest; return the reason if that is held back."""
        limits, files = guard().limits(), self.files
        drift = limits.find_drift(profile_hits([summary]))
        if drift and drift.is_loss:
            return ""
        if problem := find_reason_to_keep(files, summary, limits):
            return problem
        if not publish(files.complaints, files.latest):
            kept = warn_about_latest(files.latest) or f"{files.latest} is from a newer minute and stays"
            logger.warning("%s: %s", self.task_family, kept)
        return ""

    def check(self, summary: Summary, problem: str) -> None:
        """Raise an error for `problem` or for schema drift.

        Raises:
            HeldBackError, DriftError: every valid complaint is stored.

        """
        if problem:
            raise HeldBackError(problem)
        drift = guard().limits().find_drift(profile_hits([summary]))
        if drift and drift.is_loss:
            raise DriftError(
                f"{drift}; valid complaints are in {self.files.complaints}, {self.files.latest} stays"
            )
        if drift:
            raise DriftError(f"{drift}; {self.files.complaints} is otherwise complete")

    def print_summary(self, summary: Summary, prefix: str = "") -> None:
        """Print the result line: number of complaints, number of matches, and file."""
        sandbox = " (of the sandbox, not CFPB data)" if summary.sandbox else ""
        counts = f"{counted(summary.parsed, 'complaint')} of {summary.hits_total:,} that match"
        print_line(f"{prefix}{counts}{sandbox}: {self.files.complaints}")


def _print_already_stored(task: StoreComplaints) -> None:
    with contextlib.suppress(DamagedFileError):
        task.print_summary(read_summary(task.files.summary), "already stored: ")


StoreComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_print_already_stored)
