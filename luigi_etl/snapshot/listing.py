"""The snapshots on disk, from the names of their files."""

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from luigi_etl.snapshot.paths import ASIDE_SUFFIX, SnapshotFiles, day_folder, query_folder, snapshots_folder

_NAME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})Z\.([a-z.]+)", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_MADE = [path.name.partition(".")[2] for path in SnapshotFiles(Path(), "", datetime.min).all]
_ENDINGS = [*(ending + ASIDE_SUFFIX for ending in _MADE), *_MADE]


@dataclass(frozen=True)
class FoundSnapshot:
    """A snapshot that is on the disk, whole or not, and what the names of its files end in.

    What a killed redo put aside is part of it.
    """

    files: SnapshotFiles
    endings: frozenset[str]

    @property
    def is_stored(self) -> bool:
        """Tell whether the chain came to its end."""
        return "datapackage.json" in self.endings

    @property
    def is_merged(self) -> bool:
        """Tell whether the snapshot is in the database, and what it brought was told."""
        return "changes.csv" in self.endings

    @property
    def paths(self) -> list[Path]:
        """The files that are there, in the order in which a run makes them."""
        folder, prefix = self.files.folder, self.files.prefix
        return [folder / f"{prefix}.{ending}" for ending in _ENDINGS if ending in self.endings]


def slugs(root: Path) -> list[str]:
    """Return the queries that have snapshots, as their files name them, in order."""
    return sorted(entry.name for entry in entries(snapshots_folder(root)) if entry.is_dir())


def days(root: Path, slug: str) -> list[date]:
    """Return the days that have snapshots of a query, the newest first."""
    found = []
    for entry in entries(query_folder(root, slug)):
        with contextlib.suppress(ValueError):
            if _DAY.fullmatch(entry.name):
                found.append(date.fromisoformat(entry.name))
    return sorted(found, reverse=True)


def snapshots(root: Path, slug: str, day: date) -> list[FoundSnapshot]:
    """Return the snapshots of a query on a day, the newest first, from the names of the files alone.

    A file that no run makes, or that is of another day, is none of a snapshot's.
    """
    endings: dict[datetime, set[str]] = {}
    for entry in entries(day_folder(root, slug, day)):
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


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, in no order; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return list(found)
    return []
