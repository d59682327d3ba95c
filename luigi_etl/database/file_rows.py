"""The rows of a complaint file, counted, without repeated ids; invalid rows are written to a file."""

from collections.abc import Callable, Iterator
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
from luigi_etl.bulk.rows import Batch, FindKnown, Row, RowReader
from luigi_etl.common.errors import DamagedFileError, FileFormatError
from luigi_etl.common.progress import ProgressCallback
from luigi_etl.database.observations import Observation, ObservedValue
from luigi_etl.database.schema import DATES, FIELDS
from luigi_etl.snapshot.decoding import LONGEST_ID

_DIGEST_BYTES = 6  # SQLite stores such a number in six bytes
_CONVERSION = 1  # raise it when `bulk/columns.py` converts a cell to another value than before

# Gets the digests of rows by id; returns the ids whose digest is not on record.
FindDiffering = Callable[[dict[int, int]], set[int]]


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

    `digests` has a number for each row, which differs if its line or the header does, or None if a row of the
    batch is not one line.
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
        self._known = BitMap64()
        self._salt = b""
        self.profile = FileProfile()
        self._path = path
        self._facts = facts
        self._rejected = rejected
        self._report = report

    def batches(self, find_differing: FindDiffering | None = None) -> Iterator[FileBatch]:
        """Yield the valid rows, some thousand at a time; the first row of an id counts.

        With `find_differing`, rows that it does not return are only counted.

        Raises:
            FileFormatError: the whole file can't be used.
            DamagedFileError: the file changed after its facts were read.

        """
        try:
            with open_content(self._path) as content:
                stream = HashedStream(content.stream, lambda done: self._report(done, self._facts.size))
                reader = RowReader(stream, is_checked=content.is_checked)
                self.profile.unknown_labels = reader.unknown_labels
                self._salt = _hash_header(reader)
                known = self._known_lines(reader, find_differing) if find_differing else _none_known
                for batch in reader.batches(known):
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
        if batch.known:
            self.ids |= self._known
        id_at = fields.index("complaint_id")
        ids = [int(str(row[id_at])) for row in batch.rows]
        digests: list[int | None] = list(self._digest(batch.lines)) or [None] * len(ids)
        counted = self._without_repeats(FileBatch(fields, ids, batch.rows, digests))
        self.profile.valid += len(counted.rows) + batch.known
        self.profile.rejected += len(batch.rejected)
        self.profile.repeated += len(batch.rows) - len(counted.rows)
        return counted

    def _without_repeats(self, batch: FileBatch) -> FileBatch:
        new = BitMap64(batch.ids) - self.ids
        if len(new) < len(batch.ids):
            batch = batch.select([_remove(new, number) for number in batch.ids])
        self.ids |= BitMap64(batch.ids)
        return batch

    def _known_lines(self, reader: RowReader, find_differing: FindDiffering) -> FindKnown:
        """Return the function that finds lines with the digest on record; their last cell is the id."""
        if reader.fields[-1] != "complaint_id" or reader.unknown_labels:
            return _none_known

        def find_known(lines: list[bytes]) -> list[bool]:
            try:
                ids = [int(line[line.rfind(b",") + 1 :]) for line in lines]
                numbers = BitMap64(ids)
            except (ValueError, OverflowError):
                return []
            if numbers and len(str(numbers.max())) > LONGEST_ID:  # the database can't compare it
                return []
            if len(numbers) < len(ids) or numbers & self.ids:  # the first row of an id counts
                return []
            differing = find_differing(dict(zip(ids, self._digest(lines), strict=True)))
            self._known = numbers - BitMap64(differing)
            return [number not in differing for number in ids]

        return find_known

    def _digest(self, lines: list[bytes]) -> Iterator[int]:
        for line in lines:
            yield int.from_bytes(blake2b(line, digest_size=_DIGEST_BYTES, salt=self._salt).digest(), "big")


def _remove(numbers: BitMap64, number: int) -> bool:
    """Remove a number from a set; return whether it was there."""
    is_there = number in numbers
    numbers.discard(number)
    return is_there


def _hash_header(reader: RowReader) -> bytes:
    """Return a salt that differs if the same line would have other values."""
    read = f"{_CONVERSION} {reader.fields} {reader.header}"
    return blake2b(read.encode(), digest_size=blake2b.SALT_SIZE).digest()


def _none_known(_: list[bytes]) -> list[bool]:
    return []


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
