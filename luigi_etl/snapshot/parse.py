"""Parsing: pages become typed complaints, rejected hits and a summary."""

from collections.abc import Iterable, Sequence
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import UNSET

from luigi_etl.api.page import Page
from luigi_etl.api.response import SearchResponseOf, count_expected
from luigi_etl.common.errors import DamagedFileError, RefusedError, TransientError
from luigi_etl.common.files import atomic_writes, read_json
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.snapshot.columns import COLUMNS
from luigi_etl.snapshot.complaint import Complaint, Rejection
from luigi_etl.snapshot.decoding import DecodedPage, read_page
from luigi_etl.snapshot.ids import IdSet
from luigi_etl.snapshot.page_file import read_pages

_AT_ONCE = 250  # records encoded together: more would not fit into the processor's cache


class Summary(msgspec.Struct, kw_only=True):
    """The counts and metadata of a snapshot's pages; `hits` = `parsed` + `rejected` + `duplicates`.

    - `address`: the API's; `sandbox`: None for real complaints
    - `last_indexed`, `total_record_count`: the index's date and size, as the API gives them
    - `hits_total`: the number of matches, without the limit
    - `unknown_fields`: sent by the API, but not fields of `Complaint`
    - `absent_fields`: fields of `Complaint` that no complaint has
    - `is_flagged`: the CFPB flags its data (`is_data_stale`, `has_data_issue`) in at least one response
    """

    address: str = ""
    sandbox: str | None = None
    last_indexed: str | None = None
    total_record_count: int | None = None
    hits_total: int = 0
    pages: int = 0
    hits: int = 0
    parsed: int = 0
    rejected: int = 0
    duplicates: int = 0
    unknown_fields: list[str] = []
    absent_fields: list[str] = []
    is_flagged: bool = False


def read_summary(path: Path) -> Summary:
    """Read a summary that `parse` wrote.

    Raises:
        DamagedFileError: the file is missing or is not a summary.

    """
    return read_json(path, Summary, "parse again")


def parse(
    pages: Path,
    parsed: Path,
    rejected: Path,
    summary: Path,
    limit: int,
    report: ProgressCallback = ignore_progress,
) -> Summary:
    """Write the complaints of a page file to `parsed` and rejected hits to `rejected`, as JSON lines.

    If an id occurs twice, the first hit counts. The three files appear together, the summary last.
    `report` is called after each page except the last.

    Raises:
        DamagedFileError: the page file is damaged or has fewer hits than it should (the number of
            matches, or `limit` if that is smaller and not 0).
        StorageError: a file can't be written.

    """
    with atomic_writes(parsed, rejected, summary) as (parsed_file, rejected_file, summary_file):
        result = parse_into(pages, read_pages(pages), parsed_file, rejected_file, limit, report)
        summary_file.write(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return result


class Writer(Protocol):
    """A binary stream, or another object that accepts lines."""

    def write(self, lines: bytes, /) -> object:
        """Write lines."""


def parse_into(
    path: Path,
    pages: Iterable[Page],
    parsed: Writer,
    rejected: Writer,
    limit: int,
    report: ProgressCallback = ignore_progress,
) -> Summary:
    """Write the complaints of pages to `parsed` and rejected hits to `rejected`, like `parse`.

    `path` names the page file in errors. Only one page is in memory at a time.

    Raises:
        DamagedFileError: as for `parse`.

    """
    parser = _Parser(path, parsed, rejected)
    for _ in map(parser.parse_page, pages):  # unlike a loop variable, `map` does not keep the last page
        done, needed = parser.summary.hits, count_expected(parser.summary.hits_total, limit)
        if done < needed:
            report(done, needed)
    result = parser.finish()
    needed = count_expected(result.hits_total, limit)
    if result.hits < needed:
        raise DamagedFileError.of(path, f"holds {result.hits:,} of {needed:,} complaints", "fetch them again")
    return result


_identifier = attrgetter("complaint_id")


class _Parser:
    """Writer of complaints and rejected hits that also counts them."""

    def __init__(self, pages: Path, parsed: Writer, rejected: Writer) -> None:
        self.summary = Summary()
        self._pages = pages
        self._parsed = parsed
        self._rejected = rejected
        self._ids = IdSet()
        self._unknown: set[str] = set()
        self._absent = {column.field for column in COLUMNS}
        self._encoder = msgspec.json.Encoder()

    def parse_page(self, page: Page) -> None:
        """Parse a page.

        Raises:
            DamagedFileError: the page can't be read.

        """
        try:
            self._add(page.address, read_page(page.body))
        except (TransientError, RefusedError, RecursionError) as error:
            problem = f"holds a page that can't be read ({error})"
            raise DamagedFileError.of(self._pages, problem, "fetch again") from error

    def finish(self) -> Summary:
        """Return the summary of all pages."""
        self.summary.unknown_fields = sorted(self._unknown)
        self.summary.absent_fields = sorted(self._absent) if self.summary.parsed else []
        return self.summary

    def _add(self, address: str, decoded: DecodedPage) -> None:
        self._add_metadata(address, decoded.response)
        self._unknown |= decoded.unknown_fields
        complaints = [one for one in decoded.results if isinstance(one, Complaint)]
        new = list(compress(complaints, self._ids.add(map(_identifier, complaints))))
        rejections = [one for one in decoded.results if isinstance(one, Rejection)]
        self.summary.parsed += len(new)
        self.summary.duplicates += len(complaints) - len(new)
        self.summary.rejected += len(rejections)
        self._write(self._parsed, new)
        self._write(self._rejected, rejections)
        self._remove_from_absent(new)

    def _add_metadata(self, address: str, response: SearchResponseOf[Any]) -> None:
        summary = self.summary
        summary.address = urlunsplit(urlsplit(address)._replace(query=""))
        summary.sandbox = response.meta.sandbox
        summary.last_indexed = response.meta.last_indexed
        summary.total_record_count = response.meta.total_record_count
        summary.hits_total = response.total
        summary.is_flagged |= response.meta.is_flagged
        summary.pages += 1
        summary.hits += len(response.hits.hits)

    def _remove_from_absent(self, complaints: Sequence[Complaint]) -> None:
        for field in list(self._absent):
            values = list(map(attrgetter(field), complaints))
            if values.count(UNSET) < len(values):
                self._absent.remove(field)

    def _write(self, stream: Writer, records: Sequence[msgspec.Struct]) -> None:
        for start in range(0, len(records), _AT_ONCE):
            stream.write(self._encoder.encode_lines(records[start : start + _AT_ONCE]))
