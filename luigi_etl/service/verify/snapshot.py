"""One snapshot: each step, repeated and compared."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from luigi_etl.api.query import parse_stored_query
from luigi_etl.common.errors import DamagedFileError, EtlError
from luigi_etl.common.terminal import brief
from luigi_etl.service.run_history import has_stored
from luigi_etl.service.verify.expected import Expected, differs
from luigi_etl.service.verify.proof import Proof
from luigi_etl.service.verify.verdict import Verdict
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.csv_format import csv_blocks
from luigi_etl.snapshot.datapackage import HASH, SnapshotSpec, snapshot_fields
from luigi_etl.snapshot.datapackage_reader import Description, read_description
from luigi_etl.snapshot.leftovers import is_young
from luigi_etl.snapshot.listing import FoundSnapshot
from luigi_etl.snapshot.page_file import read_pages
from luigi_etl.snapshot.parse import Summary, parse_into
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.store import filled, labels, read_columns

NUMBERS = {"address", "last_indexed", "hits_total", "pages", "hits", "parsed", "rejected", "duplicates"}


def verify_snapshot(found: FoundSnapshot) -> Verdict | None:
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
        raise differs(files.datapackage, f"is of query {facts.query!r} and limit {facts.limit}")
    asked = SnapshotSpec(query, facts.limit, files.timestamp)
    summary = _verify_pages(files, asked)
    _verify_summary(files.summary, summary)
    _verify_csv(files, description, summary)
    _verify_description(files.datapackage, description, snapshot_fields(summary, asked))
    return summary.parsed


def _verify_pages(files: SnapshotFiles, asked: SnapshotSpec) -> Summary:
    """Prove the walk again, and parse its pages again; return the summary."""
    proof = Proof(files.extracted, asked)
    with Expected(files.parsed) as parsed, Expected(files.rejected) as rejected:
        pages = proof.passing(read_pages(files.extracted))
        summary = parse_into(files.extracted, pages, parsed, rejected, asked.limit)
    proof.check()
    return summary


def _verify_summary(path: Path, summary: Summary) -> None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, "parse again") from error
    wanted = msgspec.to_builtins(summary)
    if missing := NUMBERS - found.keys():
        raise differs(path, f"lacks {min(missing)}")
    for name, value in found.items():  # of an older version some may not be there
        if name not in wanted or value != wanted[name]:
            raise differs(path, f"has {brief(name)} {brief(value)}, the pages {brief(wanted.get(name))}")


def _verify_csv(files: SnapshotFiles, description: Description, summary: Summary) -> None:
    columns = read_columns(files.document)
    with Expected(files.document) as document:
        for block in csv_blocks(labels(columns), []):
            document.write(block.lines)
    sha256 = hashlib.sha256()
    size = rows = 0
    with Expected(files.complaints) as csv:
        for block in filled(columns, files.parsed, sha256):
            csv.write(block.lines)
            size, rows = size + len(block.lines), rows + block.rows
    if rows != summary.parsed:
        raise differs(files.complaints, f"holds {rows:,} rows of {summary.parsed:,}")
    if HASH + sha256.hexdigest() != description.snapshot.parsed_hash:
        raise differs(files.parsed, "was changed since it was stored (its hash differs)")
    resource = description.resource
    if (resource.path, resource.bytes, resource.rows) != (files.complaints.name, size, rows):
        raise differs(files.datapackage, "has other numbers than the CSV")


def _verify_description(path: Path, description: Description, wanted: dict[str, Any]) -> None:
    found = description.snapshot_fields
    for name, value in wanted.items():
        if name in found and found[name] != value:
            raise differs(path, f"has {name} {brief(found[name])}, the pages {brief(value)}")
