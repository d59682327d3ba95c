"""One snapshot: each step, repeated and compared."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from luigi_etl.api.query import parse_stored_query
from luigi_etl.common.errors import DamagedFileError, EtlError
from luigi_etl.common.terminal import brief
from luigi_etl.service.run_status import has_stored
from luigi_etl.service.verify.expected import ExpectedFile
from luigi_etl.service.verify.proof import PageProof
from luigi_etl.service.verify.verdict import LONGEST_DIFFERENCE, Verdict
from luigi_etl.snapshot.command_options import redo_command
from luigi_etl.snapshot.csv_format import csv_blocks
from luigi_etl.snapshot.datapackage import HASH_PREFIX, SnapshotSpec, snapshot_fields
from luigi_etl.snapshot.datapackage_reader import Description, read_description
from luigi_etl.snapshot.leftovers import is_young
from luigi_etl.snapshot.listing import FoundSnapshot
from luigi_etl.snapshot.page_file import read_pages
from luigi_etl.snapshot.parse import Summary, parse_into
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.store import format_csv, list_labels, read_columns

SUMMARY_FIELDS = {
    *("address", "last_indexed", "hits_total", "pages"),
    *("hits", "parsed", "rejected", "duplicates"),
}


def verify_snapshot(found: FoundSnapshot) -> Verdict | None:
    """Verify a snapshot; return None for a run that stored nothing."""
    files = found.files
    rows, difference = 0, ""
    try:
        if not found.is_stored:
            _check_unstored(found)
            return None
        rows = _verify_files(files)
    except EtlError as error:
        difference = brief(error, LONGEST_DIFFERENCE)
    except OSError as error:
        difference = brief(f"{error.filename} can't be read ({error.strerror})", LONGEST_DIFFERENCE)
    return Verdict(files.timestamp, files.slug, "snapshot", rows, difference)


def _check_unstored(found: FoundSnapshot) -> None:
    """Check that a snapshot without a Data Package never had one.

    Raises:
        DamagedFileError: the Data Package is missing.

    """
    files = found.files
    was_filled = files.complaints.exists() and not is_young(files.summary)
    if was_filled or has_stored(files.run):
        raise DamagedFileError(
            f"{files.datapackage} is missing; recreate it with `luigi-etl redo MINUTE --from store`"
        )


def _verify_files(files: SnapshotFiles) -> int:
    """Repeat each step of a snapshot and compare; return its rows.

    Raises:
        EtlError: a file differs from its task's result.
        OSError: a file can't be read.

    """
    description = read_description(files.datapackage, files.complaints, redo_command(files, "store"))
    facts = description.snapshot
    query = parse_stored_query(facts.query)
    if query.slug(facts.limit) != files.slug:
        raise DamagedFileError(f"{files.datapackage} has the query {facts.query!r} and limit {facts.limit}")
    spec = SnapshotSpec(query, facts.limit, files.timestamp)
    summary = _verify_pages(files, spec)
    _verify_summary(files.summary, summary)
    _verify_csv(files, description, summary)
    _verify_description(files.datapackage, description, snapshot_fields(summary, spec))
    return summary.parsed


def _verify_pages(files: SnapshotFiles, spec: SnapshotSpec) -> Summary:
    """Prove that the pages are complete, and parse them again; return the summary."""
    proof = PageProof(files.extracted, spec)
    with ExpectedFile(files.parsed) as parsed, ExpectedFile(files.rejected) as rejected:
        pages = proof.checked(read_pages(files.extracted))
        summary = parse_into(files.extracted, pages, parsed, rejected, spec.limit)
    proof.check_end()
    return summary


def _verify_summary(path: Path, summary: Summary) -> None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise DamagedFileError.of(path, error, "parse again") from error
    expected = msgspec.to_builtins(summary)
    if missing := SUMMARY_FIELDS - found.keys():
        raise DamagedFileError(f"{path} has no {min(missing)}")
    for name, value in found.items():  # an older version wrote fewer fields
        if name not in expected or value != expected[name]:
            raise _differs(path, brief(name), value, expected.get(name))


def _verify_csv(files: SnapshotFiles, description: Description, summary: Summary) -> None:
    columns = read_columns(files.document)
    with ExpectedFile(files.document) as document:
        for block in csv_blocks(list_labels(columns), []):
            document.write(block.lines)
    sha256 = hashlib.sha256()
    size = rows = 0
    with ExpectedFile(files.complaints) as csv:
        for block in format_csv(columns, files.parsed, sha256):
            csv.write(block.lines)
            size, rows = size + len(block.lines), rows + block.rows
    if rows != summary.parsed:
        raise DamagedFileError(f"{files.complaints} has {rows:,} rows, not {summary.parsed:,}")
    if HASH_PREFIX + sha256.hexdigest() != description.snapshot.parsed_hash:
        raise DamagedFileError(f"{files.parsed} has changed since it was stored (its hash differs)")
    resource = description.resource
    if (resource.path, resource.bytes, resource.rows) != (files.complaints.name, size, rows):
        raise DamagedFileError(f"{files.datapackage} has another path, size or row count than the CSV")


def _verify_description(path: Path, description: Description, expected: dict[str, Any]) -> None:
    found = description.snapshot_fields
    for name, value in expected.items():
        if name in found and found[name] != value:
            raise _differs(path, name, found[name], value)


def _differs(path: Path, name: str, found: object, expected: object) -> DamagedFileError:
    return DamagedFileError(f"{path} has {name} {brief(found)}, the pages have {brief(expected)}")
