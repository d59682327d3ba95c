"""Verify offline that snapshots are what the API answered, whole, and that the database holds the newest.

Each step is redone by the code of its task and compared: the addresses of the pages as the walk's proof, the
pages as parsed complaints, these as the CSV. Nothing is kept in memory beyond a page.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection, inspect, select

from luigi_etl.api.contradiction import find_contradiction_in_page
from luigi_etl.api.page import Page
from luigi_etl.api.query import Query, parse_stored_query
from luigi_etl.api.response import read_response
from luigi_etl.api.settings import NEWEST_FIRST
from luigi_etl.common.errors import DamagedFileError, EtlError, NoDatabaseError
from luigi_etl.common.terminal import brief
from luigi_etl.database.connection import Database
from luigi_etl.database.observations import Observation, ObservedValue, as_text, read_observations
from luigi_etl.database.rows import StoredComplaint, load_complaints
from luigi_etl.database.schema import FIELDS, complaints, history, unverified
from luigi_etl.database.schema import snapshots as merged_snapshots
from luigi_etl.database.sql_filter import condition
from luigi_etl.service.run_history import has_stored
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.csv_format import csv_blocks
from luigi_etl.snapshot.datapackage import HASH, SnapshotSpec, snapshot_fields
from luigi_etl.snapshot.datapackage_reader import Description, read_description
from luigi_etl.snapshot.extract import Walk
from luigi_etl.snapshot.leftovers import is_young
from luigi_etl.snapshot.listing import FoundSnapshot, days, slugs, snapshots
from luigi_etl.snapshot.page_file import read_pages
from luigi_etl.snapshot.parse import Summary, parse_into
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.store import filled, labels, read_columns

BATCH = 500  # complaints that are looked up together
PAGING = {"sort", "size", "no_aggs", "no_highlight", "search_after"}
NUMBERS = {"address", "last_indexed", "hits_total", "pages", "hits", "parsed", "rejected", "duplicates"}


class Verdict(NamedTuple):
    """What was found of a snapshot's files, or of the database beside them; no `difference`: all is well."""

    minute: datetime
    query: str
    what: Literal["snapshot", "database"]
    rows: int
    difference: str = ""


Wanted = Callable[[str], bool]


def verify(root: Path, database: Database, wanted: Wanted, since: datetime) -> Iterator[Verdict]:
    """Verify the snapshots of minutes since `since` (naive UTC) and the database.

    `wanted` chooses the queries by the names of their folders. Of each query the newest complete snapshot
    that was merged and is still on the disk is compared with the database.

    Raises:
        OSError: a folder can't be read.
        DatabaseError, DatabaseUnavailableError: as `Database` raises them.

    """
    for slug in filter(wanted, slugs(root)):
        for found in _snapshots(root, slug, since):
            verdict = _verdict(found)
            if verdict and not (verdict.difference and _is_pruned_meanwhile(found)):
                yield verdict
        verdict = _database_verdict(root, database, slug, since)
        if verdict:
            yield verdict


def _snapshots(root: Path, slug: str, since: datetime) -> Iterator[FoundSnapshot]:
    for day in days(root, slug):
        if day >= since.date():
            yield from (one for one in snapshots(root, slug, day) if one.files.timestamp >= since)


def _is_pruned_meanwhile(found: FoundSnapshot) -> bool:
    return not any(path.exists() for path in found.paths)


def _verdict(found: FoundSnapshot) -> Verdict | None:
    """Verify a snapshot; return None for a run that stored none."""
    files = found.files
    try:
        if not found.is_stored:
            _check_unstored(found)
            return None
        rows = _verified(files)
    except EtlError as error:
        return Verdict(files.timestamp, files.slug, "snapshot", 0, brief(error, 500))
    except OSError as error:
        difference = f"{error.filename} can't be read ({error.strerror})"
        return Verdict(files.timestamp, files.slug, "snapshot", 0, brief(difference, 500))
    return Verdict(files.timestamp, files.slug, "snapshot", rows)


def _check_unstored(found: FoundSnapshot) -> None:
    """Check that a snapshot without a Data Package never had one.

    Raises:
        DamagedFileError: it had.

    """
    files = found.files
    was_filled = files.complaints.exists() and not is_young(files.summary)
    if was_filled or has_stored(files.run):
        raise DamagedFileError(
            f"{files.datapackage} is missing; make it again with `luigi-etl redo MINUTE --from store`"
        )


def _verified(files: SnapshotFiles) -> int:
    """Redo every step of a snapshot and compare; return its rows.

    Raises:
        EtlError: a file is not what its task wrote.
        OSError: a file can't be read.

    """
    description = read_description(files.datapackage, files.complaints, redo_command(files, "store"))
    facts = description.snapshot
    query = parse_stored_query(facts.query)
    if query.slug(facts.limit) != files.slug:
        raise _differs(files.datapackage, f"is of query {facts.query!r} and limit {facts.limit}")
    asked = SnapshotSpec(query, facts.limit, files.timestamp)
    summary = _verify_pages(files, asked)
    _verify_summary(files.summary, summary)
    _verify_csv(files, description, summary)
    _verify_description(files.datapackage, description, snapshot_fields(summary, asked))
    return summary.parsed


def _differs(path: Path, what: str) -> DamagedFileError:
    return DamagedFileError(f"{path} {what}")


# --- the pages, and what is parsed of them -------------------------------------------------------


def _verify_pages(files: SnapshotFiles, asked: SnapshotSpec) -> Summary:
    """Prove the walk again, and parse its pages again; return the summary."""
    proof = _Proof(files.extracted, asked)
    with _Expected(files.parsed) as parsed, _Expected(files.rejected) as rejected:
        pages = proof.passing(read_pages(files.extracted))
        summary = parse_into(files.extracted, pages, parsed, rejected, asked.limit)
    proof.check()
    return summary


class _Proof:
    """The proof of the walk, from the pages as they pass."""

    def __init__(self, path: Path, asked: SnapshotSpec) -> None:
        self._path = path
        self._asked = asked
        self._walk = Walk(asked.limit)
        self._address = ""

    def passing(self, pages: Iterable[Page]) -> Iterator[Page]:
        """Give the pages on, each after it was checked."""
        for page in pages:
            self._take(page)
            yield page
            del page  # before the next one is read

    def check(self) -> None:
        """Check that the walk is complete."""
        if not self._walk.is_proven:
            counts = f"{self._walk.collected:,} complaints of {self._walk.expected:,}"
            raise _differs(self._path, f"holds {counts}")

    def _take(self, page: Page) -> None:
        if self._walk.is_over:
            raise _differs(self._path, "holds a page after the last")
        self._check_address(page.address)
        answer = read_response(page.body)
        size = _size_asked(page.address)
        problem = find_contradiction_in_page(self._asked.query.pairs, answer, self._walk.cursor)
        if answer.timed_out or answer.shards.failed or not answer.is_exact:
            problem = "a page is no complete answer"
        most = min(size, self._asked.limit - self._walk.collected) if self._asked.limit else size
        if not len(answer.hits.hits) <= most == size:
            problem = f"a page of {len(answer.hits.hits):,} complaints, {size:,} asked for"
        self._walk.add(answer)
        if problem or self._walk.problem:
            raise _differs(self._path, f"proves nothing: {problem or self._walk.problem}")

    def _check_address(self, address: str) -> None:
        parts = urlsplit(address)
        server = urlunsplit(parts._replace(query=""))
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        paging = {name: value for name, value in pairs if name in PAGING}
        filters = [pair for pair in pairs if pair[0] not in PAGING]
        asked = brief(parts.query)
        if filters != list(self._asked.query.pairs) or paging.get("sort") != NEWEST_FIRST:
            raise _differs(self._path, f"holds the answer to another question: {asked}")
        if paging.get("search_after") != self._walk.cursor:
            raise _differs(self._path, f"holds a page that does not follow the one before: {asked}")
        if server != (self._address or server):
            raise _differs(self._path, f"holds pages of {brief(self._address)} and {brief(server)}")
        self._address = server


def _size_asked(address: str) -> int:
    """Return how many complaints an address asks for, 0 where that is malformed."""
    values = dict(parse_qsl(urlsplit(address).query))
    is_plain = values.get("no_aggs", "true") == values.get("no_highlight", "true") == "true"
    size = values.get("size", "")
    return int(size) if is_plain and size.isascii() and size.isdecimal() and len(size) < 10 else 0


class _Expected:
    """A file that is compared with what would be written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = path.open("rb")
        self._at = 0

    def __enter__(self) -> "_Expected":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stream:
            if kind is None and self._stream.read(1):
                raise _differs(self._path, f"goes on after byte {self._at:,}, where it should end")

    def write(self, lines: bytes) -> None:
        """Compare lines with the next ones of the file."""
        found = self._stream.read(len(lines))
        if found != lines:
            at = self._at + len(os.path.commonprefix([found, lines]))  # noqa: RUF071  # of bytes
            raise _differs(self._path, f"is not what its source gives, from byte {at:,} on")
        self._at += len(lines)


# --- the numbers, the CSV, its description -------------------------------------------------------


def _verify_summary(path: Path, summary: Summary) -> None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, "parse again") from error
    wanted = msgspec.to_builtins(summary)
    if missing := NUMBERS - found.keys():
        raise _differs(path, f"lacks {min(missing)}")
    for name, value in found.items():  # of an older version some may not be there
        if name not in wanted or value != wanted[name]:
            raise _differs(path, f"has {brief(name)} {brief(value)}, the pages {brief(wanted.get(name))}")


def _verify_csv(files: SnapshotFiles, description: Description, summary: Summary) -> None:
    columns = read_columns(files.document)
    with _Expected(files.document) as document:
        for block in csv_blocks(labels(columns), []):
            document.write(block.lines)
    sha256 = hashlib.sha256()
    size = rows = 0
    with _Expected(files.complaints) as csv:
        for block in filled(columns, files.parsed, sha256):
            csv.write(block.lines)
            size, rows = size + len(block.lines), rows + block.rows
    if rows != summary.parsed:
        raise _differs(files.complaints, f"holds {rows:,} rows of {summary.parsed:,}")
    if HASH + sha256.hexdigest() != description.snapshot.parsed_hash:
        raise _differs(files.parsed, "was changed since it was stored (its hash differs)")
    resource = description.resource
    if (resource.path, resource.bytes, resource.rows) != (files.complaints.name, size, rows):
        raise _differs(files.datapackage, "has other numbers than the CSV")


def _verify_description(path: Path, description: Description, wanted: dict[str, Any]) -> None:
    found = description.snapshot_fields
    for name, value in wanted.items():
        if name in found and found[name] != value:
            raise _differs(path, f"has {name} {brief(found[name])}, the pages {brief(value)}")


# --- the database --------------------------------------------------------------------------------


def _database_verdict(root: Path, database: Database, slug: str, since: datetime) -> Verdict | None:
    """Compare the newest complete snapshot of a query that was merged with the database."""
    try:
        with database.reading() as connection:
            for found in _snapshots(root, slug, since):
                if found.is_stored and found.is_merged:
                    verdict = _merged_verdict(connection, found.files)
                    if verdict:
                        return verdict
    except NoDatabaseError:
        pass
    return None


def _merged_verdict(connection: Connection, files: SnapshotFiles) -> Verdict | None:
    """Compare a snapshot with the database; return None if it was not complete, or is not there."""
    rows = 0
    try:
        facts = read_description(files.datapackage, files.complaints, redo_command(files, "store")).snapshot
        known = connection.execute(
            select(merged_snapshots.c.content_hash, merged_snapshots.c.is_complete).filter_by(
                timestamp=files.timestamp, query=facts.query, row_limit=facts.limit
            )
        ).one_or_none()
        if known is None or not known.is_complete:
            return None
        _compare_hash(files, known.content_hash, facts.parsed_hash)
        seen = read_observations(files.parsed, facts.parsed_hash)
        while batch := list(islice(seen, BATCH)):
            _compare(connection, batch, files.timestamp)
            rows += len(batch)
        _compare_others(connection, parse_stored_query(facts.query), files.timestamp)
    except DamagedFileError:
        return None  # the verdict on the snapshot says so
    except _DifferenceError as error:
        return Verdict(files.timestamp, files.slug, "database", 0, brief(error, 500))
    return Verdict(files.timestamp, files.slug, "database", rows)


class _DifferenceError(EtlError):
    """The database does not hold what a snapshot saw."""


def _compare_hash(files: SnapshotFiles, merged: str, stored: str) -> None:
    if merged != stored:
        raise _DifferenceError(f"{files.parsed} is not what was merged; redo it --from merge")


def _compare(connection: Connection, batch: list[Observation], minute: datetime) -> None:
    known = load_complaints(connection, [one.complaint_id for one in batch])
    for one in batch:
        found = known.get(one.complaint_id)
        if found is None:
            raise _DifferenceError(f"the database lacks complaint {one.complaint_id}")
        if found.last_seen < minute or found.first_seen > minute:
            raise _DifferenceError(f"the database did not see complaint {one.complaint_id} in this snapshot")
        if found.withdrawn and found.withdrawn <= found.last_seen:
            raise _DifferenceError(f"the database holds complaint {one.complaint_id} as withdrawn")
        for at, (value, seen) in enumerate(zip(found.values, one.values, strict=True)):
            if seen is not UNSET and seen != value and not _has_changed(connection, found, at, seen, minute):
                field, has = FIELDS[at], brief(value, 80)
                raise _DifferenceError(
                    f"complaint {one.complaint_id}: {field} is {has} in the database, {brief(seen, 80)} here"
                )


def _compare_others(connection: Connection, query: Query, minute: datetime) -> None:
    """Check that a complaint the snapshot lacks is withdrawn, unverified, or was seen since."""
    if not inspect(connection).has_table(unverified.name):  # of version 1
        return
    unexplained = (
        condition(query),
        complaints.c.last_seen < minute,
        complaints.c.withdrawn.is_(None),
        complaints.c.complaint_id.not_in(select(unverified.c.complaint_id)),
    )
    first = connection.scalar(select(complaints.c.complaint_id).where(*unexplained).limit(1))
    if first is not None:
        raise _DifferenceError(
            f"the database holds complaint {first}, which is not in this snapshot, as neither withdrawn "
            "nor unverified"
        )


def _has_changed(
    connection: Connection, found: StoredComplaint, at: int, seen: ObservedValue, minute: datetime
) -> bool:
    """Return whether a later snapshot changed a field from the value that was seen."""
    assert not isinstance(seen, type(UNSET))  # noqa: S101  # for mypy: the caller saw to that
    line = connection.execute(
        select(history.c.old)
        .join(merged_snapshots, merged_snapshots.c.id == history.c.snapshot_id)
        .where(
            history.c.complaint_id == found.complaint_id,
            history.c.change == "changed",
            history.c.field == FIELDS[at],
            merged_snapshots.c.timestamp > minute,
        )
        .order_by(merged_snapshots.c.timestamp, history.c.id)
        .limit(1)
    ).one_or_none()
    return line is not None and line.old == as_text(seen)
