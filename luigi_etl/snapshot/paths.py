"""The paths of all files below the storage root; no other module forms them."""

import contextlib
import hashlib
import os
import re
import socket
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from luigi_etl.common.minutes import as_file_name

PARTIAL_SUFFIX = ".partial"
ASIDE_SUFFIX = ".redo"  # a file that a redo set aside until the new file exists
_SYNC_SUFFIX = "~sync"  # no slug of a query ends like this
_LONGEST_FILE_NAME = 80  # characters
STAGES = ("create", "extract", "parse", "store", "merge")


@dataclass(frozen=True)
class SnapshotFiles:
    """The paths of a snapshot: `<root>/snapshots/<slug>/<day>/<minute>.<ending>`, and `<root>/latest`."""

    root: Path
    slug: str
    timestamp: datetime

    @property
    def document(self) -> Path:
        """The empty document: the header of the CSV."""
        return self._file("document.csv")

    @property
    def extracted(self) -> Path:
        """The API's pages, unchanged."""
        return self._file("extracted.jsonl.gz")

    @property
    def parsed(self) -> Path:
        """The valid complaints."""
        return self._file("parsed.jsonl")

    @property
    def rejected(self) -> Path:
        """The rejected hits."""
        return self._file("rejected.jsonl")

    @property
    def summary(self) -> Path:
        """The counts and metadata of the pages."""
        return self._file("summary.json")

    @property
    def complaints(self) -> Path:
        """The CSV."""
        return self._file("complaints.csv")

    @property
    def datapackage(self) -> Path:
        """The description of the CSV."""
        return self._file("datapackage.json")

    @property
    def changes(self) -> Path:
        """The changes that the snapshot made in the database."""
        return self._file("changes.csv")

    @property
    def run(self) -> Path:
        """The record of the run: outcome and duration."""
        return self._file("run.json")

    @property
    def partial(self) -> Path:
        """The pages of an unfinished extraction."""
        return self.extracted.with_name(self.extracted.name + PARTIAL_SUFFIX)

    @property
    def latest(self) -> Path:
        """The fixed path of the query's newest CSV."""
        return latest_folder(self.root) / f"{self.slug}.csv"

    @property
    def folder(self) -> Path:
        """The folder of the snapshot's day."""
        return day_folder(self.root, self.slug, self.timestamp)

    @property
    def prefix(self) -> str:
        """The minute, with which all file names begin."""
        return as_file_name(self.timestamp)

    @property
    def all(self) -> list[Path]:
        """Every path except `latest`, in the order in which a run writes them."""
        before_csv = [self.document, self.partial, self.extracted, self.parsed, self.rejected, self.summary]
        return [*before_csv, self.complaints, self.datapackage, self.changes, self.run]

    def made_from(self, stage: str) -> list[Path]:
        """Return the files that a stage (see `STAGES`) writes, and all files that depend on them."""
        stored = [self.complaints, self.datapackage]
        parsed = [self.parsed, self.rejected, self.summary]
        by_stage = {
            "create": [self.document, *stored],
            "extract": [self.partial, self.extracted, *parsed, *stored],
            "parse": [*parsed, *stored],
            "store": stored,
            "merge": [],
        }
        return [*by_stage[stage], self.changes, self.run]

    def _file(self, ending: str) -> Path:
        return self.folder / f"{self.prefix}.{ending}"


class DownloadPaths(NamedTuple):
    """A downloaded file, its incomplete part, the versions of both, and a lock file."""

    file: Path
    partial: Path
    version: Path
    partial_version: Path
    lock: Path


@dataclass(frozen=True)
class ImportFiles:
    """The paths of an import: `<root>/files/<name>~<hash>/<prefix><what>`.

    `identity` distinguishes files of the same `name`, `prefix` imports from the same address.
    """

    root: Path
    name: str
    identity: str
    prefix: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the import."""
        identity = self.identity.encode("utf-8", "surrogateescape")  # file names can be any bytes
        return self.root / "files" / f"{self._shown}~{hashlib.sha256(identity).hexdigest()[:12]}"

    @property
    def changes(self) -> Path:
        """The changes that the import made in the database."""
        return self.folder / f"{self.prefix}changes.csv"

    @property
    def rejected(self) -> Path:
        """The rows that are not valid complaints."""
        return self.folder / f"{self.prefix}rejected.jsonl"

    @property
    def run(self) -> Path:
        """The record of the newest run."""
        return self.folder / "run.json"

    @property
    def download(self) -> DownloadPaths:
        """The paths of the download, if the file is at an address."""
        file = self.folder / f"download-{self._shown}"
        partial = file.with_name(file.name + PARTIAL_SUFFIX)
        lock = self.folder / ".lock"
        return DownloadPaths(
            file, partial, self.folder / "version.json", self.folder / "version.partial.json", lock
        )

    def at(self, minute: datetime) -> "ImportFiles":
        """Return the paths of an import of the data of a minute."""
        return replace(self, prefix=f"{as_file_name(minute)}.")

    @property
    def _shown(self) -> str:
        """The name with safe characters only."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name)[:_LONGEST_FILE_NAME].strip(".-") or "file"


def storage_id(root: Path) -> str:
    """Return 8 hexadecimal digits that identify this machine's storage root."""
    return hashlib.sha256(f"{socket.gethostname()}:{root.resolve()}".encode()).hexdigest()[:8]


def snapshots_folder(root: Path) -> Path:
    """Return the folder of all snapshots, with a folder for each query."""
    return root / "snapshots"


def query_folder(root: Path, slug: str) -> Path:
    """Return the folder of a query's snapshots, with a folder for each day."""
    return snapshots_folder(root) / slug


def sync_slug(slug: str) -> str:
    """Return the slug of a query's syncs."""
    return slug + _SYNC_SUFFIX


def syncs_folder(root: Path) -> Path:
    """Return the folder of the syncs' working files, with a folder for each query."""
    return root / "syncs"


def sync_folder(root: Path, slug: str) -> Path:
    """Return the folder of a sync's working files; `slug` is that of the query."""
    return syncs_folder(root) / slug


def sync_lock(root: Path, slug: str) -> Path:
    """Return the lock file of a query's sync."""
    return syncs_folder(root) / f"{slug}.lock"


def is_sync_slug(slug: str) -> bool:
    """Return whether a slug is that of a query's syncs."""
    return slug.endswith(_SYNC_SUFFIX)


def day_folder(root: Path, slug: str, day: date) -> Path:
    """Return the folder of a query's snapshots on a day."""
    return query_folder(root, slug) / f"{day:%Y-%m-%d}"


def exports_folder(root: Path) -> Path:
    """Return the folder of symbolic links to the temporary files of running exports."""
    return root / "exports"


def latest_folder(root: Path) -> Path:
    """Return the folder of the newest CSVs."""
    return root / "latest"


def latest_lock(latest: Path) -> Path:
    """Return the lock file of a newest CSV, held while the CSV is replaced."""
    return latest.parent / f".{latest.name}.lock"


def latest_of_lock(path: Path) -> Path | None:
    """Return the newest CSV that a lock file belongs to; None if the path is not such a lock."""
    name = path.name.removeprefix(".").removesuffix(".lock")
    latest = path.with_name(name) if name else None
    return latest if latest and latest_lock(latest) == path else None


def mark_in_use(files: SnapshotFiles) -> None:
    """Make a snapshot look recent, so that it is not pruned while a task uses it."""
    with contextlib.suppress(OSError):
        for path in files.all:
            if path != files.complaints and path.exists():  # the CSV's time must stay the snapshot's minute
                os.utime(path)
                return
