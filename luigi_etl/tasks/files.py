"""ImportComplaints, the task that merges a complaint file into the database.

The database modules are imported inside `run`, because StoreComplaints runs each minute without them.
"""

import logging
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import luigi

from luigi_etl.common.errors import DamagedFileError, DriftError, SettingError
from luigi_etl.common.minutes import as_parameter, as_text, this_minute
from luigi_etl.common.terminal import counted, print_line
from luigi_etl.snapshot.paths import ImportFiles
from luigi_etl.tasks.base import Recording, Targets, targets
from luigi_etl.tasks.config import guard, storage
from luigi_etl.tasks.parameters import FileParameter, OptionalTimestampParameter

if TYPE_CHECKING:
    from luigi_etl.bulk.content import ContentFacts
    from luigi_etl.database.change_log import Counts
    from luigi_etl.database.file_import import FileImport, RowCounts

OLDEST = datetime(2011, 12, 1)  # the CFPB's first complaint; zip members can lack a date
logger = logging.getLogger("luigi_etl")


class ImportComplaints(Recording):
    """A complaint file merged into the database, and the files of its changes and rejected rows."""

    file = FileParameter("a complaint file: CSV, plain or in a zip or gzip file")
    timestamp = OptionalTimestampParameter(
        "minute of the file's data, UTC; default: the date of the CSV in its zip file"
    )

    @cached_property
    def files(self) -> ImportFiles:
        """The paths of the files; another version of the file has others."""
        path = self._path
        try:
            facts = path.stat()
        except OSError as error:
            problem = f"can't be read ({error.strerror}); name another --file"
            raise DamagedFileError.of(path, problem) from error
        minute = as_parameter(self.timestamp) if self.timestamp else ""
        identity = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {minute}"
        return ImportFiles(storage().path, path.name, identity)

    @property
    def run_file(self) -> Path:
        """The path of the run record."""
        return self.files.run

    def output(self) -> Targets:
        """Return the changes and the rejected rows."""
        return targets(rejected=self.files.rejected, changes=self.files.changes)

    def run(self) -> None:
        """Import the file, with retries, and report the changes.

        Raises:
            FileFormatError: the whole file can't be used; nothing was merged.
            DriftError: too many rows are invalid; every valid row was merged.

        """
        from luigi_etl.bulk.content import read_facts

        facts = read_facts(self._path)
        minute = self._find_minute(facts)
        imported, changes = self.with_retries(lambda: self._attempt(facts, minute))
        self.record("imported", counts=changes._asdict())
        known = "" if imported.is_new else f"already imported, as of {as_text(imported.key.timestamp)}: "
        self.print_result(f"{known}{changes}: {self.files.changes}")
        self._check(imported.rows)

    @property
    def _path(self) -> Path:
        return Path(self.file).expanduser()

    def _find_minute(self, facts: "ContentFacts") -> datetime:
        """Return the minute of the file's data.

        Raises:
            SettingError: nothing shows the minute.

        """
        if self.timestamp:
            return self.timestamp
        if facts.modified is None or not OLDEST <= facts.modified <= this_minute():
            raise SettingError(
                f"timestamp: {self._path} does not show the time of its data; "
                "name it (UTC): --timestamp 2026-01-02T0304"
            )
        minute = facts.modified.replace(second=0)
        logger.warning(
            "%s: the data is as of %s, the date in the zip file; to correct it use --timestamp",
            self.task_family,
            as_text(minute),
        )
        return minute

    def _attempt(self, facts: "ContentFacts", minute: datetime) -> "tuple[FileImport, Counts]":
        """Import the file; return the import and the changes by it."""
        from luigi_etl.database.change_log import write_changes
        from luigi_etl.database.connection import Database
        from luigi_etl.database.file_import import FileToImport, import_file

        database = Database(storage().database_address)
        file = FileToImport(self._path, facts, minute)
        imported = import_file(database, file, self.files.rejected, self.show_progress)
        return imported, write_changes(database, [imported.key], self.files.changes)

    def _check(self, rows: "RowCounts") -> None:
        """Warn of rows that were not merged.

        Raises:
            DriftError: too many rows are invalid.

        """
        if rows.repeated:
            logger.warning(
                "%s: %s: the first row of an id was merged, not the later ones",
                self.task_family,
                counted(rows.repeated, "repeated row"),
            )
        if not rows.rejected:
            return
        of_all = f"{rows.rejected:,} of {counted(rows.total, 'row')}"
        problem = f"{of_all} are not valid complaints, see {self.files.rejected}"
        if 100 * rows.rejected > guard().rejected_percent * rows.total and not guard().accept:
            raise DriftError(f"{problem}; every valid row was merged; to accept them: --guard-accept")
        logger.warning("%s: %s", self.task_family, problem)


def _print_already_imported(task: ImportComplaints) -> None:
    print_line(f"already imported: {task.files.changes}")


ImportComplaints.event_handler(luigi.Event.DEPENDENCY_PRESENT)(_print_already_imported)
