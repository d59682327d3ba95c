"""The tasks that merge complaint files: ImportComplaints and ReconcileComplaints.

The database modules are imported inside `run`, because StoreComplaints runs each minute without them.
"""

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import luigi
import msgspec

from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
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
from luigi_etl.common.minutes import as_parameter, as_text, this_minute
from luigi_etl.common.progress import ProgressBar
from luigi_etl.common.terminal import counted, print_line
from luigi_etl.snapshot.paths import DownloadPaths, ImportFiles
from luigi_etl.tasks.base import Recording, Repeated, Targets, targets
from luigi_etl.tasks.config import ccdb, guard, storage
from luigi_etl.tasks.parameters import FileParameter, OptionalTimestampParameter, is_address

if TYPE_CHECKING:
    from luigi_etl.bulk.content import ContentFacts
    from luigi_etl.bulk.download import FileVersion
    from luigi_etl.database.change_log import Counts
    from luigi_etl.database.file_import import FileImport, FileToImport, RowCounts

OLDEST = datetime(2011, 12, 1)  # the CFPB's first complaint; zip members can lack a date
logger = logging.getLogger("luigi_etl")


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

    def download(self, address: str) -> "FileVersion | None":
        """Download the file at an address; return None if it has not changed since its import."""
        from luigi_etl.bulk.download import download, read_version

        paths, bar = self.files.download, ProgressBar(unit="B")

        def report(done: int, expected: int) -> None:
            bar.show(done, expected)
            self.show_progress(done, expected, f"{done:,} of {expected:,} bytes of {paths.file.name}")

        def attempt() -> "FileVersion | None":
            try:
                return download(address, paths, ccdb().settings(), report)
            finally:
                bar.clear()

        self._forget_lost_import(paths)
        version = self.with_retries(attempt)
        if version is None and paths.file.exists():  # its import did not end
            return read_version(paths.version)
        return version

    def _forget_lost_import(self, paths: DownloadPaths) -> None:
        """Forget a version whose import is not in the database, so that it is downloaded again."""
        from luigi_etl.bulk.download import read_version
        from luigi_etl.database.connection import Database
        from luigi_etl.database.file_import import find_import

        version = read_version(paths.version)
        if version is None or paths.file.exists():
            return
        database = Database(storage().database_address)
        content_hash = version.content_hash
        if not (content_hash and self.with_retries(lambda: find_import(database, content_hash))):
            with storage_errors(paths.version):
                paths.version.unlink()

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
        """Return the minute of a download (naive UTC), or None if its server gives none.

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
        from luigi_etl.bulk.download import write_version

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

    def _attempt(self, file: "FileToImport", files: ImportFiles) -> "tuple[FileImport, Counts]":
        from luigi_etl.database.change_log import write_changes
        from luigi_etl.database.connection import Database
        from luigi_etl.database.file_import import import_file

        database = Database(storage().database_address)
        imported = import_file(database, file, files.rejected, self.show_progress, guard().limits())
        return imported, write_changes(database, [imported.key], files.changes)

    def _check(self, rows: "RowCounts", files: ImportFiles) -> None:
        """Warn of rows that were not merged, or raise a DriftError for too many."""
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


class ImportComplaints(FileTask):
    """A complaint file merged into the database, and the files of its changes and rejected rows."""

    file = FileParameter("a complaint file or its address: CSV, plain or in a zip or gzip file")
    timestamp = OptionalTimestampParameter(
        "minute of the file's data, UTC; default: when the server or the zip file dates it"
    )

    _has_run = False

    @cached_property
    def files(self) -> ImportFiles:
        """The paths of the files; another version of a file on the disk has others."""
        minute = as_parameter(self.timestamp) if self.timestamp else ""
        if is_address(self.file):
            return _files_of_address(self.file, minute)
        path = self._path
        try:
            facts = path.stat()
        except OSError as error:
            problem = f"can't be read ({error.strerror}); name another --file"
            raise DamagedFileError.of(path, problem) from error
        identity = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {minute}"
        return ImportFiles(storage().path, path.name, identity)

    def output(self) -> Targets:
        """Return the changes and the rejected rows."""
        return targets(rejected=self.files.rejected, changes=self.files.changes)

    def complete(self) -> bool:
        """Return whether the file is imported; only a request shows whether one at an address has changed."""
        if is_address(self.file):
            return self._has_run
        return bool(super().complete())  # type: ignore[no-untyped-call]

    def run(self) -> None:
        """Import the file; see `merge`."""
        from luigi_etl.bulk.content import read_facts

        if is_address(self.file):
            with self.locking(self.files.download):
                self._import_address()
        else:
            self._import(self._path, read_facts(self._path), None, is_sandbox=None)
        self._has_run = True

    def _import_address(self) -> None:
        version = self.download(self.file)
        if version is None:
            self.print_result(f"already imported: {self.file} has not changed")
            return
        dated = self.minute_of(version)
        with self.consuming(self.files.download, version) as facts:
            self._import(self.files.download.file, facts, dated, is_sandbox=version.is_sandbox)

    def _import(
        self, path: Path, facts: "ContentFacts", dated: datetime | None, *, is_sandbox: bool | None
    ) -> None:
        from luigi_etl.database.file_import import FileToImport

        minute = self.timestamp or dated or self._read_zip_date(path, facts)
        self.merge(FileToImport(path, facts, minute, is_sandbox=is_sandbox), self.files)

    @property
    def _path(self) -> Path:
        return Path(self.file).expanduser()

    def _read_zip_date(self, path: Path, facts: "ContentFacts") -> datetime:
        if facts.modified is None or not OLDEST <= facts.modified <= this_minute():
            raise SettingError(
                f"timestamp: {path} does not show the time of its data; "
                "name it (UTC): --timestamp 2026-01-02T0304"
            )
        minute = facts.modified.replace(second=0)
        logger.warning(
            "%s: the data is as of %s, the date in the zip file; to correct it use --timestamp",
            self.task_family,
            as_text(minute),
        )
        return minute


class ReconcileComplaints(Repeated, FileTask):
    """A database that equals the CFPB's daily file, however old a complaint is."""

    @property
    def files(self) -> ImportFiles:
        """The paths of the files."""
        return _files_of_address(ccdb().daily_file)

    def run(self) -> None:
        """Merge the daily file if it has changed; see `merge`."""
        with self.locking(self.files.download):
            version = self.download(ccdb().daily_file)
            if version is None:
                self.print_result("up to date: the daily file has not changed since the last run")
                self.record("imported", counts={})
            else:
                self._merge_daily_file(version)
        self._has_run = True

    def _merge_daily_file(self, version: "FileVersion") -> None:
        from luigi_etl.database.file_import import FileToImport

        paths, minute = self.files.download, self.minute_of(version) or this_minute()
        with self.consuming(paths, version) as facts:
            file = FileToImport(paths.file, facts, minute, is_complete=True, is_sandbox=version.is_sandbox)
            self.merge(file, self.files.at(minute))


def _files_of_address(address: str, *more: str) -> ImportFiles:
    name = urlsplit(address).path.rpartition("/")[2]
    return ImportFiles(storage().path, name, " ".join((address, *more)))


def _print_already_imported(task: ImportComplaints) -> None:
    print_line(f"already imported: {task.files.changes}")


ImportComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_print_already_imported)
