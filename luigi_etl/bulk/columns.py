"""The columns of complaint files of every era, and the forms of their values."""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timezone
from typing import NamedTuple

import msgspec

from luigi_etl.common.errors import FileFormatError
from luigi_etl.common.terminal import brief
from luigi_etl.snapshot.columns import COLUMNS
from luigi_etl.snapshot.decoding import LONGEST_ID, find_fault_of_id

Value = str | bool | None
Column = Sequence[Value]
Convert = Callable[[Sequence[str]], Column]


def _letters(label: str) -> str:
    return re.sub(r"[^a-z]", "", label.lower())


_FIELD_OF = (
    {_letters(column.label): column.field for column in COLUMNS}
    | {_letters(column.field): column.field for column in COLUMNS}
    | {"companyresponse": "company_response", "timelyresponse": "timely"}  # 2012 to 2015; BigQuery
)
_DAYS = frozenset(column.field for column in COLUMNS if column.type == "date")
_YES_OR_NO = {"true": "Yes", "false": "No"}  # BigQuery
_FLAGS = {"true": True, "false": False, "": None}
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?([eE]\+?\d+)?", re.ASCII)


class CellError(ValueError):
    """A cell that is not a value of its column."""


class Header(NamedTuple):
    """The columns of a file: the field of each, None for a label that no era has."""

    fields: tuple[str | None, ...]
    unknown_labels: list[str]


def read_header(labels: list[str]) -> Header:
    """Return the columns that a file's first row names, in their order.

    Raises:
        FileFormatError: there is no column of ids, or two columns are the same field.

    """
    fields = tuple(_FIELD_OF.get(_letters(label)) for label in labels)
    if "complaint_id" not in fields:
        raise FileFormatError(f"no column `Complaint ID`; its first row is {brief(','.join(labels))!r}")
    known = [field for field in fields if field]
    repeated = [field for field in dict.fromkeys(known) if known.count(field) > 1]
    if repeated:
        raise FileFormatError(f"two columns are {repeated[0]}; remove one")
    unknown = [label for label, field in zip(labels, fields, strict=True) if field is None]
    return Header(fields, unknown)


class Converters:
    """The conversion of each column's cells to values, and signs that a spreadsheet changed them.

    `null` is the text that stands for no value beside the empty cell, if any. `has_leading_zero` is true once
    a ZIP code had one.
    """

    def __init__(self, null: str | None) -> None:
        self._empty = {"", null}
        self._days = _Days()
        self._short_zip_code = ""
        self.has_leading_zero = False

    def find(self, field: str) -> Convert:
        """Return the conversion of a field's cells; it raises `CellError` or `FileFormatError`."""
        if field in _DAYS:
            return lambda cells: [self._days[cell] for cell in cells]
        special = {
            "complaint_id": _check_ids,
            "zip_code": self._convert_zip_codes,
            "timely": self._convert_answers,
            "consumer_disputed": self._convert_answers,
            "has_narrative": _convert_flags,
        }
        return special.get(field, self._convert_texts)

    def check_zip_codes(self) -> None:
        """Check the ZIP codes of the whole file.

        Raises:
            FileFormatError: a spreadsheet removed their leading zeros.

        """
        if self._short_zip_code and not self.has_leading_zero:
            raise _spreadsheet("ZIP code", self._short_zip_code)

    def _convert_texts(self, cells: Sequence[str]) -> Column:
        empty = self._empty
        return [None if cell in empty else cell for cell in cells]

    def _convert_answers(self, cells: Sequence[str]) -> Column:
        return self._convert_texts([_YES_OR_NO.get(cell, cell) for cell in cells])

    def _convert_zip_codes(self, cells: Sequence[str]) -> Column:
        for cell in set(cells):
            if cell.startswith("0"):
                self.has_leading_zero = True
            elif (len(cell) == 4 or len(cell) > 5) and _NUMBER.fullmatch(cell):
                self._short_zip_code = cell
        return self._convert_texts(cells)


class _Days(dict[str, str | None]):
    """Days by their text in a file, as `YYYY-MM-DD`; a file has a few thousand."""

    def __missing__(self, text: str) -> str | None:
        if len(self) > 100_000:  # instants differ from row to row
            self.clear()
        day = self[text] = _read_day(text)
        return day


def _read_day(text: str) -> str | None:
    """Return the UTC day of a cell: an ISO date or instant, `MM/DD/YYYY` or `MM/DD/YY`."""
    if text in {"", "None"}:
        return None
    try:
        if found := _SLASHED.fullmatch(text):
            return _read_slashed_day(*map(int, found.groups())).isoformat()
        if len(text) == 10:
            return msgspec.convert(text, date).isoformat()
        instant = msgspec.convert(text, datetime)
        in_utc = instant if instant.tzinfo is None else instant.astimezone(timezone.utc)
        return in_utc.date().isoformat()
    except (ValueError, OverflowError):
        raise CellError(f"not a date: {brief(text, 40)!r}") from None


def _read_slashed_day(month: int, day: int, year: int) -> date:
    if day <= 12 < month:
        raise FileFormatError(f"the date {month}/{day}/{year} has the day first; write dates as YYYY-MM-DD")
    return date(year + 2000 if year < 100 else year, month, day)


def _check_ids(cells: Sequence[str]) -> Column:
    text = "".join(cells)
    is_odd = "" in cells or max(map(len, cells)) > LONGEST_ID or any(cell[0] == "0" < cell for cell in cells)
    if is_odd or not (text.isascii() and text.isdecimal()):
        for cell in cells:
            if _NUMBER.fullmatch(cell) and not cell.isdecimal():
                raise _spreadsheet("Complaint ID", cell)
            if fault := find_fault_of_id(cell):
                raise CellError(fault)
    return cells


def _convert_flags(cells: Sequence[str]) -> Column:
    try:
        return [_FLAGS[cell.lower()] for cell in cells]
    except KeyError as error:
        raise CellError(f"neither true nor false: {brief(error.args[0], 40)!r}") from None


def _spreadsheet(label: str, cell: str) -> FileFormatError:
    return FileFormatError(
        f"column {label!r}: a spreadsheet changed its values ({brief(cell, 40)}); use the original file"
    )
