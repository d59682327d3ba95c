"""Two daily files in the CFPB's layout of 15 columns, and the differences between them.

The values are those of the sandbox's complaints. Columns that depend on each other, such as a product and its
issue, keep their combinations.
"""

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile

from luigi_etl.sandbox.eras import ERAS, TODAY
from luigi_etl.sandbox.generate import NOW, Generator, Source
from luigi_etl.snapshot.columns import DEFAULT_COLUMNS

GONE = {"complaint_what_happened", "consumer_consent_provided", "consumer_disputed"}  # since August 2026
COLUMNS = tuple(column for column in DEFAULT_COLUMNS if column.field not in GONE)
FIELDS = tuple(column.field for column in COLUMNS)
LARGEST, CHANGED, REMOVED, NEW = 18_000_000, 50_000, 5_000, 20_000  # of the CFPB's file, and of a day
FIRST_ID, LAST_ID = 1_000_000, 24_999_999
DAYS = 5_400
MEAN_AGE = 600.0  # days: half of the complaints are from the last 14 months
BATCH = 10_000  # rows
SAMPLES = 50_000  # complaints whose values are combined
COMPANIES = [f"Sandbox Servicing No. {number}, LLC" for number in range(6500)]  # most are rare
GROUPS = (  # adjoining columns, combined independently of the others; dates and ids are separate
    ("product", "sub_product", "issue", "sub_issue"),
    ("company_public_response",),
    ("company",),
    ("state", "zip_code"),
    ("tags", "submitted_via"),
    ("company_response", "timely"),
)


class Numbers(NamedTuple):
    """The numbers of rows of the first file, and of the differences of the second one."""

    rows: int
    changed: int
    removed: int
    new: int

    @classmethod
    def of(cls, rows: int) -> "Numbers":
        """Return the numbers for a first file of `rows`, in proportion to the CFPB's."""
        return cls(rows, *(max(1, round(rows * each / LARGEST)) for each in (CHANGED, REMOVED, NEW)))

    @property
    def next_rows(self) -> int:
        """The number of rows of the second file."""
        return self.rows - self.removed + self.new


class Samples:
    """The cells of each group of columns, as CSV and as frequent as in the sandbox; and the days."""

    def __init__(self) -> None:
        sources = list(Generator(1, ERAS[TODAY], DAYS).complaints(SAMPLES))
        groups = {fields: [_format_cells(source, fields) for source in sources] for fields in GROUPS}
        groups["company",] = groups["company",] * 4 + [_format_line([name]) for name in COMPANIES]
        self.groups = list(groups.values())
        last = NOW.date()
        self.days = [str(last - timedelta(days=age)) for age in range(DAYS)]


class DailyRows:
    """The rows of both files; each batch is reproducible, so that neither file is kept in memory."""

    def __init__(self, numbers: Numbers, seed: int = 1) -> None:
        self.numbers = numbers
        self._seed = seed
        self._samples = Samples()
        random = Random(seed)  # noqa: S311
        self._ids = _draw_ids(random, numbers.rows + numbers.new)
        different = random.sample(range(numbers.rows), numbers.changed + numbers.removed)
        self._changed = frozenset(different[: numbers.changed])
        self._removed = frozenset(different[numbers.changed :])

    def first(self) -> Iterator[list[str]]:
        """Yield the rows of the first file in batches."""
        for start in range(0, self.numbers.rows, BATCH):
            yield [",".join(cells) for cells in self._batch(start, self.numbers.rows)]

    def second(self) -> Iterator[list[str]]:
        """Yield the rows of the second file in batches, in another order."""
        random = Random(self._seed + 1)  # noqa: S311
        starts = [*range(0, self.numbers.rows, BATCH), self.numbers.rows]
        random.shuffle(starts)
        for start in starts:
            is_new = start == self.numbers.rows
            rows = self._new_rows() if is_new else self._next_batch(start, random)
            random.shuffle(rows)
            yield rows

    def _new_rows(self) -> list[str]:
        start = self.numbers.rows
        return [",".join(cells) for cells in self._batch(start, start + self.numbers.new, days=3)]

    def _next_batch(self, start: int, random: Random) -> list[str]:
        rows = []
        for at, cells in enumerate(self._batch(start, self.numbers.rows), start):
            if at not in self._removed:
                rows.append(",".join(self._change(cells, random) if at in self._changed else cells))
        return rows

    def _change(self, cells: Sequence[str], random: Random) -> Sequence[str]:
        """Return a row with another response of its company."""
        *others, response, identifier = cells
        new = response
        while new == response:
            new = random.choice(self._samples.groups[-1])
        return [*others, new, identifier]

    def _batch(self, start: int, limit: int, days: int = DAYS) -> Iterable[tuple[str, ...]]:
        """Return the cells of the rows from `start` on, received in the last `days`."""
        end = limit if days < DAYS else min(start + BATCH, limit)
        random = Random(f"{self._seed} {start}")  # noqa: S311
        rows = range(end - start)
        ages = [int(random.expovariate(1 / MEAN_AGE)) % days for _ in rows]
        received = [self._samples.days[age] for age in ages]
        sent = [self._samples.days[max(0, age - int(random.expovariate(1)))] for age in ages]
        *head, responses = (random.choices(group, k=len(rows)) for group in self._samples.groups)
        identifiers = map(str, self._ids[start:end])
        return zip(received, *head, sent, responses, identifiers, strict=True)


def write_csv(path: Path, batches: Iterable[list[str]]) -> None:
    """Write batches of rows with the header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(_format_line([column.label for column in COLUMNS]) + "\n")
        for rows in batches:
            file.writelines(f"{row}\n" for row in rows)


def write_zip(path: Path, content: Path) -> None:
    """Write a zip file with one CSV, as the CFPB publishes it."""
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.write(content, "complaints.csv")


def last_days(number: int) -> list[date]:
    """Return the last days on which complaints were received, newest first."""
    return [NOW.date() - timedelta(days=age) for age in range(number)]


def _draw_ids(random: Random, number: int) -> "array[int]":
    """Return different ids in a random order, with 4 bytes each."""
    ids = array("I", range(FIRST_ID, LAST_ID + 1))
    size = len(ids)
    for at in range(number):  # the first steps of a Fisher-Yates shuffle
        other = at + int(random.random() * (size - at))
        ids[at], ids[other] = ids[other], ids[at]
    return ids[:number]


def _format_cells(source: Source, fields: Iterable[str]) -> str:
    return _format_line([source[field] or "" for field in fields])


def _format_line(cells: Sequence[str]) -> str:
    if list(cells) == [""]:
        return ""  # csv would quote it
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
