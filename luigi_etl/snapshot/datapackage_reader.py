"""The description of a snapshot's CSV, read back and verified."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.files import read_json
from luigi_etl.snapshot.datapackage import HASH, Descriptor, hash_of

REDO = "luigi-etl redo MINUTE --from store"


class Facts(msgspec.Struct, frozen=True):
    """What `snapshot` says of the data: the numbers of the summary, and the hash of the parsed complaints.

    `limit` 0 is every complaint; `parsed_hash` is `sha256:` and the hexadecimal digest.
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


def read_facts(path: Path, csv: Path, command: str = REDO) -> Facts:
    """Read what a description says, after proving that it and `csv` are as they were written.

    `command` makes them again.

    Raises:
        DamagedFileError: one of them is missing, or was changed since.

    """
    return read_description(path, csv, command).snapshot


class Resource(msgspec.Struct, frozen=True):
    """What a description says of the CSV: its name, and its measures."""

    path: str
    bytes: int
    hash: str
    rows: int


class Description(NamedTuple):
    """A description: `snapshot` typed, and as it is there; the CSV's measures."""

    snapshot: Facts
    snapshot_fields: Descriptor
    resource: Resource


def read_description(path: Path, csv: Path, command: str) -> Description:
    """Read a description as `read_facts` does, with all it says of the snapshot and the CSV."""
    again = f"; make it again with `{command}`"
    try:
        descriptor = json.loads(path.read_bytes())
        described = descriptor.pop("hash", None)
        resource = msgspec.convert(descriptor["resources"][0], Resource)
        facts = msgspec.convert(descriptor["snapshot"], Facts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(f"{path} is damaged, or of an older version ({error}){again}") from error
    if described != hash_of(descriptor):
        raise DamagedFileError(f"{path} was changed since it was written (its hash differs){again}")
    if resource.hash != hash_of_file(csv):
        raise DamagedFileError(f"{csv} was changed since it was written (its hash differs){again}")
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
    return HASH + sha256.hexdigest()


_Count = Annotated[int, msgspec.Meta(ge=0)]


class SnapshotCounts(msgspec.Struct):
    """What a description says of its snapshot, as far as lists of runs need it."""

    parsed: _Count
    rejected: _Count
    query: str = ""
    limit: int = 0
    is_flagged: bool = False


class _Package(msgspec.Struct):
    snapshot: SnapshotCounts


def read_counts(path: Path) -> SnapshotCounts:
    """Read what a description says of its snapshot; nothing of it is verified.

    Raises:
        DamagedFileError: it is missing or damaged.

    """
    return read_json(path, _Package).snapshot
