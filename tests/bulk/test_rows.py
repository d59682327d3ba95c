"""Rows of complaint files of every era become values; a bad row costs no other row."""

import io
import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from luigi_etl.bulk import rows as rows_module
from luigi_etl.bulk.rows import Batch, RejectedRow, RowReader
from luigi_etl.common.errors import FileFormatError
from luigi_etl.snapshot.complaint import Complaint
from luigi_etl.snapshot.decoding import read_page

HEADER = "Date received,Product,Sub-product,Company,ZIP code,Timely response?,Complaint ID\n"
ROW = '2026-09-01,Mortgage,,"Acme, Inc.",03301,Yes,1\n'
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded"


def read(text: str | bytes, *, is_checked: bool = False) -> Batch:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    rows, rejected = [], []
    for batch in RowReader(io.BytesIO(content), is_checked=is_checked).batches():
        rows += batch.rows
        rejected += batch.rejected
    return Batch(rows, rejected, [])


def row(complaint_id: str = "1", **cells: str) -> str:
    values = {
        "date_received": "2026-09-01",
        "product": "Mortgage",
        "sub_product": "",
        "company": '"Acme, Inc."',
        "zip_code": "03301",
        "timely": "Yes",
    } | cells
    return ",".join([*values.values(), complaint_id]) + "\n"


# --- values --------------------------------------------------------------------------------------


def test_empty_cell_is_null() -> None:
    assert read(HEADER + ROW).rows == [("2026-09-01", "Mortgage", None, "Acme, Inc.", "03301", "Yes", "1")]


def test_missing_column_is_no_field() -> None:
    assert "tags" not in RowReader(io.BytesIO((HEADER + ROW).encode()), is_checked=False).fields


@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("label", ["Complaint ID", "complaint_id", "COMPLAINT ID"])
def test_label_is_found_however_written(label: str, start: str) -> None:
    content = f"{start}Company,{label}\nAcme,7\n".encode()

    reader = RowReader(io.BytesIO(content), is_checked=False)

    assert reader.fields == ("company", "complaint_id")
    assert [batch.rows for batch in reader.batches()] == [[("Acme", "7")]]


def test_unknown_column_is_named_and_left_out() -> None:
    reader = RowReader(io.BytesIO(b"Complaint ID,Zodiac sign\n7,Leo\n"), is_checked=False)

    assert reader.unknown_labels == ["Zodiac sign"]
    assert [batch.rows for batch in reader.batches()] == [[("7",)]]


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2026-09-01", "2026-09-01"),
        ("09/01/2026", "2026-09-01"),
        ("9/1/2026", "2026-09-01"),
        ("04/29/25", "2025-04-29"),
        ("2024-01-01T08:15:30.000Z", "2024-01-01"),
        ("2024-11-06T12:00:00-05:00", "2024-11-06"),
        ("2024-11-06T23:30:00-05:00", "2024-11-07"),
        ("", None),
    ],
)
def test_day_is_read_in_each_form(cell: str, day: str | None) -> None:
    assert read(HEADER + row(date_received=cell)).rows[0][0] == day


@pytest.mark.parametrize(
    ("cell", "is_day"),
    [
        ("2999-01-01", True),
        ("2010-12-31", True),
        ("0001-01-01", True),
        ("0000-01-01", False),
        ("2026-02-29", False),
        ("9999-12-31T23:59:59-05:00", False),
        ("2026-09-01T12", False),
        ("20260901", False),
    ],
)
def test_row_and_hit_may_have_the_same_days(cell: str, is_day: bool) -> None:
    hit = {"_id": "1", "_source": {"complaint_id": "1", "date_received": cell}}
    page = {"hits": {"total": {"value": 1, "relation": "eq"}, "hits": [hit]}}

    (result,) = read_page(json.dumps(page).encode()).results
    batch = read(HEADER + row(date_received=cell))

    assert (isinstance(result, Complaint), len(batch.rows)) == (is_day, is_day)


@pytest.mark.parametrize(("cell", "value"), [("true", "Yes"), ("false", "No"), ("Yes", "Yes"), ("", None)])
def test_answer_is_yes_or_no(cell: str, value: str | None) -> None:
    assert read(HEADER + row(timely=cell)).rows[0][5] == value


def test_none_is_null_in_the_export_of_the_api() -> None:
    text = HEADER + row(sub_product="None")

    assert read(text).rows[0][2] == "None"
    assert read(text.replace("\n", "\r\n")).rows[0][2] is None


def test_not_applicable_is_a_value() -> None:
    assert read(HEADER + row(sub_product="N/A")).rows[0][2] == "N/A"


def test_nul_becomes_a_replacement_character() -> None:
    assert read(HEADER + row(company="A\0B")).rows[0][3] == "A\ufffdB"


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("2015-bulk-head", 8),
        ("2017-api-names-head", 5),
        ("2020-bulk-head", 5),
        ("2025-04-export", 131),
    ],
)
def test_recorded_file_is_read_whole(name: str, rows: int) -> None:
    path = RECORDED / f"{name}.csv"
    if not path.exists():
        pytest.skip("the recorded files are not here")

    result = read(path.read_bytes())

    assert (len(result.rows), result.rejected) == (rows, [])


# --- bad rows ------------------------------------------------------------------------------------

BAD = {
    "too few cells": ("2026-09-01,Mortgage,1\n", "3 cells, not 7"),
    "too many cells": (row().replace("Mortgage", "a,b"), "8 cells, not 7"),
    "no id": (row(""), "the id is not a number: ''"),
    "a word as id": (row("seven"), "the id is not a number: 'seven'"),
    "an id of other digits": (row("\u0667"), "the id is not a number: '\u0667'"),
    "a long id": (row("9" * 101), "the id has 101 digits"),
    "no date": (row(date_received="soon"), "not a date: 'soon'"),
    "no such day": (row(date_received="2026-02-30"), "not a date: '2026-02-30'"),
    "no such month": (row(date_received="13/32/2026"), "not a date: '13/32/2026'"),
    "not UTF-8": (row(company="caf\udce9"), "not UTF-8 text"),
    "a quotation mark too many": (row(company='"Acme'), "',' expected after '\"'"),
    "text after a quotation": (row(company='"Acme"x'), "',' expected after '\"'"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_bad_row_costs_no_other_row(kind: str, before: int) -> None:
    text, reason = BAD[kind]
    others = [row(str(number), company=f'"Company {number}\nof two lines"') for number in range(100, 106)]
    lines = [*others[:before], text, *others[before:]]

    result = read(HEADER + "".join(lines))

    assert [values[-1] for values in result.rows] == [str(number) for number in range(100, 106)]
    assert [(one.line, one.reason) for one in result.rejected] == [(2 + 2 * before, reason)]


CUT = "too few cells"


@pytest.mark.parametrize("is_checked", [False, True])
@pytest.mark.parametrize("before", ["", BAD[CUT][0], row(company='"A"B')], ids=["", "cut", "malformed"])
@pytest.mark.parametrize("kind", [kind for kind in BAD if kind not in (CUT, "a quotation mark too many")])
def test_malformed_last_row_is_rejected_singly(kind: str, before: str, is_checked: bool) -> None:
    text, reason = BAD[kind]

    result = read(HEADER + ROW + before + text, is_checked=is_checked)

    assert len(result.rows) == 1
    assert (result.rejected[-1].text, result.rejected[-1].reason[:20]) == (
        text.rstrip("\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        reason[:20],
    )


@pytest.mark.parametrize("is_checked", [False, True])
@pytest.mark.parametrize("after", ["", "\n", "\n\r\n"], ids=["at once", "a blank line", "blank lines"])
@pytest.mark.parametrize("last", [BAD[CUT][0], row(company='"Acme'), row(company="caf\udce9")[:-8] + "\n"])
def test_cut_last_row_refuses_the_file(last: str, after: str, is_checked: bool) -> None:
    with pytest.raises(FileFormatError, match="its last row is cut off"):
        read(HEADER + ROW + last + after, is_checked=is_checked)


@pytest.mark.parametrize(
    "text", ["one\n", "one, two\n\n", "a,b,c,d,e,f,g\n", "a,b,c,d,e,f,g,h\n", 'a,""b""\n']
)
@pytest.mark.parametrize("size", [10, 1000])
def test_file_cut_inside_a_text_is_refused(size: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of the text can have as many commas as a row."""
    monkeypatch.setattr("luigi_etl.bulk.rows.BLOCK", size)

    with pytest.raises(FileFormatError, match="its last row is cut off"):
        read(HEADER + ROW + f'2026-09-01,Mortgage,"A text\n{text}')


@pytest.mark.parametrize("size", [1, 60, 200])
def test_blank_block_after_a_cut_row_hides_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luigi_etl.bulk.rows.BLOCK", size)

    with pytest.raises(FileFormatError, match="its last row is cut off"):
        read(HEADER + ROW + BAD[CUT][0] + "\n" * 500)


def test_rejected_row_is_kept_verbatim() -> None:
    (rejected,) = read(HEADER + row("x", company='"two\nlines"') + ROW).rejected

    assert rejected == RejectedRow(
        2, "the id is not a number: 'x'", '2026-09-01,Mortgage,,"two\nlines",03301,Yes,x'
    )


def test_bytes_that_are_no_text_are_shown_with_escapes() -> None:
    (rejected,) = read(HEADER + row(company="caf\udce9") + ROW).rejected

    assert "caf\\xe9" in rejected.text


def test_row_over_the_end_of_a_block_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [row(str(number), company=f'"Company {number}\nof two lines"') for number in range(60)]
    text = HEADER + "".join([*others[:30], row("x"), row(company='"'), *others[30:]])

    for size in (1, 7, 64, 200):
        monkeypatch.setattr("luigi_etl.bulk.rows.BLOCK", size * 10)
        result = read(text)
        assert [values[-1] for values in result.rows] == [str(number) for number in range(60)]
        assert [one.line for one in result.rejected] == [62, 63]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=5))
def test_any_quoted_text_survives(texts: list[str]) -> None:
    lines = [row(str(at), company='"' + text.replace('"', '""') + '"') for at, text in enumerate(texts)]

    result = read(HEADER + "".join([*lines, row("99")]))

    assert [values[3] for values in result.rows[:-1]] == [text or None for text in texts]
    assert result.rejected == []


# --- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column `Complaint ID`"),
        ("<!DOCTYPE html>\n<html>\n", "no column `Complaint ID`; its first row is '<!DOCTYPE html>'"),
        ("Company,Issue\nAcme,Fees\n", "no column `Complaint ID`; its first row is 'Company,Issue'"),
        ("Complaint ID,Company,company\n1,a,b\n", "two columns are company; remove one"),
        (HEADER, "it has no rows"),
        ("\n" + HEADER + ROW, "no column `Complaint ID`"),
        (HEADER.replace("\n", "\r") + ROW, "its first row is not CSV"),
        (HEADER + ROW + ROW[:30] + "\n", "its last row is cut off"),
        (HEADER + ROW + ROW[:-1], "its last line has no end"),
        (HEADER + ROW + ROW.partition("Inc")[0] + "\n", "its last row is cut off"),
        (
            HEADER + ROW + row("1.2345E+07"),
            r"column 'Complaint ID': a spreadsheet changed its values \(1.2345E",
        ),
        (HEADER + ROW + row("12345.0"), "column 'Complaint ID': a spreadsheet changed its values"),
        (HEADER + row(zip_code="3301"), "column 'ZIP code': a spreadsheet changed its values"),
        (HEADER + row(zip_code="1.2E+04"), "column 'ZIP code': a spreadsheet changed its values"),
        (HEADER + ROW + row(date_received="31/12/2020"), "the date 31/12/2020 has the day first"),
        ("\udcff\udcfeC\0o\0", "its first row is not UTF-8 text"),
        (HEADER + ROW + "x" * 9_000_000, "line 3 is longer than 8,388,608 bytes"),
    ],
)
def test_file_that_cannot_be_right_is_refused(text: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(text)


def test_short_zip_code_beside_one_with_zero_is_a_value() -> None:
    assert [values[4] for values in read(HEADER + ROW + row(zip_code="3301")).rows] == ["03301", "3301"]


def test_last_line_without_end_is_whole_if_a_checksum_says_so() -> None:
    assert len(read(HEADER + ROW + ROW[:-1], is_checked=True).rows) == 2


# --- known rows ----------------------------------------------------------------------------------

KNOWN = [row("1"), row("2", zip_code="99999"), row("3", company='"A ""quoted"" name"')]
OTHERS = [
    row("4"),
    row("5", zip_code="2134"),
    row("6", company=f'"two\n{KNOWN[0]}lines"'),
    row("7", date_received="never"),
    row("8", company='"not closed'),
    "too,few\n",
    "\n",
]


def read_unknown(text: str) -> Batch:
    """Read the rows but for those of `KNOWN`."""
    known = {line.rstrip("\n").encode() for line in KNOWN}
    rows, rejected, count = [], [], 0
    reader = RowReader(io.BytesIO(text.encode()), is_checked=False)
    for batch in reader.batches(lambda lines: [line in known for line in lines]):
        rows += batch.rows
        rejected += batch.rejected
        count += batch.known
    return Batch(rows, rejected, [], count)


@given(
    rows=st.lists(st.sampled_from(KNOWN + OTHERS), min_size=1, max_size=6).map("".join),
    size=st.sampled_from([60, 250]),
)
def test_known_rows_are_counted_and_left_out(rows: str, size: int) -> None:
    """The text of a row over several lines can hold a known line."""
    text = HEADER + row("0") + rows + row("9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "BLOCK", size)
        try:
            whole = read(text)
        except FileFormatError:
            with pytest.raises(FileFormatError):
                read_unknown(text)
            return
        found = read_unknown(text)

    left_out = [one for one in whole.rows if one not in found.rows]
    assert found.rejected == whole.rejected
    assert {one[-1] for one in left_out} <= {"1", "2", "3"}
    assert len(found.rows) + found.known == len(whole.rows)


@pytest.mark.parametrize("zip_code", ["03301", "99999"])
def test_blocks_are_read_until_a_zip_code_has_a_zero(zip_code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only then a short ZIP code is no sign of a spreadsheet."""
    monkeypatch.setattr(rows_module, "BLOCK", 10)
    known = "".join(row(str(number), zip_code=zip_code) for number in (1, 1, 1))

    reader = RowReader(io.BytesIO((HEADER + known).encode()), is_checked=False)
    batches = list(reader.batches(lambda lines: [True] * len(lines)))

    assert sum(batch.known for batch in batches) == (2 if zip_code == "03301" else 0)


def test_short_zip_code_after_known_rows_is_a_value() -> None:
    found = read_unknown(HEADER + KNOWN[0] + row("5", zip_code="2134"))

    assert [one[-1] for one in found.rows] == ["1", "5"]


def test_known_rows_do_not_hide_a_spreadsheet() -> None:
    with pytest.raises(FileFormatError, match="a spreadsheet changed its values"):
        read_unknown(HEADER + KNOWN[1] + row("5", zip_code="2134"))
