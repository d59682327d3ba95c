"""The bench for files: the daily files on a server, and runs of luigi_etl in their own folders."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from itertools import islice
from os import link, utime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import log
from benchmarks.contestants import make_environment
from benchmarks.environments import PROJECT
from benchmarks.file_content import check_content, content_of_file
from benchmarks.file_databases import FileDatabase, Schema
from benchmarks.file_rows import DailyRows, Numbers, write_csv, write_zip
from benchmarks.processes import Command, Cost, find_free_port, is_listening, measure, running
from benchmarks.results import Content

NAME = "complaints.csv.zip"
TIMEOUT = 6 * 3600.0  # seconds
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class DailyFile:
    """A daily file: the CSV, the zip file with it, its content, and its time (UTC)."""

    csv: Path
    zip: Path
    content: Content
    time: datetime

    @property
    def minute(self) -> str:
        """The time as a parameter."""
        return f"{self.time:%Y-%m-%dT%H%M}"


@dataclass(frozen=True)
class Home:
    """A folder in which luigi_etl runs, with its own database."""

    folder: Path
    database: str

    def luigi(self, task: str, *options: str | Path) -> Command:
        """Return the command that runs a task."""
        return self.command(PROGRAMS / "luigi", "--module", "luigi_etl", task, "--local-scheduler", *options)

    def export(self, file: str) -> Command:
        """Return the command that exports everything."""
        return self.command(sys.executable, "-m", "luigi_etl", "export", file)

    def command(self, *arguments: str | Path) -> Command:
        """Return a command that runs in this folder."""
        return Command(arguments, make_environment(self.folder, PYTHONPATH=str(PROJECT)), self.folder)


class FileBench:
    """Measures runs of luigi_etl and of a database's own loader on the daily files."""

    def __init__(self, folder: Path, numbers: Numbers, rounds: int) -> None:
        self.folder = folder
        self.numbers = numbers
        self.rounds = rounds
        self.port = find_free_port()
        self._served = folder / "served"
        self._served.mkdir()
        self._schemas: dict[str, Schema] = {}

    @cached_property
    def files(self) -> tuple[DailyFile, DailyFile]:
        """The files of two days."""
        log(f"generating two files of {self.numbers.rows:,} rows")
        rows = DailyRows(self.numbers)
        now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
        first, second = (
            self._write(name, batches, now - timedelta(days=age))
            for name, batches, age in (("first", rows.first(), 2), ("second", rows.second(), 1))
        )
        return first, second

    def publish(self, file: DailyFile) -> None:
        """Serve a file as the daily file."""
        (self._served / NAME).unlink(missing_ok=True)
        link(file.zip, self._served / NAME)

    @contextmanager
    def new_home(self, database: FileDatabase, template: Home | None = None) -> Iterator[Home]:
        """Make a home with an empty database, or with a copy of another home's; remove it after the block."""
        with TemporaryDirectory(dir=self.folder) as temporary:
            folder = Path(temporary) / "home"
            if template:
                shutil.copytree(template.folder, folder, ignore=shutil.ignore_patterns("*.db"))
                address = database.copy(template.database, folder)
            else:
                folder.mkdir()
                address = database.new(folder)
            self._configure(folder, address)
            try:
                yield Home(folder, address)
            finally:
                database.remove(address)

    def run(self, database: FileDatabase, command: Command) -> Cost:
        """Measure a command with the bytes that the database's server writes for it."""
        before = database.stored()
        cost = measure(command, TIMEOUT)
        return cost._replace(written=cost.written + database.stored() - before)

    def reconcile(self, database: FileDatabase, home: Home, file: DailyFile) -> Cost:
        """Merge a file as the daily file, and check the database; the download is not counted as written."""
        self.publish(file)
        cost = self.run(database, home.luigi("ReconcileComplaints"))
        check_content(
            f"ReconcileComplaints, {database.name}", database.read_content(home.database), file.content
        )
        return cost._replace(written=cost.written - file.zip.stat().st_size)

    def find_schema(self, database: FileDatabase) -> Schema:
        """Return the schema that luigi_etl creates, by an import of a few rows."""
        if database.name in self._schemas:
            return self._schemas[database.name]
        with self.new_home(database) as home:
            few = home.folder / "few.csv"
            with self.files[0].csv.open("rb") as content:
                few.write_bytes(b"".join(islice(content, 20)))
            self.run(
                database, home.luigi("ImportComplaints", "--file", few, "--timestamp", self.files[0].minute)
            )
            schema = self._schemas[database.name] = database.read_schema(home.database)
        log(f"the loader fills {schema.definition}")
        return schema

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve the published file during the block."""
        arguments: list[str | Path] = [
            "-m",
            "http.server",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--directory",
            self._served,
        ]
        command = Command([sys.executable, *arguments], make_environment(self.folder), self.folder)
        with running(command, self.folder / "server.txt", lambda: is_listening(self.port)):
            yield

    def _configure(self, folder: Path, address: str) -> None:
        sections = (
            f"[ccdb]\ndaily_file=http://127.0.0.1:{self.port}/{NAME}\n"
            f"[storage]\nroot={folder / 'data'}\ndatabase={address}\n"
        )
        (folder / "luigi.cfg").write_text(f"{(PROJECT / 'luigi.cfg').read_text()}\n{sections}")

    def _write(self, name: str, batches: Iterator[list[str]], time: datetime) -> DailyFile:
        content, archive = (self.folder / f"{name}.{kind}" for kind in ("csv", "zip"))
        write_csv(content, batches)
        write_zip(archive, content)
        for path in (content, archive):
            utime(path, (time.timestamp(), time.timestamp()))
        return DailyFile(content, archive, content_of_file(content), time)
