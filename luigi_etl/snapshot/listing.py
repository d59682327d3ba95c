"""The snapshots on disk, found by the names of their files."""

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from luigi_etl.snapshot.paths import ASIDE_SUFFIX, SnapshotFiles, day_folder, query_folder, snapshots_folder

_NAME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})Z\.([a-z.]+)", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_RUN_ENDINGS = [path.name.partition(".")[2] for path in SnapshotFiles(Path(), "", datetime.min).all]
_ENDINGS = [*(ending + ASIDE_SUFFIX for ending in _RUN_ENDINGS), *_RUN_ENDINGS]


@dataclass(frozen=True)
class FoundSnapshot:
    """A snapshot on disk, complete or not, and the endings of its file names.

    Files that a killed redo set aside belong to it.
    """

    files: SnapshotFiles
    endings: frozenset[str]

    @property
    def is_stored(self) -> bool:
        """Whether the chain wrote all files of the snapshot."""
        return "datapackage.json" in self.endings

    @property
    def is_merged(self) -> bool:
        """Whether the snapshot was merged and its changes were written."""
        return "changes.csv" in self.endings

    @property
    def paths(self) -> list[Path]:
        """The existing files, in the order in which a run writes them."""
        folder, prefix = self.files.folder, self.files.prefix
        return [folder / f"{prefix}.{ending}" for ending in _ENDINGS if ending in self.endings]


def list_slugs(root: Path) -> list[str]:
    """Return the slugs that have snapshots, sorted."""
    return sorted(entry.name for entry in list_entries(snapshots_folder(root)) if entry.is_dir())


def list_days(root: Path, slug: str) -> list[date]:
    """Return the days that have snapshots of a query, newest first."""
    found = []
    for entry in list_entries(query_folder(root, slug)):
        with contextlib.suppress(ValueError):
            if _DAY.fullmatch(entry.name):
                found.append(date.fromisoformat(entry.name))
    return sorted(found, reverse=True)


def list_snapshots(root: Path, slug: str, day: date) -> list[FoundSnapshot]:
    """Return the snapshots of a query on a day, newest first.

    Unknown files and files of other days are ignored.
    """
    endings: dict[datetime, set[str]] = {}
    for entry in list_entries(day_folder(root, slug, day)):
        match = _NAME.fullmatch(entry.name)
        with contextlib.suppress(ValueError):
            if match and match[6] in _ENDINGS:
                minute = datetime(*map(int, match.groups()[:5]))  # type: ignore[arg-type]
                endings.setdefault(minute, set()).add(match[6])
    return [
        FoundSnapshot(SnapshotFiles(root, slug, minute), frozenset(endings[minute]))
        for minute in sorted(endings, reverse=True)
        if minute.date() == day
    ]


def list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, unsorted; an empty list if there is no such folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return list(found)
    return []
