"""What a run leaves on record, beside the files of its snapshot: how it ended, and how long it took.

The Data Package holds what is true of the data whenever it was made; this holds what is true of the run.
"""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from luigi_etl.common.files import atomic_write, read_json

Outcome = Literal["stored", "merged", "synced", "failed", "skipped"]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the last run of a minute ended.

    `skipped`: another run of the query was under way. `seconds` is from the making of the task to the end,
    `ended` aware (UTC), `task` the one that failed or was asked for, `error` one line, if any. `counts` is
    what the run changed in the database (`new`, `changed`, `withdrawn`, `returned`), where it did.
    """

    outcome: Outcome
    task: str
    ended: datetime
    seconds: float
    error: str = ""
    counts: dict[str, int] | UnsetType = UNSET


def write_record(path: Path, record: RunRecord) -> None:
    """Put the record in the place of an older one.

    Raises:
        StorageError: it can't be written.

    """
    with atomic_write(path) as stream:
        stream.write(msgspec.json.encode(record) + b"\n")


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        DamagedFileError: the file is missing or no record.

    """
    return read_json(path, RunRecord)
