"""The block's place in a crontab."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luigi_etl.common.errors import CrontabError
from luigi_etl.service.crontab.marks import put_block, remove_block
from tests.service.crontab.helpers import STRANGE

CHECKOUT = Path("/srv/luigi_etl")
OTHER = Path("/srv/luigi_etl 2")
BLOCK = b"# begin luigi_etl /srv/luigi_etl\n* * * * * run\n# end luigi_etl /srv/luigi_etl\n"
NEWER = BLOCK.replace(b"run", b"run --newer\n@reboot run")
OF_OTHER = b"# begin luigi_etl '/srv/luigi_etl 2'\n* * * * * run\n# end luigi_etl '/srv/luigi_etl 2'\n"


def crontabs() -> st.SearchStrategy[bytes]:
    """Generate crontabs of any bytes, some with the block of another checkout."""
    line = st.binary(max_size=20).filter(lambda line: b"\n" not in line)
    lines = st.lists(line.map(lambda line: line + b"\n") | st.just(OF_OTHER), max_size=6)
    return st.builds(lambda lines, last: b"".join(lines) + last, lines, line)


def with_newline(crontab: bytes) -> bytes:
    """Return a crontab whose last line ends with a newline, as cron requires."""
    return crontab + b"\n" if crontab and not crontab.endswith(b"\n") else crontab


@given(crontabs())
@example(b"")
@example(STRANGE)
@example(b"* * * * * no newline")
def test_adding_and_removing_restores_the_crontab(crontab: bytes) -> None:
    added = put_block(crontab, CHECKOUT, BLOCK)

    assert added == with_newline(crontab) + BLOCK
    assert remove_block(added, CHECKOUT) == with_newline(crontab)


@pytest.mark.slow
@given(crontabs(), crontabs())
@example(STRANGE, b"* * * * * no newline")
def test_block_is_replaced_in_its_place(before: bytes, after: bytes) -> None:
    replaced = put_block(with_newline(before) + BLOCK + after, CHECKOUT, NEWER)

    assert replaced == with_newline(before) + NEWER + with_newline(after)


@given(crontabs())
def test_adding_twice_equals_adding_once(crontab: bytes) -> None:
    once = put_block(crontab, CHECKOUT, BLOCK)

    assert put_block(once, CHECKOUT, BLOCK) == once


@given(crontabs())
@example(b"* * * * * no newline")
def test_removing_a_missing_block_changes_nothing(crontab: bytes) -> None:
    assert remove_block(crontab, CHECKOUT) == crontab


def test_two_checkouts_share_one_crontab() -> None:
    both = put_block(put_block(STRANGE, CHECKOUT, BLOCK), OTHER, OF_OTHER)

    assert both == STRANGE + BLOCK + OF_OTHER
    assert remove_block(both, CHECKOUT) == STRANGE + OF_OTHER


def test_duplicate_block_becomes_one_block() -> None:
    assert put_block(BLOCK + STRANGE + BLOCK, CHECKOUT, NEWER) == NEWER + STRANGE
    assert remove_block(BLOCK + STRANGE + BLOCK, CHECKOUT) == STRANGE


def test_marks_with_changed_line_endings_are_found() -> None:
    assert remove_block(STRANGE + BLOCK.replace(b"\n", b" \r\n"), CHECKOUT) == STRANGE


@pytest.mark.parametrize(
    ("crontab", "line"),
    [
        (b"\n# begin luigi_etl /srv/luigi_etl\n* * * * * run\n", 2),
        (b"* * * * * run\n# end luigi_etl /srv/luigi_etl\n", 2),
        (b"# end luigi_etl /srv/luigi_etl\n# begin luigi_etl /srv/luigi_etl\n", 1),
        (b"# begin luigi_etl /srv/luigi_etl\n" + BLOCK, 2),
        (BLOCK + b"# end luigi_etl /srv/luigi_etl\n", 4),
        (b"# begin luigi_etl /srv/luigi_etl\n" + OF_OTHER + b"# end luigi_etl /srv/luigi_etl\n", 2),
    ],
)
def test_unpaired_marks_are_refused_with_their_line(crontab: bytes, line: int) -> None:
    message = rf"^your crontab: line {line}, .# .* luigi_etl .*., has no counterpart; .*`crontab -e`$"
    with pytest.raises(CrontabError, match=message):
        put_block(crontab, CHECKOUT, BLOCK)
    with pytest.raises(CrontabError, match=message):
        remove_block(crontab, CHECKOUT)
