"""The block's place in a crontab, between two marks."""

import os
import re
import shlex
from pathlib import Path

from luigi_etl.common.errors import CrontabError

_MARK = re.compile(rb"# (begin|end) luigi_etl .*", re.DOTALL)


def marks(checkout: Path) -> tuple[bytes, bytes]:
    """Return the lines that begin and end the checkout's block."""
    name = os.fsencode(shlex.quote(str(checkout)))
    return b"# begin luigi_etl " + name, b"# end luigi_etl " + name


def with_block(crontab: bytes, checkout: Path, new: bytes) -> bytes:
    """Return the crontab with `new` in the place of the checkout's block, or at its end.

    Other lines stay as they are; only a last one without its newline gets it: cron wants that.

    Raises:
        CrontabError: the marks don't pair.

    """
    lines = _lines(crontab)
    blocks = _blocks(lines, checkout)
    at = blocks[0][0] if blocks else len(lines)
    before, after = _outside(lines[:at], checkout), _outside(lines[at:], checkout)
    return _ended(before) + new + _ended(after)


def without_block(crontab: bytes, checkout: Path) -> bytes:
    """Return the crontab without the checkout's block; the same bytes if it holds none.

    Raises:
        CrontabError: the marks don't pair.

    """
    lines = _lines(crontab)
    return _ended(_outside(lines, checkout)) if _blocks(lines, checkout) else crontab


def installed_block(crontab: bytes, checkout: Path) -> bytes:
    """Return the checkout's block, its marks included; nothing if there is none.

    Raises:
        CrontabError: the marks don't pair.

    """
    lines = _lines(crontab)
    return b"".join(line for first, last in _blocks(lines, checkout) for line in lines[first : last + 1])


def _outside(lines: list[bytes], checkout: Path) -> bytes:
    inside = {at for first, last in _blocks(lines, checkout) for at in range(first, last + 1)}
    return b"".join(line for at, line in enumerate(lines) if at not in inside)


def _blocks(lines: list[bytes], checkout: Path) -> list[tuple[int, int]]:
    """Return the first and the last line of each block of the checkout."""
    begin, end = marks(checkout)
    blocks = []
    opened: int | None = None
    for at, line in enumerate(map(bytes.strip, lines)):
        if line == end and opened is not None:
            blocks.append((opened, at))
            opened = None
        elif line == end or (opened is not None and _MARK.fullmatch(line)):
            raise _unpaired(line, at)
        elif line == begin:
            opened = at
    if opened is not None:
        raise _unpaired(begin, opened)
    return blocks


def _unpaired(mark: bytes, at: int) -> CrontabError:
    told = mark.decode(errors="backslashreplace")
    return CrontabError(
        f"your crontab: line {at + 1}, {told!r}, has no counterpart; put the marks right with `crontab -e`"
    )


def _lines(crontab: bytes) -> list[bytes]:
    """Split where cron does, and nowhere else."""
    return re.findall(rb"[^\n]*\n|[^\n]+", crontab)


def _ended(lines: bytes) -> bytes:
    return lines if lines.endswith(b"\n") or not lines else lines + b"\n"
