"""Snapshots written without a run: a few with given contents, or very many."""

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

from luigi_etl.api.page import Page
from luigi_etl.api.query import parse_query
from luigi_etl.snapshot.datapackage import SnapshotSpec, describe
from luigi_etl.snapshot.page_file import PageFile
from luigi_etl.snapshot.parse import Summary, parse
from luigi_etl.snapshot.paths import SnapshotFiles, sync_slug
from luigi_etl.snapshot.run_record import Outcome, RunRecord, write_record
from luigi_etl.snapshot.store import create_document, store

SLUG = "all-newest-10"
TWO_DAYS = 2 * 86_400
LINKS = 30_000  # a file system may refuse a file more than 65,000 names


def stored(
    root: Path,
    minute: datetime,
    *,
    slug: str = SLUG,
    rows: int = 10,
    rejected: int = 0,
    seconds: float | None = 0.9,
) -> SnapshotFiles:
    """Write a whole snapshot with the chain's functions; without a run record if `seconds` is None."""
    files = SnapshotFiles(root, slug, minute)
    create_document(files.document, "")
    files.extracted.write_bytes(b"pages")
    files.parsed.write_text("".join(f'{{"complaint_id":"{number}"}}\n' for number in range(rows)))
    files.rejected.write_text("{}\n" * rejected)
    files.summary.write_text("{}\n")
    csv = store(files.document, files.parsed, files.complaints, rows, minute)
    hits = rows + rejected
    summary = Summary(address="https://x/", hits_total=hits, hits=hits, parsed=rows, rejected=rejected)
    describe(files.datapackage, files.complaints, csv, summary, SnapshotSpec(parse_query(""), 10, minute))
    if seconds is not None:
        record(files, "stored", seconds=seconds)
    return unused(files)


def ended(
    root: Path,
    minute: datetime,
    outcome: Literal["failed", "skipped"],
    error: str = "no luck",
    slug: str = SLUG,
) -> SnapshotFiles:
    """Write the files of a failed or skipped run."""
    files = SnapshotFiles(root, slug, minute)
    if outcome == "failed":
        create_document(files.document, "")
    record(files, outcome, error)
    return unused(files)


def unused(files: SnapshotFiles) -> SnapshotFiles:
    """Make a snapshot's files two days old."""
    for path in files.all:
        if path != files.complaints and path.exists():
            os.utime(path, (time.time() - TWO_DAYS,) * 2)
    return files


def record(
    files: SnapshotFiles,
    outcome: Outcome,
    error: str = "",
    seconds: float = 1.5,
    task: str = "StoreComplaints",
) -> None:
    """Write the run record of a snapshot."""
    now = datetime.now(timezone.utc)
    write_record(
        files.run,
        RunRecord(outcome=outcome, task=task, ended=now, seconds=seconds, error=error),
    )


def merged(root: Path, minute: datetime, *, slug: str = SLUG, rows: int = 10) -> SnapshotFiles:
    """Write a whole snapshot whose run record is `merged`."""
    files = stored(root, minute, slug=slug, rows=rows)
    files.changes.write_bytes(b"complaint_id\n")
    record(files, "merged", seconds=1.9, task="MergeComplaints")
    return unused(files)


def synced(root: Path, minute: datetime, *, changes: bool = False) -> SnapshotFiles:
    """Write the files of a sync of all complaints."""
    files = SnapshotFiles(root, sync_slug("all"), minute)
    record(files, "synced", task="SyncComplaints")
    if changes:
        files.changes.write_bytes(b"complaint_id\n")
    return unused(files)


def many(root: Path, model: SnapshotFiles, newest: datetime, minutes: int, *, whole: bool = True) -> None:
    """Copy a snapshot to each of the `minutes` up to `newest`, as hard links.

    Without `whole` each has only the Data Package.
    """
    paths = [path for path in model.all if path.exists() and (whole or path == model.datapackage)]
    folders: set[str] = set()
    for number in range(minutes):
        if number % LINKS == 0:
            links = _copies(root, paths, number)
        minute = newest - timedelta(minutes=number)
        folder = f"{root}/snapshots/{model.slug}/{minute:%Y-%m-%d}"
        if folder not in folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
            folders.add(folder)
        prefix = f"{folder}/{minute:%Y%m%dT%H%MZ}"
        for source, ending in links:
            os.link(source, prefix + ending)


def _copies(root: Path, paths: list[Path], number: int) -> list[tuple[str, str]]:
    folder = root / "models" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        (str(shutil.copy2(path, folder / path.name)), path.name[path.name.index(".") :]) for path in paths
    ]


def taken(
    root: Path,
    minute: datetime,
    complaints: Sequence[Mapping[str, object]],
    *,
    query: str = "",
    limit: int = 0,
    total: int | None = None,
    sandbox: str | None = None,
    is_flagged: bool = False,
) -> SnapshotFiles:
    """Write a whole snapshot of complaints as the API sends them, with the chain's functions.

    `total` is the API's number of matches.
    """
    asked = SnapshotSpec(parse_query(query), limit, minute)
    return fetched(root, asked, [answer(complaints, total, sandbox, is_flagged)])


def fetched(root: Path, asked: SnapshotSpec, answers: Iterable[bytes]) -> SnapshotFiles:
    """Write a whole snapshot of API responses, with the chain's functions."""
    files = SnapshotFiles(root, asked.query.slug(asked.limit), asked.timestamp)
    create_document(files.document, "")
    with PageFile(files.extracted).open_locked() as pages:
        for one in answers:
            pages.append(Page("https://api.example/?size=1", one))
        pages.finish()
    summary = parse(files.extracted, files.parsed, files.rejected, files.summary, asked.limit)
    csv = store(files.document, files.parsed, files.complaints, summary.parsed, asked.timestamp)
    describe(files.datapackage, files.complaints, csv, summary, asked)
    return files


def answer(
    complaints: Sequence[Mapping[str, object]],
    total: int | None,
    sandbox: str | None,
    is_flagged: bool = False,
) -> bytes:
    """Return a response of the API; `total` also counts the matches of other pages."""
    hits = [
        {"_id": one["complaint_id"], "_source": one, "sort": [1, one["complaint_id"]]} for one in complaints
    ]
    value = len(hits) if total is None else total
    found = {"total": {"value": value, "relation": "eq"}, "hits": hits}
    return json.dumps({"hits": found, "_meta": {"sandbox": sandbox, "has_data_issue": is_flagged}}).encode()
