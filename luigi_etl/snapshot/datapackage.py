"""The description of a snapshot's CSV: a Frictionless Data Package (specification v1)."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from luigi_etl.api.query import Query
from luigi_etl.common.files import atomic_write
from luigi_etl.common.minutes import as_iso
from luigi_etl.snapshot.columns import Column
from luigi_etl.snapshot.parse import Summary
from luigi_etl.snapshot.store import StoredFile

Descriptor = dict[str, Any]

_SOURCE = "CFPB Consumer Complaint Database, search API"
_SANDBOX = "Sandbox of luigi_etl, not the CFPB"
_LICENCE = {
    "name": "CC0-1.0",
    "path": "https://creativecommons.org/publicdomain/zero/1.0/",
    "title": "CC0 1.0 Universal",
}
HASH_PREFIX = "sha256:"  # before a hexadecimal digest


@dataclass(frozen=True)
class SnapshotSpec:
    """The query, limit (0 = all complaints) and minute (naive UTC) of a snapshot."""

    query: Query
    limit: int
    timestamp: datetime


def describe(target: Path, csv: Path, stored: StoredFile, summary: Summary, spec: SnapshotSpec) -> None:
    """Write the description of `csv` to `target`, in the same folder.

    The specification allows more keys: `snapshot` has the query, the API's metadata and the counts of hits,
    `hash` the hash of the description. Title, description and `snapshot.sandbox` mark data of the sandbox.
    """
    descriptor: Descriptor = {
        "profile": "tabular-data-package",
        "name": csv.name.removesuffix(".csv").lower(),
        **_titles(summary, spec),
        "licenses": [_LICENCE],
        "sources": [{"title": _SANDBOX if summary.sandbox else _SOURCE, "path": summary.address}],
        "snapshot": {**snapshot_fields(summary, spec), "parsed_hash": HASH_PREFIX + stored.parsed_sha256},
        "resources": [_resource(csv, stored)],
    }
    descriptor["hash"] = hash_of(descriptor)
    with atomic_write(target) as stream:
        stream.write(json.dumps(descriptor, ensure_ascii=False, indent=2).encode() + b"\n")


def hash_of(descriptor: Descriptor) -> str:
    """Return the hash of a description; spaces and order of its JSON do not matter."""
    text = json.dumps(descriptor, sort_keys=True)
    return HASH_PREFIX + hashlib.sha256(text.encode()).hexdigest()


def _titles(summary: Summary, spec: SnapshotSpec) -> Descriptor:
    complaints = f"the newest {spec.limit:,} complaints" if spec.limit else "every complaint"
    source = f"matching {spec.query}" if spec.query.pairs else "of the whole database"
    if summary.sandbox:
        return {
            "title": f"SANDBOX, not CFPB data: {summary.sandbox}",
            "description": f"For trials of luigi_etl only: {complaints} {source}.",
        }
    return {
        "title": "Consumer complaints, as published by the CFPB",
        "description": f"From the US Consumer Financial Protection Bureau's database: {complaints} {source}.",
    }


def snapshot_fields(summary: Summary, spec: SnapshotSpec) -> Descriptor:
    """Return the fields under `snapshot`: the query, the API's metadata and the counts of hits."""
    return {
        "timestamp": as_iso(spec.timestamp),
        "query": str(spec.query),
        "limit": spec.limit,
        "api": summary.address,
        "sandbox": summary.sandbox,
        "last_indexed": summary.last_indexed,
        "total_record_count": summary.total_record_count,
        "hits_total": summary.hits_total,
        "pages": summary.pages,
        "hits": summary.hits,
        "parsed": summary.parsed,
        "rejected": summary.rejected,
        "duplicates": summary.duplicates,
        "unknown_fields": summary.unknown_fields,
        "absent_fields": summary.absent_fields,
        "is_flagged": summary.is_flagged,
    }


def _resource(csv: Path, stored: StoredFile) -> Descriptor:
    return {
        "profile": "tabular-data-resource",
        "name": "complaints",
        "path": csv.name,
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "dialect": {
            "delimiter": ",",
            "quoteChar": '"',
            "doubleQuote": True,
            "lineTerminator": "\n",
            "header": True,
        },
        "bytes": stored.size,
        "hash": HASH_PREFIX + stored.sha256,
        "rows": stored.rows,
        "schema": _schema(stored.columns),
    }


def _schema(columns: tuple[Column, ...]) -> Descriptor:
    schema: Descriptor = {
        "fields": [
            {
                "name": column.label,
                "title": column.field,
                "type": column.type,
                "description": column.description,
            }
            for column in columns
        ],
        "missingValues": [""],
    }
    identifiers = [column.label for column in columns if column.field == "complaint_id"]
    if identifiers:
        schema["primaryKey"] = identifiers
    return schema
