"""Reading of a Data Package: facts about a snapshot, verified by hashes."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.files import read_json
from luigi_etl.snapshot.datapackage import HASH_PREFIX, Descriptor, hash_of

_REDO = "luigi-etl redo MINUTE --from store"
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Facts(msgspec.Struct, frozen=True):
    """The facts under `snapshot`: query, limit, counts, and the hash of the parsed complaints.

    `limit` 0 means all complaints. `parsed_hash` is `sha256:` and a hexadecimal digest.
    """

    query: str
    limit: int
    sandbox: str | None
    parsed: int
    rejected: int
    hits_total: int
    last_indexed: str | None
    parsed_hash: str
    is_flagged: bool = False


class Resource(msgspec.Struct, frozen=True):
    """The CSV in a description: file name, size in bytes, hash and number of rows."""

    path: str
    bytes: int
    hash: str
    rows: int


class Description(NamedTuple):
    """A description: `snapshot` as typed facts and as plain JSON, and the CSV."""

    snapshot: Facts
    snapshot_fields: Descriptor
    resource: Resource


class SnapshotCounts(msgspec.Struct):
    """The facts of a snapshot that lists of runs need."""

    parsed: _Count
    rejected: _Count
    query: str = ""
    limit: int = 0
    is_flagged: bool = False


class _Package(msgspec.Struct):
    snapshot: SnapshotCounts


def read_facts(path: Path, csv: Path, command: str = _REDO) -> Facts:
    """Return the facts of a description; verify that it and `csv` are unchanged.

    Errors name `command` as the remedy.

    Raises:
        DamagedFileError: one of the files is missing, damaged or changed.

    """
    return read_description(path, csv, command).snapshot


def read_description(path: Path, csv: Path, command: str) -> Description:
    """Return a whole description, verified as in `read_facts`."""
    remedy = f"; make it again with `{command}`"
    try:
        descriptor = json.loads(path.read_bytes())
        expected_hash = descriptor.pop("hash", None)
        resource = msgspec.convert(descriptor["resources"][0], Resource)
        facts = msgspec.convert(descriptor["snapshot"], Facts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged, or of an older version ({error}){remedy}") from error
    if expected_hash != hash_of(descriptor):
        raise DamagedFileError(f"{path} was changed since it was written (its hash differs){remedy}")
    if resource.hash != hash_of_file(csv):
        raise DamagedFileError(f"{csv} was changed since it was written (its hash differs){remedy}")
    return Description(facts, descriptor["snapshot"], resource)


def hash_of_file(path: Path) -> str:
    """Return `sha256:` and the hexadecimal digest of a file.

    Raises:
        DamagedFileError: the file can't be read.

    """
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                sha256.update(chunk)
    except OSError as error:
        raise DamagedFileError(f"cannot read {path}: {error.strerror or error}") from error
    return HASH_PREFIX + sha256.hexdigest()


def read_counts(path: Path) -> SnapshotCounts:
    """Return the counts of a snapshot from its description, without verification.

    Raises:
        DamagedFileError: the description is missing or damaged.

    """
    return read_json(path, _Package).snapshot
