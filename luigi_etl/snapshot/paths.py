"""The path of every file of a snapshot; no other module forms one."""

import contextlib
import hashlib
import os
import socket
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from luigi_etl.common.minutes import as_file_name

PARTIAL_SUFFIX = ".partial"
ASIDE_SUFFIX = ".redo"  # of what a redo put aside until the new files are there
_SYNC_SUFFIX = "~sync"  # of the folder of a query's syncs: no query's own name ends so
STAGES = ("create", "extract", "parse", "store", "merge")


@dataclass(frozen=True)
class SnapshotFiles:
    """Every path of a snapshot: `<root>/snapshots/<slug>/<day>/<minute>.<what>`, and `<root>/latest`."""

    root: Path
    slug: str
    timestamp: datetime

    @property
    def document(self) -> Path:
        """The empty document: the header of the CSV."""
        return self._file("document.csv")

    @property
    def extracted(self) -> Path:
        """The API's pages."""
        return self._file("extracted.jsonl.gz")

    @property
    def parsed(self) -> Path:
        """The complaints."""
        return self._file("parsed.jsonl")

    @property
    def rejected(self) -> Path:
        """The hits that are no complaints."""
        return self._file("rejected.jsonl")

    @property
    def summary(self) -> Path:
        """What the pages held, in numbers."""
        return self._file("summary.json")

    @property
    def complaints(self) -> Path:
        """The document, filled."""
        return self._file("complaints.csv")

    @property
    def datapackage(self) -> Path:
        """The description of the CSV."""
        return self._file("datapackage.json")

    @property
    def changes(self) -> Path:
        """What the snapshot brought into the database."""
        return self._file("changes.csv")

    @property
    def run(self) -> Path:
        """What is on record of the run: how it ended, and how long it took."""
        return self._file("run.json")

    @property
    def partial(self) -> Path:
        """The API's pages, as far as an extraction under way or interrupted brought them."""
        return self.extracted.with_name(self.extracted.name + PARTIAL_SUFFIX)

    @property
    def latest(self) -> Path:
        """The place of the query's newest CSV."""
        return latest_folder(self.root) / f"{self.slug}.csv"

    @property
    def folder(self) -> Path:
        """The folder of the snapshot's day."""
        return day_folder(self.root, self.slug, self.timestamp)

    @property
    def prefix(self) -> str:
        """What the names of all files begin with: the minute."""
        return as_file_name(self.timestamp)

    @property
    def all(self) -> list[Path]:
        """Every path but `latest`, in the order in which a run makes them."""
        made = [self.document, self.partial, self.extracted, self.parsed, self.rejected, self.summary]
        return [*made, self.complaints, self.datapackage, self.changes, self.run]

    def made_from(self, stage: str) -> list[Path]:
        """Return what a stage (of `STAGES`) makes, and all that is made of it."""
        stored = [self.complaints, self.datapackage]
        parsed = [self.parsed, self.rejected, self.summary]
        made = {
            "create": [self.document, *stored],
            "extract": [self.partial, self.extracted, *parsed, *stored],
            "parse": [*parsed, *stored],
            "store": stored,
            "merge": [],
        }
        return [*made[stage], self.changes, self.run]

    def _file(self, what: str) -> Path:
        return self.folder / f"{self.prefix}.{what}"


def storage_id(root: Path) -> str:
    """Return 8 hexadecimal digits for a storage root, other ones for another folder or machine."""
    return hashlib.sha256(f"{socket.gethostname()}:{root.resolve()}".encode()).hexdigest()[:8]


def snapshots_folder(root: Path) -> Path:
    """Return the folder of all snapshots: it holds one for each query."""
    return root / "snapshots"


def query_folder(root: Path, slug: str) -> Path:
    """Return the folder of a query's snapshots: it holds one for each day."""
    return snapshots_folder(root) / slug


def sync_slug(slug: str) -> str:
    """Return what the folder of a query's syncs is called."""
    return slug + _SYNC_SUFFIX


def syncs_folder(root: Path) -> Path:
    """Return the folder of the syncs' working files: it holds one for each query that is synced."""
    return root / "syncs"


def sync_folder(root: Path, slug: str) -> Path:
    """Return the folder of a sync's working files, which belong to no snapshot; `slug` is its query's."""
    return syncs_folder(root) / slug


def sync_lock(root: Path, slug: str) -> Path:
    """Return the file that is locked while a query is synced."""
    return syncs_folder(root) / f"{slug}.lock"


def is_of_syncs(slug: str) -> bool:
    """Tell the folder of a query's syncs from one of its snapshots."""
    return slug.endswith(_SYNC_SUFFIX)


def day_folder(root: Path, slug: str, day: date) -> Path:
    """Return the folder of a query's snapshots of a day."""
    return query_folder(root, slug) / f"{day:%Y-%m-%d}"


def exports_folder(root: Path) -> Path:
    """Return the folder of symbolic links to the temporary files of exports under way."""
    return root / "exports"


def latest_folder(root: Path) -> Path:
    """Return the folder of the newest CSVs."""
    return root / "latest"


def latest_lock(latest: Path) -> Path:
    """Return the file that is locked while a CSV takes its place among the newest."""
    return latest.parent / f".{latest.name}.lock"


def latest_of_lock(path: Path) -> Path | None:
    """Return the CSV that a lock file among the newest is for, or None if it is not one."""
    name = path.name.removeprefix(".").removesuffix(".lock")
    latest = path.with_name(name) if name else None
    return latest if latest and latest_lock(latest) == path else None


def mark_in_use(files: SnapshotFiles) -> None:
    """Let a snapshot look young, so that it is not pruned while a task works on it."""
    with contextlib.suppress(OSError):
        for path in files.all:
            if path != files.complaints and path.exists():  # the CSV's time is the snapshot's minute
                os.utime(path)
                return
