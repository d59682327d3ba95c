"""The record of a run, beside the files of its snapshot: outcome and duration.

The Data Package describes the data and is reproducible; the record describes the run.
"""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from luigi_etl.common.files import atomic_write, read_json

Outcome = Literal["stored", "merged", "synced", "imported", "failed", "skipped"]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a minute's last run.

    - `outcome`: `skipped` means that another run of the query was in progress
    - `task`: the task that failed, or the requested one
    - `ended`: with time zone (UTC); `seconds`: from the creation of the task to its end
    - `error`: one line, or empty
    - `counts`: changes in the database (`new`, `changed`, `withdrawn`, `returned`), if the run merged
    """

    outcome: Outcome
    task: str
    ended: datetime
    seconds: float
    error: str = ""
    counts: dict[str, int] | UnsetType = UNSET


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record; replace an older one.

    Raises:
        StorageError: the record can't be written.

    """
    with atomic_write(path) as stream:
        stream.write(msgspec.json.encode(record) + b"\n")


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises:
        DamagedFileError: the file is missing or is not a record.

    """
    return read_json(path, RunRecord)
