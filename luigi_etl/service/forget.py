"""Forget the snapshots after a minute: those of a run whose clock was ahead.

The database is rolled back in one transaction. What a later snapshot touched goes back to the state of the
newest remaining snapshot whose files are gone, as the history holds it; the remaining snapshots after that,
whose files are all there, are merged again in the order of their minutes. So rows and history are as if the
later snapshots had never been merged. Where files are gone, two things can't be known, and the older answer
is taken: `last_seen` is the newest minute in which the history proves that a complaint was seen, and a
complaint counts as withdrawn only if a remaining snapshot found it so. The next sync brings both up to date.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Column, Connection, MetaData, Table, Text, delete, func, or_, select, update

from luigi_etl.api.query import parse_stored_query
from luigi_etl.common.errors import NoDatabaseError
from luigi_etl.common.files import storage_errors
from luigi_etl.common.minutes import as_parameter
from luigi_etl.common.terminal import counted
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import rebuild
from luigi_etl.database.merge import BATCH, merge_again
from luigi_etl.database.observations import (
    ALL_UNSET,
    Observation,
    Value,
    read_observations,
    read_rejected_ids,
)
from luigi_etl.database.rows import SnapshotRef, StoredComplaint, load_complaints, replace_complaints
from luigi_etl.database.schema import FIELDS, complaints, history, snapshots, syncs, unverified
from luigi_etl.snapshot.columns import COLUMNS
from luigi_etl.snapshot.datapackage import HASH
from luigi_etl.snapshot.listing import FoundSnapshot, days, entries, slugs
from luigi_etl.snapshot.listing import snapshots as on_disk
from luigi_etl.snapshot.paths import SnapshotFiles, latest_folder
from luigi_etl.snapshot.store import publish
from luigi_etl.tasks.future_minutes import minute_of

_TYPES = {column.field: column.type for column in COLUMNS}
_TOUCHED = Table(
    "touched", MetaData(), Column("complaint_id", Text, primary_key=True), prefixes=["TEMPORARY"]
)


class Forgotten(NamedTuple):
    """What was forgotten, or would be: snapshots and syncs of the database, complaints, files.

    `removed` counts complaints that only later snapshots held, `restored` the others they touched.
    """

    snapshots: int = 0
    syncs: int = 0
    removed: int = 0
    restored: int = 0
    files: int = 0

    def __str__(self) -> str:
        names = ("snapshot", "sync", "complaint", "complaint", "file")
        counts = [counted(number, name) for number, name in zip(self, names, strict=True)]
        return f"{counts[0]} and {counts[1]}; {counts[2]} removed, {counts[3]} restored; {counts[4]} removed"


class Later(NamedTuple):
    """Snapshots of a query and limit that are later: how many, from and to which minute."""

    query: str
    limit: int
    number: int
    first: datetime
    last: datetime

    def __str__(self) -> str:
        query = self.query or "all complaints"
        span = f"{as_parameter(self.first)} to {as_parameter(self.last)}"
        return f"{counted(self.number, 'snapshot')} of {query}, limit {self.limit}: {span}"


def forget(database: Database, root: Path, after: datetime) -> Forgotten:
    """Forget the snapshots and syncs after a minute (naive UTC), in the database, then on the disk.

    Raises:
        StorageError: a file can't be removed; the database has forgotten them, and a further call goes on.
        EtlError: as `Database` does; nothing is forgotten.

    """
    found = preview(database, root, after)
    if found.snapshots or found.syncs or found.removed or found.restored:
        with database.writing() as connection:
            found = _counts(connection, after)
            _forget_rows(connection, root, after)
    return found._replace(files=_remove_files(root, after))


def preview(database: Database, root: Path, after: datetime) -> Forgotten:
    """Return what `forget` would forget."""
    files = sum(len(found.paths) for found in _later_files(root, after))
    try:
        with database.reading() as connection:
            return _counts(connection, after)._replace(files=files)
    except NoDatabaseError:
        return Forgotten(files=files)


def later_snapshots(database: Database, after: datetime) -> list[Later]:
    """Return the snapshots of the database that are later, by query."""
    columns = (snapshots.c.query, snapshots.c.row_limit)
    minutes = (func.count(), func.min(snapshots.c.timestamp), func.max(snapshots.c.timestamp))
    later = (
        select(*columns, *minutes).where(snapshots.c.timestamp > after).group_by(*columns).order_by(*columns)
    )
    try:
        with database.reading() as connection:
            return [Later(*row) for row in connection.execute(later)]
    except NoDatabaseError:
        return []


# --- the database --------------------------------------------------------------------------------


def _counts(connection: Connection, after: datetime) -> Forgotten:
    later = select(func.count()).select_from(snapshots).where(snapshots.c.timestamp > after)
    touched = _touched_after(after).subquery()
    new = select(func.count()).select_from(complaints).where(complaints.c.first_seen > after)
    removed = connection.scalar(new) or 0
    return Forgotten(
        snapshots=connection.scalar(later) or 0,
        syncs=len(_later_syncs(connection, after)),
        removed=removed,
        restored=(connection.scalar(select(func.count()).select_from(touched)) or 0) - removed,
    )


def _forget_rows(connection: Connection, root: Path, after: datetime) -> None:
    cut, remaining = _with_files(connection, root, after)
    _TOUCHED.create(connection)
    connection.execute(_TOUCHED.insert().from_select(["complaint_id"], _touched_after(after)))
    for complaint_ids in _touched_batches(connection):
        _roll_back(connection, complaint_ids, cut)
    connection.execute(delete(syncs).where(syncs.c.id.in_(_later_syncs(connection, after))))
    connection.execute(delete(snapshots).where(snapshots.c.timestamp > after))
    connection.execute(delete(unverified).where(unverified.c.since > after))
    connection.execute(update(unverified).where(unverified.c.held_since > after).values(held_since=None))
    rebuild(connection, after)
    for one in remaining:
        merge_again(connection, one.snapshot, _touched_sightings(connection, one))
    _TOUCHED.drop(connection)


def _touched_after(after: datetime) -> Any:
    """Select the complaints that a later snapshot touched."""
    by_row = select(complaints.c.complaint_id).where(
        or_(complaints.c.last_seen > after, complaints.c.withdrawn > after)
    )
    by_line = (
        select(history.c.complaint_id)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(snapshots.c.timestamp > after)
    )
    return by_row.union(by_line)


class _Window(msgspec.Struct, frozen=True):
    timestamp: datetime
    query: str


def _later_syncs(connection: Connection, after: datetime) -> list[int]:
    """Return the syncs that began later or read a window later, or once the first later one was merged.

    Of these the history may hold too little. Without them the next sync reads the same days again.
    """
    first = select(func.min(snapshots.c.id)).where(snapshots.c.timestamp > after).scalar_subquery()
    since = connection.execute(
        select(snapshots.c.timestamp, snapshots.c.query).where(snapshots.c.id >= first)
    )
    windows = {_Window(*row) for row in since}
    found = connection.execute(select(syncs.c.id, syncs.c.timestamp, syncs.c.windows, syncs.c.lookups))
    return [
        row.id
        for row in found
        if row.timestamp > after
        or any(
            one.timestamp > after or one in windows
            for text in (row.windows, row.lookups)
            for one in _windows(text)
        )
    ]


def _windows(text: str | None) -> list[_Window]:
    return msgspec.json.decode(text, type=list[_Window]) if text else []


class _Remaining(NamedTuple):
    snapshot: SnapshotRef
    files: SnapshotFiles
    content_hash: str


def _with_files(connection: Connection, root: Path, after: datetime) -> tuple[datetime, list[_Remaining]]:
    """Return the minute of the newest remaining snapshot without files, and in order those since."""
    rows = connection.execute(
        select(snapshots)
        .where(snapshots.c.timestamp <= after)
        .order_by(snapshots.c.timestamp.desc(), snapshots.c.id.desc())
    )
    found: list[_Remaining] = []
    for row in rows:
        query = parse_stored_query(row.query)
        files = SnapshotFiles(root, query.slug(row.row_limit), row.timestamp)
        if not _are_as_merged(files, row.content_hash):
            return row.timestamp, [one for one in reversed(found) if one.snapshot.timestamp > row.timestamp]
        snapshot = SnapshotRef(row.id, row.timestamp, query, row.is_complete)
        found.append(_Remaining(snapshot, files, row.content_hash))
    return datetime.min, found[::-1]


def _are_as_merged(files: SnapshotFiles, content_hash: str) -> bool:
    try:
        with files.parsed.open("rb") as stream:
            found = hashlib.sha256()
            while part := stream.read(1 << 20):
                found.update(part)
        return HASH + found.hexdigest() == content_hash and files.rejected.exists()
    except OSError:
        return False


def _touched_batches(connection: Connection) -> Iterator[list[str]]:
    last = ""
    while batch := list(
        connection.scalars(
            select(_TOUCHED.c.complaint_id)
            .where(_TOUCHED.c.complaint_id > last)
            .order_by(_TOUCHED.c.complaint_id)
            .limit(BATCH)
        )
    ):
        yield batch
        last = batch[-1]


def _touched_sightings(connection: Connection, remaining: _Remaining) -> Iterator[Observation]:
    """Give what a snapshot saw of the complaints that were rolled back."""
    rejected = (Observation(one, ALL_UNSET) for one in read_rejected_ids(remaining.files.rejected) if one)
    seen = chain(read_observations(remaining.files.parsed, remaining.content_hash), rejected)
    while batch := list(islice(seen, BATCH)):
        asked = _TOUCHED.c.complaint_id.in_([one.complaint_id for one in batch])
        touched = set(connection.scalars(select(_TOUCHED.c.complaint_id).where(asked)))
        yield from (one for one in batch if one.complaint_id in touched)


# --- a complaint as it was -----------------------------------------------------------------------


class _Line(NamedTuple):
    complaint_id: str
    change: str
    field: str | None
    old: str | None
    new: str | None
    timestamp: datetime


def _roll_back(connection: Connection, complaint_ids: Sequence[str], cut: datetime) -> None:
    """Give complaints the state and history they had at a minute; those that were not there yet go."""
    lines = _lines(connection, complaint_ids)
    rows = load_complaints(connection, complaint_ids)
    gone = [one for one, row in rows.items() if row.first_seen > cut]
    kept = [_as_of(row, lines.get(one, []), cut) for one, row in rows.items() if row.first_seen <= cut]
    later = select(snapshots.c.id).where(snapshots.c.timestamp > cut)
    connection.execute(
        delete(history).where(history.c.complaint_id.in_(complaint_ids), history.c.snapshot_id.in_(later))
    )
    connection.execute(delete(complaints).where(complaints.c.complaint_id.in_(gone)))
    replace_complaints(connection, kept)


def _lines(connection: Connection, complaint_ids: Sequence[str]) -> dict[str, list[_Line]]:
    columns = (history.c.complaint_id, history.c.change, history.c.field, history.c.old, history.c.new)
    found = connection.execute(
        select(*columns, snapshots.c.timestamp)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(history.c.complaint_id.in_(complaint_ids))
        .order_by(snapshots.c.timestamp, history.c.id)
    )
    lines: dict[str, list[_Line]] = {}
    for row in found:
        lines.setdefault(row.complaint_id, []).append(_Line(*row))
    return lines


def _as_of(now: StoredComplaint, lines: Iterable[_Line], cut: datetime) -> StoredComplaint:
    """Return a complaint as it was at a minute, as far as its history holds that."""
    lines = list(lines)
    before = [line for line in lines if line.timestamp <= cut]
    changed = [line.timestamp for line in before if line.change == "changed"]
    seen = [line.timestamp for line in before if line.change != "withdrawn"]
    observed = [now.observed(at) for at in range(len(FIELDS))]
    known = [
        minute for minute in (*seen, *observed, now.first_seen, now.last_seen) if minute and minute <= cut
    ]
    last_seen = max(known)
    sent, times = 0, {}
    values: list[Value] = []
    for at, field in enumerate(FIELDS):
        of_field = [line for line in lines if line.field == field]
        value, was_sent = _value_at(now.values[at], of_field, field, cut)
        values.append(value)
        minute = observed[at]
        if minute is None or not was_sent:
            continue
        sent |= 1 << at
        if minute <= cut and minute < last_seen:
            times[field] = minute
    conclusions = [line for line in before if line.change in ("withdrawn", "returned")]
    is_withdrawn = bool(conclusions) and conclusions[-1].change == "withdrawn"
    return now._replace(
        values=tuple(values),
        last_seen=last_seen,
        last_changed=max(changed, default=now.first_seen),
        withdrawn=conclusions[-1].timestamp if is_withdrawn else None,
        sent=sent,
        last_sent=msgspec.json.encode(times).decode() if times else None,
    )


def _value_at(now: Value, lines: Sequence[_Line], field: str, cut: datetime) -> tuple[Value, bool]:
    """Return a field's value at a minute, and whether it was sent by then: not if it came up later."""
    before = [line for line in lines if line.timestamp <= cut]
    if before:
        return _typed(field, before[-1].new), True
    if lines:
        return _typed(field, lines[0].old), lines[0].old is not None
    return now, True


def _typed(field: str, text: str | None) -> Value:
    if text is None or _TYPES[field] == "string":
        return text
    return text == "true" if _TYPES[field] == "boolean" else date.fromisoformat(text)


# --- the disk ------------------------------------------------------------------------------------


def _later_files(root: Path, after: datetime) -> Iterator[FoundSnapshot]:
    for slug in slugs(root):
        for day in days(root, slug):
            if day >= after.date():
                yield from (one for one in on_disk(root, slug, day) if one.files.timestamp > after)


def later_runs(root: Path, after: datetime) -> list[str]:
    """Return in one line each how many later minutes of a query have files on the disk."""
    minutes: dict[str, list[datetime]] = {}
    for found in _later_files(root, after):
        minutes.setdefault(found.files.slug, []).append(found.files.timestamp)
    return [
        f"files of {counted(len(found), 'minute')} of {slug}: "
        f"{as_parameter(min(found))} to {as_parameter(max(found))}"
        for slug, found in sorted(minutes.items())
    ]


def _remove_files(root: Path, after: datetime) -> int:
    """Remove later snapshots' files, each from its end; give `latest` to the newest that remains."""
    count = 0
    for found in list(_later_files(root, after)):
        for path in reversed(found.paths):
            with storage_errors(path):
                path.unlink(missing_ok=True)
            count += 1
        with contextlib.suppress(OSError):  # not empty
            found.files.folder.rmdir()
    with_latest = {
        Path(entry.name).stem for entry in entries(latest_folder(root)) if entry.name.endswith(".csv")
    }
    for slug in sorted(with_latest.union(slugs(root))):
        _renew_latest(SnapshotFiles(root, slug, after))
    return count


def _renew_latest(files: SnapshotFiles) -> None:
    """Give `latest` to the newest remaining snapshot of a query; also where an earlier call was killed."""
    with storage_errors(files.latest):
        minute = minute_of(files.latest)
        if minute and minute <= files.timestamp:
            return
        files.latest.unlink(missing_ok=True)
    every = (one for day in days(files.root, files.slug) for one in on_disk(files.root, files.slug, day))
    newest = next((one for one in every if one.is_stored), None)
    if newest:
        publish(newest.files.complaints, newest.files.latest)
