"""The rows of a complaint file, counted, without repeated ids; invalid rows are written to a file."""

from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from itertools import compress
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from msgspec import UNSET
from pyroaring import BitMap64

from luigi_etl.bulk.containers import open_content
from luigi_etl.bulk.content import ContentFacts, HashedStream
from luigi_etl.bulk.rows import Batch, Row, RowReader
from luigi_etl.common.errors import DamagedFileError, FileFormatError
from luigi_etl.common.progress import ProgressCallback
from luigi_etl.database.observations import Observation, ObservedValue
from luigi_etl.database.schema import DATES, FIELDS

_DIGEST_BYTES = 6  # SQLite stores such a number in six bytes


class FileProfile(msgspec.Struct):
    """The numbers of valid rows, of rejected ones, and of those whose id an earlier row has.

    `unknown_labels` are the columns that are no field of a complaint.
    """

    valid: int = 0
    rejected: int = 0
    repeated: int = 0
    unknown_labels: list[str] = []

    @property
    def total(self) -> int:
        """The number of all rows."""
        return self.valid + self.rejected + self.repeated


class FileBatch(NamedTuple):
    """Rows of a file with these fields, and their ids.

    `digests` has a number for each row, which differs if the row's text does, or None if a row of the batch
    is not one line.
    """

    fields: tuple[str, ...]
    ids: list[int]
    rows: list[Row]
    digests: list[int | None]

    def select(self, chosen: list[bool]) -> "FileBatch":
        """Return the batch with the chosen rows only."""
        return FileBatch(
            self.fields,
            list(compress(self.ids, chosen)),
            list(compress(self.rows, chosen)),
            list(compress(self.digests, chosen)),
        )

    def parts(self, size: int) -> Iterator["FileBatch"]:
        """Yield the batch in parts of at most `size` rows."""
        for start in range(0, len(self.ids), size):
            part = slice(start, start + size)
            yield FileBatch(self.fields, self.ids[part], self.rows[part], self.digests[part])


class FileRows:
    """The rows of a file; they can be read once.

    `ids` and `profile` are those of the rows read so far.
    """

    def __init__(
        self, path: Path, facts: ContentFacts, rejected: IO[bytes], report: ProgressCallback
    ) -> None:
        self.ids = BitMap64()
        self.profile = FileProfile()
        self._path = path
        self._facts = facts
        self._rejected = rejected
        self._report = report

    def batches(self) -> Iterator[FileBatch]:
        """Yield the valid rows, some thousand at a time; the first row of an id counts.

        Raises:
            FileFormatError: the whole file can't be used.
            DamagedFileError: the file changed after its facts were read.

        """
        try:
            with open_content(self._path) as content:
                stream = HashedStream(content.stream, lambda done: self._report(done, self._facts.size))
                reader = RowReader(stream, is_checked=content.is_checked)
                self.profile.unknown_labels = reader.unknown_labels
                for batch in reader.batches():
                    yield self._count(batch, reader.fields)
        except FileFormatError as error:
            raise FileFormatError(f"{self._path}: {error}") from None
        except OSError as error:
            raise DamagedFileError.of(self._path, error) from error
        if stream.content_hash != self._facts.content_hash:
            raise DamagedFileError(f"{self._path} changed during the import; import it again")

    def _count(self, batch: Batch, fields: tuple[str, ...]) -> FileBatch:
        for one in batch.rejected:
            self._rejected.write(msgspec.json.encode(one._asdict()) + b"\n")
        id_at = fields.index("complaint_id")
        ids = [int(str(row[id_at])) for row in batch.rows]
        counted = self._without_repeats(FileBatch(fields, ids, batch.rows, _digest(batch, fields)))
        self.profile.valid += len(counted.rows)
        self.profile.rejected += len(batch.rejected)
        self.profile.repeated += len(batch.rows) - len(counted.rows)
        return counted

    def _without_repeats(self, batch: FileBatch) -> FileBatch:
        new = BitMap64(batch.ids) - self.ids
        if len(new) < len(batch.ids):
            batch = batch.select([_remove(new, number) for number in batch.ids])
        self.ids |= BitMap64(batch.ids)
        return batch


def _remove(numbers: BitMap64, number: int) -> bool:
    """Remove a number from a set; return whether it was there."""
    is_there = number in numbers
    numbers.discard(number)
    return is_there


def _digest(batch: Batch, fields: tuple[str, ...]) -> list[int | None]:
    if not batch.lines:
        return [None] * len(batch.rows)
    salt = blake2b(repr(fields).encode(), digest_size=blake2b.SALT_SIZE).digest()
    return [
        int.from_bytes(blake2b(line, digest_size=_DIGEST_BYTES, salt=salt).digest(), "big")
        for line in batch.lines
    ]


class RowConverter:
    """Converts the rows of a file to observations."""

    def __init__(self) -> None:
        self._days: dict[str, date] = {}

    def convert(self, batch: FileBatch) -> list[Observation]:
        """Return the observations of a batch."""
        places = [batch.fields.index(field) if field in batch.fields else None for field in FIELDS]
        date_places = [at for at, field in enumerate(FIELDS) if field in DATES and places[at] is not None]
        return [
            Observation(str(number), self._values(row, places, date_places))
            for number, row in zip(batch.ids, batch.rows, strict=True)
        ]

    def _values(
        self, row: Row, places: list[int | None], date_places: list[int]
    ) -> tuple[ObservedValue, ...]:
        values: list[ObservedValue] = [UNSET if at is None else row[at] for at in places]
        for at in date_places:
            if isinstance(day := values[at], str):
                values[at] = self._day(day)
        return tuple(values)

    def _day(self, text: str) -> date:
        day = self._days.get(text)
        if day is None:
            day = self._days[text] = date.fromisoformat(text)
        return day
