"""Parsing writes complaints, rejected hits and a summary with correct counts."""

import contextlib
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luigi_etl.api.page import Page
from luigi_etl.common.errors import DamagedFileError, StorageError
from luigi_etl.snapshot.page_file import PageFile
from luigi_etl.snapshot.parse import Summary, parse, read_summary

pytestmark = pytest.mark.libraries

API = "https://example.org/api/v1/"


class Files(NamedTuple):
    """The files that parsing reads and writes."""

    pages: Path
    parsed: Path
    rejected: Path
    summary: Path

    def parse(self) -> Summary:
        return parse(*self, 0)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return files_in(tmp_path)


def files_in(folder: Path) -> Files:
    return Files(*(folder / name for name in ("pages.gz", "parsed.jsonl", "rejected.jsonl", "summary.json")))


def answer(*hits: Any, total: int | None = None, **meta: Any) -> bytes:
    """Return a page in the API's format; a hit may be bytes; `total` is the number of hits by default."""
    written = b",".join(hit if isinstance(hit, bytes) else json.dumps(hit).encode() for hit in hits)
    matching = len(hits) if total is None else total
    before = f'{{"_meta":{json.dumps(meta)},"hits":{{"total":{{"value":{matching}}},"hits":['
    return before.encode() + written + b"]}}"


def hit(identifier: Any, **source: Any) -> dict[str, Any]:
    return {"_id": str(identifier), "_source": {"complaint_id": identifier, **source}}


def write_pages(path: Path, *bodies: bytes) -> None:
    """Write a page file."""
    with PageFile(path).open_locked() as pages:
        for number, body in enumerate(bodies):
            pages.append(Page(f"{API}?state=CA&search_after={number}", body))
        pages.finish()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Make writes fail, as on a full disk, beyond `size` bytes of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# --- the three files ------------------------------------------------------------------------------


def test_complaints_are_written_as_lines_with_utc_days(files: Files) -> None:
    write_pages(
        files.pages,
        answer(hit(1, company="Söhne\n", date_received="2025-06-30T21:45:02-05:00")),
        answer(hit("2", state="CA")),
    )

    files.parse()

    assert (
        files.parsed.read_bytes()
        == (
            '{"complaint_id":"1","date_received":"2025-07-01","company":"Söhne\\n"}\n'
            '{"complaint_id":"2","state":"CA"}\n'
        ).encode()
    )


def test_missing_null_and_empty_values_stay_different(files: Files) -> None:
    write_pages(files.pages, answer(hit("1"), hit("2", tags=None), hit("3", tags="")))

    files.parse()

    assert files.parsed.read_bytes() == (
        b'{"complaint_id":"1"}\n{"complaint_id":"2","tags":null}\n{"complaint_id":"3","tags":""}\n'
    )


def test_rejected_hits_are_written_with_reason_and_path(files: Files) -> None:
    write_pages(files.pages, answer(hit("1"), b'{ "_source": {"complaint_id":"1","state":5} }', 7))

    files.parse()

    assert files.rejected.read_bytes() == (
        b'{"reason":"Expected `str | null`, got `int`","path":"$._source.state",'
        b'"hit":{ "_source": {"complaint_id":"1","state":5} }}\n'
        b'{"reason":"Expected `object`, got `int`","path":"$","hit":7}\n'
    )


def test_file_without_rejected_hits_is_empty(files: Files) -> None:
    write_pages(files.pages, answer(hit("1")))

    files.parse()

    assert files.rejected.read_bytes() == b""


def test_summary_has_counts_and_api_metadata(files: Files) -> None:
    write_pages(
        files.pages,
        answer(hit("1"), hit("2"), total=5, last_indexed="2026-09-25T12:00:00-05:00"),
        answer(hit("2"), hit("x"), total=4, last_indexed="2026-09-26T12:00:00-05:00", sandbox="a trial"),
    )

    summary = files.parse()

    assert summary == Summary(
        address=API,
        sandbox="a trial",
        last_indexed="2026-09-26T12:00:00-05:00",
        hits_total=4,
        pages=2,
        hits=4,
        parsed=2,
        rejected=1,
        duplicates=1,
        unknown_fields=[],
        absent_fields=summary.absent_fields,
    )


def test_real_complaints_have_no_sandbox(files: Files) -> None:
    write_pages(files.pages, answer(hit("1")))

    assert files.parse().sandbox is None


def test_summary_is_read_back_equal(files: Files) -> None:
    write_pages(files.pages, answer(hit("1", new=1), hit("x")))

    assert files.parse() == read_summary(files.summary)


def test_first_of_two_hits_with_one_id_counts(files: Files) -> None:
    write_pages(files.pages, answer(hit("1", state="CA"), hit(1, state="NY")), answer(hit("1", state="TX")))

    assert files.parse().duplicates == 2
    assert files.parsed.read_bytes() == b'{"complaint_id":"1","state":"CA"}\n'


def test_ids_are_numbers_of_at_most_18_digits(files: Files) -> None:
    write_pages(files.pages, answer(*map(hit, ("1", "0", "9" * 18, "01", "9" * 19))))

    summary = files.parse()

    assert (summary.parsed, summary.rejected) == (3, 2)


def test_unknown_fields_are_listed(files: Files) -> None:
    write_pages(files.pages, answer(hit("1", zebra=1)), answer(hit("2", ape=None, zebra={})))

    assert files.parse().unknown_fields == ["ape", "zebra"]


def test_fields_missing_in_all_complaints_are_listed(files: Files) -> None:
    names = "product issue sub_product sub_issue company state zip_code tags timely date_received"
    write_pages(files.pages, answer(hit("1", **dict.fromkeys(names.split())), hit("2", submitted_via="Web")))

    assert files.parse().absent_fields == [
        "company_public_response",
        "company_response",
        "complaint_what_happened",
        "consumer_consent_provided",
        "consumer_disputed",
        "date_sent_to_company",
        "has_narrative",
    ]


def test_no_field_is_absent_without_complaints(files: Files) -> None:
    write_pages(files.pages, answer(total=0))

    summary = files.parse()

    assert (summary.hits, summary.absent_fields) == (0, [])
    assert files.parsed.read_bytes() == files.rejected.read_bytes() == b""


def test_parsing_is_reproducible(files: Files) -> None:
    write_pages(files.pages, answer(hit("2"), hit("1", new=1), hit("x")))
    files.parse()
    before = [path.read_bytes() for path in files]

    files.parse()

    assert [path.read_bytes() for path in files] == before


# --- damaged files and failures -------------------------------------------------------------------

Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="cut at the last byte"),
        pytest.param(lambda data: data[: len(data) * 3 // 4], id="cut in a page"),
        pytest.param(lambda data: data[:5], id="cut in the header"),
        pytest.param(lambda data: data + b"\0", id="a byte too many"),
        pytest.param(lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:], id="a bit flipped"),
        pytest.param(lambda _: b'{"hits":{"total":0,"hits":[]}}\n', id="not gzip"),
        pytest.param(lambda _: b"", id="empty"),
    ],
)
def test_damaged_page_file_is_an_error_and_leaves_no_file(files: Files, damage: Damage) -> None:
    write_pages(files.pages, answer(hit("1")), answer(hit("2")))
    files.pages.write_bytes(damage(files.pages.read_bytes()))

    with pytest.raises(DamagedFileError, match=str(files.pages)):
        files.parse()

    assert list(files.pages.parent.iterdir()) == [files.pages]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error":"x"}', answer(hit("1"))[:-9]])
def test_page_that_is_not_a_response_is_damage(files: Files, body: bytes) -> None:
    write_pages(files.pages, answer(hit("1")), body)

    with pytest.raises(DamagedFileError, match=str(files.pages)):
        files.parse()

    assert list(files.pages.parent.iterdir()) == [files.pages]


def test_error_names_a_missing_page_file(files: Files) -> None:
    with pytest.raises(DamagedFileError, match=str(files.pages)):
        files.parse()

    assert list(files.pages.parent.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"hits":"5"}',
        b'{"address":"\xff"}',
    ],
)
def test_error_names_a_damaged_summary(files: Files, content: bytes) -> None:
    files.summary.write_bytes(content)

    with pytest.raises(DamagedFileError, match=str(files.summary)):
        read_summary(files.summary)


def test_error_names_a_missing_summary(files: Files) -> None:
    with pytest.raises(DamagedFileError, match=str(files.summary)):
        read_summary(files.summary)


LONG = {"complaint_what_happened": "x" * 2_000_000}


@pytest.mark.parametrize(
    "hits",
    [
        pytest.param([hit("1", **LONG)], id="during the pages"),
        pytest.param([hit(number, company="x" * 500) for number in range(100)], id="at the end"),
    ],
)
def test_failed_write_leaves_no_file(files: Files, hits: list[dict[str, Any]]) -> None:
    write_pages(files.pages, answer(*hits))

    with largest_file(10_000), pytest.raises(StorageError):
        files.parse()

    assert list(files.pages.parent.iterdir()) == [files.pages]


@pytest.mark.parametrize(
    "hits",
    [
        pytest.param([hit(number, company="x" * 500) for number in range(100)], id="at the end"),
        pytest.param([hit("1", **LONG)], id="during the pages"),
    ],
)
def test_error_names_the_file_of_a_failed_write(files: Files, hits: list[dict[str, Any]]) -> None:
    write_pages(files.pages, answer(*hits))

    with largest_file(10_000), pytest.raises(StorageError, match=str(files.parsed)):
        files.parse()


def test_error_names_a_folder_that_cannot_be_created(files: Files) -> None:
    write_pages(files.pages, answer(hit("1")))
    below_a_file = files_in(files.pages / "folder")

    with pytest.raises(StorageError, match=str(below_a_file.parsed.parent)):
        parse(files.pages, *below_a_file[1:], 0)


# --- generated hits -------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
good_hits = st.integers(1, 9).map(lambda number: hit(str(number), state="CA"))
odd_hits = st.builds(
    hit,
    st.sampled_from(["1", 1, "x", None, 2.5]),
    state=json_values,
    date_received=st.sampled_from(["2026-01-01", "2026-02-30", 5, None, ""]),
    company=st.sampled_from(["\ud800", "\udc00x", "\U0001f600", ""]),
)
pages = st.lists(st.lists(good_hits | odd_hits | json_values, max_size=8), min_size=1, max_size=3)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(pages)
def test_every_hit_is_parsed_rejected_or_a_duplicate(
    tmp_path_factory: pytest.TempPathFactory, pages: list[list[Any]]
) -> None:
    files = files_in(tmp_path_factory.mktemp("snapshot"))
    write_pages(files.pages, *[answer(*hits) for hits in pages])

    summary = files.parse()

    assert summary.hits == sum(map(len, pages))
    assert summary.parsed + summary.rejected + summary.duplicates == summary.hits
    assert summary.parsed == len(files.parsed.read_bytes().splitlines())
    assert summary.rejected == len([json.loads(line) for line in files.rejected.open("rb")])


@pytest.mark.parametrize("limit", [0, 3, 9])
def test_pages_with_too_few_hits_are_damaged(files: Files, limit: int) -> None:
    write_pages(files.pages, answer(hit("1"), hit("2"), total=5))

    with pytest.raises(DamagedFileError, match=rf"holds 2 of {min(limit or 5, 5)} complaints; delete it"):
        parse(*files, limit)

    assert [path.name for path in files.pages.parent.iterdir()] == ["pages.gz"]


def test_limit_reduces_the_number_of_expected_hits(files: Files) -> None:
    write_pages(files.pages, answer(hit("1"), hit("2"), total=5))

    assert parse(*files, 2).parsed == 2


def test_progress_is_reported_after_all_pages_but_the_last(files: Files) -> None:
    write_pages(files.pages, *[answer(hit(2 * page), hit(2 * page + 1), total=6) for page in range(3)])
    reported: list[tuple[int, int]] = []
    parse(*files, 0, lambda done, expected: reported.append((done, expected)))

    assert reported == [(2, 6), (4, 6)]
