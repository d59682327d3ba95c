"""From the file of pages to typed complaints, and what is not one."""

from collections.abc import Iterable, Sequence
from itertools import compress
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import UNSET

from luigi_etl.api.page import Page
from luigi_etl.api.response import SearchResponseOf, expected
from luigi_etl.common.errors import DamagedFileError, RefusedError, TransientError
from luigi_etl.common.files import atomic_writes, read_json
from luigi_etl.common.progress import ProgressCallback, ignore_progress
from luigi_etl.snapshot.columns import COLUMNS
from luigi_etl.snapshot.complaint import Complaint, Rejection
from luigi_etl.snapshot.decoding import DecodedPage, read_page
from luigi_etl.snapshot.ids import IdSet
from luigi_etl.snapshot.page_file import read_pages

_AT_ONCE = 250  # records that are encoded together: more would leave the processor's cache


class Summary(msgspec.Struct, kw_only=True):
    """What a snapshot's pages held. `hits` is `parsed` + `rejected` + `duplicates`, always.

    `address` is the API's, `hits_total` how many complaints matched (the limit aside), `last_indexed` the
    index's day as the API gives it, `total_record_count` how many complaints the index held, `sandbox` None
    for real complaints. `unknown_fields` are sent but not in our record, `absent_fields` in our record but
    sent with no complaint. `is_flagged`: the CFPB itself warned of its data (`is_data_stale`,
    `has_data_issue`) in at least one answer.
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
        DamagedFileError: the file is missing or not a summary.

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
    """Write the complaints of a page file to `parsed`, the other hits to `rejected`, one JSON a line.

    Of two hits with one id the first counts. The three files appear together, the summary last.
    `report` hears of each page that others follow.

    Raises:
        DamagedFileError: the page file is not what ExtractComplaints wrote, or holds fewer complaints
            than matched then (than `limit`, where that is less and not 0).
        StorageError: a file can't be written.

    """
    with atomic_writes(parsed, rejected, summary) as (parsed_file, rejected_file, summary_file):
        result = parse_into(pages, read_pages(pages), parsed_file, rejected_file, limit, report)
        summary_file.write(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return result


class Writer(Protocol):
    """Anything that lines can be written to."""

    def write(self, lines: bytes, /) -> object:
        """Write lines."""


def parse_into(  # the files and their contents
    path: Path,
    pages: Iterable[Page],
    parsed: Writer,
    rejected: Writer,
    limit: int,
    report: ProgressCallback = ignore_progress,
) -> Summary:
    """Write the complaints of the pages of `path` to `parsed`, the other hits to `rejected`, as `parse` does.

    No page is kept when the next is taken.

    Raises:
        DamagedFileError: as `parse` raises it.

    """
    parser = _Parser(path, parsed, rejected)
    for _ in map(parser.take, pages):
        done, needed = parser.summary.hits, expected(parser.summary.hits_total, limit)
        if done < needed:
            report(done, needed)
    result = parser.finished()
    needed = expected(result.hits_total, limit)
    if result.hits < needed:
        raise DamagedFileError.of(path, f"holds {result.hits:,} complaints of {needed:,}", "fetch them again")
    return result


_identifier = attrgetter("complaint_id")


class _Parser:
    """Writes hits where they belong and keeps count."""

    def __init__(self, pages: Path, parsed: Writer, rejected: Writer) -> None:
        self.summary = Summary()
        self._pages = pages
        self._parsed = parsed
        self._rejected = rejected
        self._ids = IdSet()
        self._unknown: set[str] = set()
        self._absent = {column.field for column in COLUMNS}
        self._encoder = msgspec.json.Encoder()

    def take(self, page: Page) -> None:
        """Parse a page.

        Raises:
            DamagedFileError: the page can't be read.

        """
        try:
            self._take(page.address, read_page(page.body))
        except (TransientError, RefusedError, RecursionError) as error:
            problem = f"holds a page that can't be read ({error})"
            raise DamagedFileError.of(self._pages, problem, "fetch again") from error

    def finished(self) -> Summary:
        """Return the summary of all pages."""
        self.summary.unknown_fields = sorted(self._unknown)
        self.summary.absent_fields = sorted(self._absent) if self.summary.parsed else []
        return self.summary

    def _take(self, address: str, decoded: DecodedPage) -> None:
        self._take_answer(address, decoded.answer)
        self._unknown |= decoded.unknown_fields
        complaints = [one for one in decoded.results if isinstance(one, Complaint)]
        new = list(compress(complaints, self._ids.add(map(_identifier, complaints))))
        rejections = [one for one in decoded.results if isinstance(one, Rejection)]
        self.summary.parsed += len(new)
        self.summary.duplicates += len(complaints) - len(new)
        self.summary.rejected += len(rejections)
        self._write(self._parsed, new)
        self._write(self._rejected, rejections)
        self._note_fields(new)

    def _take_answer(self, address: str, answer: SearchResponseOf[Any]) -> None:
        summary = self.summary
        summary.address = urlunsplit(urlsplit(address)._replace(query=""))
        summary.sandbox = answer.meta.sandbox
        summary.last_indexed = answer.meta.last_indexed
        summary.total_record_count = answer.meta.total_record_count
        summary.hits_total = answer.total
        summary.is_flagged |= answer.meta.is_flagged
        summary.pages += 1
        summary.hits += len(answer.hits.hits)

    def _note_fields(self, complaints: Sequence[Complaint]) -> None:
        for field in list(self._absent):
            values = list(map(attrgetter(field), complaints))
            if values.count(UNSET) < len(values):
                self._absent.remove(field)

    def _write(self, stream: Writer, records: Sequence[msgspec.Struct]) -> None:
        for start in range(0, len(records), _AT_ONCE):
            stream.write(self._encoder.encode_lines(records[start : start + _AT_ONCE]))
