"""Safe output of any text."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_etl.common import errors
from luigi_etl.common.terminal import LONGEST_LINE, brief, make_printable, one_line, print_line
from tests.conftest import Chain

ODD = "a\x1b[31m\r\nb\0\u2028\u202e\xa0\ud800\x9b"


@given(st.text(), st.integers(10, 50))
def test_any_text_becomes_one_short_printable_line(text: str, most: int) -> None:
    line = one_line(text, most)

    assert line.isprintable()
    assert len(line) <= most


def test_control_characters_are_escaped() -> None:
    assert one_line(ODD) == r"a\x1b[31m b\x00 \u202e \ud800\x9b"


@pytest.mark.parametrize("text", ["", "two blanks", "é — ö", "x" * LONGEST_LINE])
def test_printable_text_is_unchanged(text: str) -> None:
    assert one_line(text) == text


def test_cut_text_ends_with_dots() -> None:
    assert brief("x" * 1_000_000, 10) == "xxxxxxx..."


@pytest.mark.parametrize(
    "kind", [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
)
def test_every_expected_failure_is_printable(kind: type[errors.EtlError]) -> None:
    line = str(kind(f"host: {ODD * 1000}"))

    assert line.startswith(r"host: a\x1b[31m b")
    assert line.isprintable()
    assert len(line) <= LONGEST_LINE


def test_results_and_logs_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.makeLogRecord({"msg": "%s: %d", "args": (ODD, 5)})

    print_line(ODD)
    make_printable(record)

    assert capsys.readouterr().out.strip().isprintable()
    assert record.getMessage() == r"a\x1b[31m b\x00 \u202e \ud800\x9b: 5"


@pytest.mark.slow
def test_file_names_cannot_control_the_terminal(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "\x1bcfile\n").write_text("")
    root = str(tmp_path / "\x1bcfile\n" / "below")

    run = chain.luigi("--storage-root", root)

    assert run.code != 0
    assert "\x1b" not in run.out + run.err
    assert r"\x1bcfile" in run.err
