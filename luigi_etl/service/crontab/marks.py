"""The block's place in a crontab, between two marks.

The marks name the checkout; the lines outside of them never change. A crontab is bytes: cron knows no
encoding.
"""

import os
import re
import shlex
from pathlib import Path

from luigi_etl.common.errors import CrontabError

_MARK = re.compile(rb"# (begin|end) luigi_etl .*", re.DOTALL)


def format_marks(checkout: Path) -> tuple[bytes, bytes]:
    """Return the lines that begin and end the checkout's block."""
    name = os.fsencode(shlex.quote(str(checkout)))
    return b"# begin luigi_etl " + name, b"# end luigi_etl " + name


def put_block(crontab: bytes, checkout: Path, block: bytes) -> bytes:
    """Return the crontab with `block` in place of the checkout's block, or at the end.

    The other lines stay unchanged. A last line without a newline gets one, because cron requires it.

    Raises:
        CrontabError: a mark has no counterpart.

    """
    lines = _split_lines(crontab)
    blocks = _find_blocks(lines, checkout)
    at = blocks[0][0] if blocks else len(lines)
    before, after = _drop_blocks(lines[:at], checkout), _drop_blocks(lines[at:], checkout)
    return _end_line(before) + block + _end_line(after)


def remove_block(crontab: bytes, checkout: Path) -> bytes:
    """Return the crontab without the checkout's block, or unchanged if it has none.

    Raises:
        CrontabError: a mark has no counterpart.

    """
    lines = _split_lines(crontab)
    return _end_line(_drop_blocks(lines, checkout)) if _find_blocks(lines, checkout) else crontab


def find_block(crontab: bytes, checkout: Path) -> bytes:
    """Return the checkout's block with its marks, or empty bytes.

    Raises:
        CrontabError: a mark has no counterpart.

    """
    lines = _split_lines(crontab)
    blocks = _find_blocks(lines, checkout)
    return b"".join(line for first, last in blocks for line in lines[first : last + 1])


def _drop_blocks(lines: list[bytes], checkout: Path) -> bytes:
    inside = {at for first, last in _find_blocks(lines, checkout) for at in range(first, last + 1)}
    return b"".join(line for at, line in enumerate(lines) if at not in inside)


def _find_blocks(lines: list[bytes], checkout: Path) -> list[tuple[int, int]]:
    """Return the indexes of the first and the last line of each block of the checkout."""
    begin, end = format_marks(checkout)
    blocks = []
    opened: int | None = None
    for at, line in enumerate(map(bytes.strip, lines)):
        if line == end and opened is not None:
            blocks.append((opened, at))
            opened = None
        elif line == end or (opened is not None and _MARK.fullmatch(line)):
            raise _unpaired_mark(line, at)
        elif line == begin:
            opened = at
    if opened is not None:
        raise _unpaired_mark(begin, opened)
    return blocks


def _unpaired_mark(mark: bytes, at: int) -> CrontabError:
    text = mark.decode(errors="backslashreplace")
    return CrontabError(
        f"your crontab: line {at + 1}, {text!r}, has no counterpart; correct the marks with `crontab -e`"
    )


def _split_lines(crontab: bytes) -> list[bytes]:
    """Split at newlines only, as cron does."""
    return re.findall(rb"[^\n]*\n|[^\n]+", crontab)


def _end_line(lines: bytes) -> bytes:
    return lines if lines.endswith(b"\n") or not lines else lines + b"\n"
