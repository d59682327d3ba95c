"""The base of the tasks that merge complaint files.

The database modules are imported inside methods, because StoreComplaints runs each minute without them.
"""

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from luigi_etl.api.settings import FIRST_COMPLAINT, MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import (
    DamagedFileError,
    DriftError,
    FileFormatError,
    HeldBackError,
    RefusedError,
    SettingError,
    TransientError,
)
from luigi_etl.common.files import storage_errors
from luigi_etl.common.locks import ROOT_WITH_LOCKS, lock
from luigi_etl.common.minutes import as_text, this_minute
from luigi_etl.common.progress import ProgressBar
from luigi_etl.common.terminal import brief, counted
from luigi_etl.snapshot.paths import DownloadPaths, ImportFiles
from luigi_etl.tasks.base import Recording
from luigi_etl.tasks.config import ccdb, guard, storage

if TYPE_CHECKING:
    from luigi_etl.bulk.content import ContentFacts
    from luigi_etl.bulk.file_version import FileVersion
    from luigi_etl.database.change_log import Counts
    from luigi_etl.database.file_import import FileImport, FileToImport
    from luigi_etl.database.file_rows import FileProfile

logger = logging.getLogger("luigi_etl")


def files_of_address(address: str, *more: str) -> ImportFiles:
    """Return the paths of an import from an address; `more` distinguishes several of one address."""
    name = urlsplit(address).path.rpartition("/")[2]
    return ImportFiles(storage().path, name, " ".join((address, *more)))


def find_zip_date(facts: "ContentFacts") -> datetime | None:
    """Return the minute of a zip file's member, or None if it is missing or implausible."""
    if facts.modified and FIRST_COMPLAINT <= facts.modified <= this_minute():
        return facts.modified.replace(second=0)
    return None


class FileTask(Recording):
    """The base of tasks that merge a complaint file, from the disk or from an address."""

    @property
    def files(self) -> ImportFiles:
        """The paths of the files."""
        raise NotImplementedError

    @property
    def run_file(self) -> Path:
        """The path of the run record."""
        return self.files.run

    def download(self, address: str, paths: DownloadPaths) -> "FileVersion | None":
        """Download the file at an address; return None if it has not changed since its import."""
        from luigi_etl.bulk.download import download
        from luigi_etl.bulk.file_version import read_version

        bar = ProgressBar(unit="B")

        def report(done: int, expected: int) -> None:
            bar.show(done, expected)
            self.show_progress(done, expected, f"{done:,} of {expected:,} bytes of {paths.file.name}")

        def attempt() -> "FileVersion | None":
            try:
                return download(address, paths, ccdb().settings(), report)
            finally:
                bar.clear()

        if not paths.file.exists() and not self.with_retries(lambda: self.is_import_on_record(paths)):
            with storage_errors(paths.version):
                paths.version.unlink(missing_ok=True)  # download it again
        version = self.with_retries(attempt)
        if version is None and paths.file.exists():  # its import did not end
            return read_version(paths.version)
        return version

    def is_import_on_record(self, paths: DownloadPaths) -> bool:
        """Return whether the database holds the content of the version on record."""
        from luigi_etl.bulk.file_version import read_version
        from luigi_etl.database.connection import Database
        from luigi_etl.database.file_import import find_import

        version = read_version(paths.version)
        if version is None or not version.content_hash:
            return False
        return find_import(Database(storage().database_address), version.content_hash) is not None

    @contextlib.contextmanager
    def locking(self, paths: DownloadPaths) -> Iterator[None]:
        """Hold the lock of an address for the block; wait for another process as for a failed attempt."""
        with storage_errors(paths.lock):
            paths.lock.parent.mkdir(parents=True, exist_ok=True)

        def attempt() -> contextlib.ExitStack:
            with contextlib.ExitStack() as opened:
                with storage_errors(paths.lock):
                    stream = opened.enter_context(paths.lock.open("wb"))
                if not lock(stream, paths.lock, ROOT_WITH_LOCKS):
                    raise TransientError(f"another process imports the file in {paths.lock.parent}")
                return opened.pop_all()

        with self.with_retries(attempt):
            yield

    def minute_of(self, version: "FileVersion") -> datetime | None:
        """Return the minute of a download (naive UTC), or None if its server gives no plausible one.

        Raises:
            RefusedError: the minute is in the future.

        """
        minute = version.minute
        if minute and minute > this_minute() + MAXIMUM_CLOCK_SKEW:
            raise RefusedError(
                f"{version.address}: Last-Modified is in the future, {as_text(minute)}; "
                "correct this machine's clock"
            )
        return minute

    @contextlib.contextmanager
    def consuming(self, paths: DownloadPaths, version: "FileVersion") -> "Iterator[ContentFacts]":
        """Yield the facts of a downloaded file, and remove it after success.

        After an error the next run uses the file, unless it is damaged.
        """
        from luigi_etl.bulk.content import read_facts
        from luigi_etl.bulk.file_version import write_version

        try:
            facts = read_facts(paths.file)
            yield facts
        except (FileFormatError, DamagedFileError):  # the next run downloads it again
            with storage_errors(paths.file):
                paths.version.unlink(missing_ok=True)
                paths.file.unlink(missing_ok=True)
            raise
        write_version(paths.version, msgspec.structs.replace(version, content_hash=facts.content_hash))
        with storage_errors(paths.file):
            paths.file.unlink()

    def merge(self, file: "FileToImport", files: ImportFiles) -> None:
        """Merge a file, with retries; report the changes and the rows that were not merged.

        Raises:
            FileFormatError: the whole file can't be used; nothing was merged.
            HeldBackError: the file lacks implausibly many complaints; every valid row was merged.
            DriftError: too many rows are invalid; every valid row was merged.

        """
        imported, changes = self.with_retries(lambda: self._attempt(file, files))
        self.record("imported", counts=changes._asdict())
        known = "" if imported.is_new else f"already imported, as of {as_text(imported.key.timestamp)}: "
        self.print_result(f"{known}{changes}: {files.changes}")
        if imported.problem:
            raise HeldBackError(imported.problem)
        self._check(imported.rows, files)

    def import_address(self, address: str, files: ImportFiles, timestamp: datetime | None) -> None:
        """Import the file at an address, unless it is imported; `timestamp` replaces the server's date."""
        from luigi_etl.database.file_import import FileToImport

        paths = files.download
        with self.locking(paths):
            version = self.download(address, paths)
            if version is None:
                self.print_result(f"already imported: {address} has not changed")
                return
            dated = timestamp or self.minute_of(version)
            with self.consuming(paths, version) as facts:
                minute = dated or self.read_zip_date(paths.file, facts)
                self.merge(FileToImport(paths.file, facts, minute, is_sandbox=version.is_sandbox), files)

    def read_zip_date(self, path: Path, facts: "ContentFacts") -> datetime:
        """Return the minute of a file's data by the date of its zip member, and warn that it is a guess.

        Raises:
            SettingError: there is no plausible date.

        """
        minute = find_zip_date(facts)
        if minute is None:
            raise SettingError(
                f"timestamp: {path} does not show the time of its data; "
                "name it (UTC): --timestamp 2026-01-02T0304"
            )
        logger.warning(
            "%s: the data is as of %s, the date in the zip file; to correct it use --timestamp",
            self.task_family,
            as_text(minute),
        )
        return minute

    def _attempt(self, file: "FileToImport", files: ImportFiles) -> "tuple[FileImport, Counts]":
        from luigi_etl.database.change_log import write_changes
        from luigi_etl.database.file_import import import_file

        database = storage().open_database()
        imported = import_file(database, file, files.rejected, self.show_progress, guard().limits())
        return imported, write_changes(database, [imported.key], files.changes)

    def _check(self, rows: "FileProfile", files: ImportFiles) -> None:
        """Warn of columns and rows that were not merged, or raise a DriftError for too many rows."""
        if rows.unknown_labels:
            labels = brief(", ".join(rows.unknown_labels), 500)
            logger.warning("%s: unknown columns, which were ignored: %s", self.task_family, labels)
        if rows.repeated:
            logger.warning(
                "%s: %s: the first row of an id was merged, not the later ones",
                self.task_family,
                counted(rows.repeated, "repeated row"),
            )
        if not rows.rejected:
            return
        of_all = f"{rows.rejected:,} of {counted(rows.total, 'row')}"
        problem = f"{of_all} are not valid complaints, see {files.rejected}"
        if 100 * rows.rejected > guard().rejected_percent * rows.total and not guard().accept:
            raise DriftError(f"{problem}; every valid row was merged; to accept them: --guard-accept")
        logger.warning("%s: %s", self.task_family, problem)
