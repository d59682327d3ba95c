"""The CSV reads back equal, and the newest one is linked as `latest`."""

import csv
import hashlib
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luigi_etl.common.errors import DamagedFileError, SettingError, StorageError
from luigi_etl.snapshot.parse import parse
from luigi_etl.snapshot.store import StoredFile, create_document, publish, store
from tests.snapshot.test_parse import answer, hit, largest_file, write_pages

pytestmark = pytest.mark.libraries

MINUTE = datetime(2026, 11, 22, 9, 26)
HEADER = (
    "Date received,Product,Sub-product,Issue,Sub-issue,Consumer complaint narrative,Company public response,"
    "Company,State,ZIP code,Tags,Consumer consent provided?,Submitted via,Date sent to company,"
    "Company response to consumer,Timely response?,Consumer disputed?,Complaint ID\n"
)


class Files(NamedTuple):
    """The files that storing reads and writes."""

    document: Path
    parsed: Path
    csv: Path

    def store(self, columns: str, *complaints: dict[str, Any], modified: datetime = MINUTE) -> StoredFile:
        create_document(self.document, columns)
        self.parsed.write_text("".join(f"{json.dumps(complaint)}\n" for complaint in complaints))
        return store(self.document, self.parsed, self.csv, len(complaints), modified)

    def read(self) -> list[list[str]]:
        return read_csv(self.csv)


def files_in(folder: Path) -> Files:
    return Files(folder / "document.csv", folder / "parsed.jsonl", folder / "complaints.csv")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return files_in(tmp_path)


def read_csv(path: Path) -> list[list[str]]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.reader(stream, strict=True))
    finally:
        csv.field_size_limit(limit)


# --- the document ---------------------------------------------------------------------------------


def test_document_is_the_header_of_the_cfpb(tmp_path: Path) -> None:
    create_document(tmp_path / "new" / "document.csv", "")

    assert (tmp_path / "new" / "document.csv").read_bytes() == HEADER.encode()


def test_columns_of_a_document_can_be_chosen(tmp_path: Path) -> None:
    create_document(tmp_path / "document.csv", "complaint_id, has_narrative,state")

    assert (tmp_path / "document.csv").read_bytes() == b"Complaint ID,Has narrative?,State\n"


def test_document_with_unknown_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="did you mean 'state'"):
        create_document(tmp_path / "document.csv", "stat")

    assert list(tmp_path.iterdir()) == []


# --- the CSV --------------------------------------------------------------------------------------


def test_complaint_becomes_a_row_in_the_chosen_columns(files: Files) -> None:
    files.store(
        "state,complaint_id", {"complaint_id": "2", "state": "CA"}, {"state": "NY", "complaint_id": "1"}
    )

    assert files.csv.read_bytes() == b"State,Complaint ID\nCA,2\nNY,1\n"


def test_without_complaints_only_the_header_is_stored(files: Files) -> None:
    assert files.store("").rows == 0
    assert files.csv.read_bytes() == HEADER.encode()


def test_missing_null_and_empty_are_empty_cells(files: Files) -> None:
    files.store("complaint_id,tags", {"complaint_id": "1"}, {"complaint_id": "2", "tags": None}, {"tags": ""})

    assert files.csv.read_bytes() == b"Complaint ID,Tags\n1,\n2,\n,\n"


def test_empty_row_of_one_column_is_not_a_blank_line(files: Files) -> None:
    files.store("tags", {"tags": None}, {"tags": "Servicemember"})

    assert files.read() == [["Tags"], [""], ["Servicemember"]]


def test_boolean_is_written_as_true_or_false(files: Files) -> None:
    files.store("has_narrative,tags", {"has_narrative": True}, {"has_narrative": False}, {})

    assert files.csv.read_bytes() == b"Has narrative?,Tags\ntrue,\nfalse,\n,\n"


@pytest.mark.parametrize(
    "text",
    [
        'He said "no", twice',
        "two\nlines",
        "a carriage return\ralone",
        "\r",
        "\n",
        "both\r\n",
        "\xa0 leading NBSP, trailing space ",
        "\U0001f600 \u2028 \x85 é",
        "=1+1",
        "@SUM(A1)",
        "-1",
        "+1",
        "'",
        '"',
        "None",
        "0123",
        "x" * 1_000_000,
        'x"\n' * 1_000_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_text_is_stored_exactly(files: Files, text: str) -> None:
    files.store("complaint_what_happened,state", {"complaint_what_happened": text, "state": "CA"})

    assert files.read() == [["Consumer complaint narrative", "State"], [text, "CA"]]


def test_line_ends_inside_a_text_are_kept(files: Files) -> None:
    files.store("company,state", {"company": "a\r\nb\rc\nd", "state": "CA"})

    assert files.csv.read_bytes() == b'Company,State\n"a\r\nb\rc\nd",CA\n'


def test_result_has_columns_rows_size_and_hash_of_the_csv(files: Files) -> None:
    stored = files.store(
        "complaint_id,company", {"complaint_id": "1", "company": "é\n"}, {"complaint_id": "2"}
    )

    content = files.csv.read_bytes()
    assert [column.field for column in stored.columns] == ["complaint_id", "company"]
    assert (stored.rows, stored.size) == (2, len(content))
    assert stored.sha256 == hashlib.sha256(content).hexdigest()


def test_modification_time_is_the_minute_of_the_snapshot(files: Files) -> None:
    files.store("", modified=MINUTE)

    assert files.csv.stat().st_mtime == datetime(2026, 11, 22, 9, 26, tzinfo=timezone.utc).timestamp()


def test_storing_is_reproducible(files: Files) -> None:
    assert files.store("", {"complaint_id": "1"}) == files.store("", {"complaint_id": "1"})


# --- damaged files and failures -------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Date received,State,Colour\n",
        b"State,Comp",
        b"\xff\xfe\n",
        pytest.param(b"\n"),
        pytest.param(b"State,State\n"),
    ],
)
def test_damaged_document_is_an_error_and_leaves_no_csv(files: Files, content: bytes) -> None:
    files.store("", {"complaint_id": "1"})
    files.csv.unlink()
    files.document.write_bytes(content)

    with pytest.raises(DamagedFileError, match=str(files.document)):
        store(files.document, files.parsed, files.csv, 1, MINUTE)

    assert sorted(files.csv.parent.iterdir()) == [files.document, files.parsed]


@pytest.mark.parametrize(
    "content",
    [
        b'{"complaint_id":"1"}\n{"complai',
        b'{"complaint_id":"1"}\n\n',
        b"[]\n",
        b'{"complaint_id":1}\n',
        b'{"company":"\xff"}\n',
        b'{"company":"\\ud800"}\n',
    ],
)
def test_damaged_parsed_file_is_an_error_and_leaves_no_csv(files: Files, content: bytes) -> None:
    create_document(files.document, "")
    files.parsed.write_bytes(content)

    with pytest.raises(DamagedFileError, match=str(files.parsed)):
        store(files.document, files.parsed, files.csv, 1, MINUTE)

    assert sorted(files.csv.parent.iterdir()) == [files.document, files.parsed]


@pytest.mark.parametrize("missing", ["document", "parsed"])
def test_error_names_a_missing_file(files: Files, missing: str) -> None:
    files.store("")
    path: Path = getattr(files, missing)
    path.unlink()

    with pytest.raises(DamagedFileError, match=str(path)):
        store(files.document, files.parsed, files.csv, 1, MINUTE)


@pytest.mark.parametrize("length", [20_000, 3_000_000])
def test_failed_write_keeps_the_existing_csv(files: Files, length: int) -> None:
    files.store("company", {"company": "before"})
    before = files.csv.read_bytes()
    files.parsed.write_text(json.dumps({"company": "x" * length}))

    with largest_file(10_000), pytest.raises(StorageError, match=str(files.csv)):
        store(files.document, files.parsed, files.csv, 1, MINUTE)

    assert files.csv.read_bytes() == before
    assert sorted(files.csv.parent.iterdir()) == sorted(files)


# --- the newest CSV -------------------------------------------------------------------------------


def snapshot(folder: Path, minute: int, company: str) -> Path:
    """Store a snapshot for a minute; return its CSV."""
    folder = folder / f"{minute}"
    folder.mkdir(parents=True)
    files_in(folder).store("company", {"company": company}, modified=MINUTE.replace(minute=minute))
    return folder / "complaints.csv"


def test_first_snapshot_becomes_the_latest(tmp_path: Path) -> None:
    latest = tmp_path / "latest" / "all.csv"

    assert publish(snapshot(tmp_path, 1, "first"), latest)

    assert read_csv(latest) == [["Company"], ["first"]]


@pytest.mark.parametrize(("minute", "company"), [(3, "newer"), (2, "same minute")])
def test_snapshot_that_is_not_older_replaces_the_latest(tmp_path: Path, minute: int, company: str) -> None:
    latest = tmp_path / "latest.csv"
    publish(snapshot(tmp_path / "a", 2, "old"), latest)

    assert publish(snapshot(tmp_path / "b", minute, company), latest)

    assert read_csv(latest) == [["Company"], [company]]
    assert latest.stat().st_mtime == MINUTE.replace(minute=minute, tzinfo=timezone.utc).timestamp()


def test_older_snapshot_never_replaces_the_latest(tmp_path: Path) -> None:
    latest = tmp_path / "latest.csv"
    publish(snapshot(tmp_path, 2, "newest"), latest)

    assert not publish(snapshot(tmp_path, 1, "older"), latest)

    assert read_csv(latest) == [["Company"], ["newest"]]


def test_reader_of_a_replaced_file_reads_the_whole_old_file(tmp_path: Path) -> None:
    latest = tmp_path / "latest.csv"
    publish(snapshot(tmp_path, 1, "first"), latest)

    with latest.open("rb") as reader:
        publish(snapshot(tmp_path, 2, "second"), latest)

        assert reader.read() == b"Company\nfirst\n"


def test_latest_changes_only_when_a_snapshot_is_published(tmp_path: Path) -> None:
    latest = tmp_path / "latest.csv"
    stored = snapshot(tmp_path, 1, "first")
    publish(stored, latest)

    files_in(stored.parent).store("company", {"company": "redone"})

    assert read_csv(latest) == [["Company"], ["first"]]


def test_leftover_link_does_not_hinder_publishing(tmp_path: Path) -> None:
    latest = tmp_path / "latest.csv"
    earlier = snapshot(tmp_path, 1, "earlier")
    latest.with_name(".latest.csv.tmp").hardlink_to(earlier)

    assert publish(snapshot(tmp_path, 2, "newest"), latest)

    assert read_csv(latest) == [["Company"], ["newest"]]
    assert read_csv(earlier) == [["Company"], ["earlier"]]


def test_repeated_publishing_leaves_no_other_file(tmp_path: Path) -> None:
    latest = tmp_path / "latest" / "all.csv"
    stored = snapshot(tmp_path, 1, "first")
    publish(stored, latest)
    before = sorted(latest.parent.iterdir())

    publish(stored, latest)

    assert sorted(latest.parent.iterdir()) == before


def test_file_system_without_hard_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    latest = tmp_path / "latest.csv"
    publish(snapshot(tmp_path, 1, "first"), latest)

    assert publish(snapshot(tmp_path, 3, "third"), latest)
    assert not publish(snapshot(tmp_path, 2, "second"), latest)

    assert read_csv(latest) == [["Company"], ["third"]]
    assert latest.stat().st_nlink == 1


def test_error_names_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    stored = snapshot(tmp_path, 1, "first")
    latest = stored / "latest.csv"

    with pytest.raises(StorageError, match=str(latest)):
        publish(stored, latest)


# --- generated complaints -------------------------------------------------------------------------

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
hostile = st.text('",\r\n=@+-; \t\xa0\ufeff\U0001f600ab', max_size=8)
complaints = st.lists(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("company", "complaint_what_happened", "zip_code"), texts | hostile)
    ),
    max_size=5,
)
COLUMNS = ("company", "zip_code", "complaint_what_happened", "complaint_id")


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(complaints, st.booleans())
@example([{"company": "\r"}, {"company": "\n", "zip_code": '"'}, {"company": "\ufeff"}], True)
def test_any_texts_of_a_page_are_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, complaints: list[dict[str, str | None]], as_ascii: bool
) -> None:
    files = files_in(tmp_path_factory.mktemp("snapshot"))
    hits = [hit(str(number), **fields) for number, fields in enumerate(complaints)]
    written = [json.dumps(one, ensure_ascii=as_ascii).encode() for one in hits]
    pages = files.csv.with_name("pages.gz")
    write_pages(pages, *[answer(*written[start : start + 2]) for start in range(0, len(hits) + 1, 2)])

    parse(pages, files.parsed, files.csv.with_name("rejected.jsonl"), files.csv.with_name("summary.json"), 0)
    create_document(files.document, ",".join(COLUMNS))
    stored = store(files.document, files.parsed, files.csv, len(complaints), MINUTE)

    assert stored.rows == len(complaints)
    assert files.read()[1:] == [[hit["_source"].get(name) or "" for name in COLUMNS] for hit in hits]


def test_too_few_parsed_complaints_are_damage(files: Files) -> None:
    files.store("", {"complaint_id": "1"})
    files.csv.unlink()

    with pytest.raises(DamagedFileError, match=r"parsed\.jsonl holds 1 of 2 complaints; delete it"):
        store(files.document, files.parsed, files.csv, 2, MINUTE)

    assert not files.csv.exists()


def test_progress_is_reported_after_each_10_000_rows(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.store("tags", *[{"tags": None}] * 25_000)
    reported: list[tuple[int, int]] = []
    store(
        files.document,
        files.parsed,
        files.csv,
        25_000,
        MINUTE,
        lambda done, expected: reported.append((done, expected)),
    )

    assert reported == [(10_000, 25_000), (20_000, 25_000)]
