"""The tasks that merge complaint files: ImportComplaints, ImportNarratives, ReconcileComplaints.

The database modules are imported inside `run`, because StoreComplaints runs each minute without them.
"""

import contextlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from luigi_etl.common.errors import DamagedFileError, EtlError
from luigi_etl.common.minutes import as_parameter, this_minute
from luigi_etl.common.terminal import counted, print_line, printable
from luigi_etl.snapshot.paths import ImportFiles
from luigi_etl.tasks.base import Repeated, Targets, targets
from luigi_etl.tasks.config import ccdb, storage
from luigi_etl.tasks.file_task import FileTask, files_of_address, find_zip_date
from luigi_etl.tasks.parameters import FileParameter, OptionalTimestampParameter, find_path, is_address

if TYPE_CHECKING:
    from luigi_etl.bulk.file_version import FileVersion


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
            return files_of_address(self.file, minute)
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
        """Return whether the database holds the file; only a request shows whether an address has another."""
        if self._has_run or is_address(self.file):
            return self._has_run
        with contextlib.suppress(EtlError):  # the run reports it
            exists = bool(super().complete())  # type: ignore[no-untyped-call]
            return exists and self.is_import_on_record(self.files.download)
        return False

    def run(self) -> None:
        """Import the file; see `merge`."""
        from luigi_etl.bulk.content import read_facts
        from luigi_etl.bulk.file_version import FileVersion, write_version
        from luigi_etl.database.file_import import FileToImport

        if is_address(self.file):
            self.import_address(self.file, self.files, self.timestamp)
        else:
            facts = read_facts(self._path)
            minute = self.timestamp or self.read_zip_date(self._path, facts)
            self.merge(FileToImport(self._path, facts, minute), self.files)
            address = printable(str(self._path.resolve()))
            version = FileVersion(address=address, content_hash=facts.content_hash)
            write_version(self.files.download.version, version)
        self._has_run = True

    @property
    def _path(self) -> Path:
        return find_path(self.file)


class ImportNarratives(Repeated, FileTask):
    """The files of the CFPB's narratives archive merged into the database, one by one."""

    @property
    def files(self) -> ImportFiles:
        """The paths of the run record."""
        return files_of_address(ccdb().archive)

    def run(self) -> None:
        """Import each file that the archive's page links, unless it is imported; see `merge`."""
        from luigi_etl.bulk.archive_page import fetch_links

        links = self.with_retries(lambda: fetch_links(ccdb().archive, ccdb().settings()))
        for number, address in enumerate(links, 1):
            self.set_status(f"file {number} of {len(links)}: {address}")
            self.import_address(address, files_of_address(address), None)
        self.print_result(f"{counted(len(links), 'file')} of the archive in the database")
        self._has_run = True


class ReconcileComplaints(Repeated, FileTask):
    """A database that equals the CFPB's daily file, however old a complaint is."""

    @property
    def files(self) -> ImportFiles:
        """The paths of the files."""
        return files_of_address(ccdb().daily_file)

    def run(self) -> None:
        """Merge the daily file if it has changed; see `merge`."""
        with self.locking(self.files.download):
            version = self.download(ccdb().daily_file, self.files.download)
            if version is None:
                self.print_result("up to date: the daily file has not changed since the last run")
                self.record("imported", counts={})
            else:
                self._merge_daily_file(version)
        self._has_run = True

    def _merge_daily_file(self, version: "FileVersion") -> None:
        from luigi_etl.database.file_import import FileToImport

        paths, dated = self.files.download, self.minute_of(version)
        with self.consuming(paths, version) as facts:
            minute = dated or find_zip_date(facts) or this_minute()
            file = FileToImport(paths.file, facts, minute, is_complete=True, is_sandbox=version.is_sandbox)
            self.merge(file, self.files.at(minute))


def _print_already_imported(task: ImportComplaints) -> None:
    print_line(f"already imported: {task.files.changes}")


ImportComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_print_already_imported)
