"""Text that is safe to print, and printing that never fails a run."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import LogRecord

LONGEST_LINE = 2000  # characters of a message
LONGEST_VALUE = 200  # characters of a quotation in a message


def printable(text: str) -> str:
    """Return a text with an escape (`\\x1b`) for each character that could control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def one_line(text: object, most: int = LONGEST_LINE) -> str:
    """Return any text as one printable line of at most `most` characters."""
    whole = str(text)
    start = whole[: 2 * most]
    line = printable(" ".join(start.split()))
    return line if len(line) <= most and len(whole) <= len(start) else f"{line[: most - 3]}..."


def brief(text: object, most: int = LONGEST_VALUE) -> str:
    """Return a text of a server, a file or a database, short enough to quote in a message."""
    return one_line(text, most)


def make_printable(record: "LogRecord") -> bool:
    """Turn a log record into one printable line; a filter for loggers."""
    record.msg, record.args = one_line(record.getMessage()), ()
    return True


def encodable(line: str) -> str:
    """Return a line with escapes for the characters that standard output can't encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def print_line(line: str) -> None:
    """Print a result line; if that fails, write one line to standard error."""
    try:
        print(encodable(one_line(line)), flush=True)
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            reason = error.strerror or error
            with contextlib.suppress(OSError):
                sys.stderr.write(f"luigi_etl: cannot print the result: {reason}; the run is not affected\n")


def print_all(lines: Iterable[str]) -> None:
    """Print lines until the reader closes the pipe.

    Raises:
        OSError: standard output fails for another reason.

    """
    _write_all(lambda line: print(encodable(line)), lines)


def write_all(lines: Iterable[bytes]) -> None:
    """Write lines to standard output unchanged, until the reader closes the pipe.

    Raises:
        OSError: standard output fails for another reason, or is closed.

    """
    if not sys.stdout:  # None if the program was started without it
        raise OSError(errno.EBADF, "standard output is closed")
    _write_all(sys.stdout.buffer.write, lines)


def _write_all(write: Callable[..., object], lines: Iterable[object]) -> None:
    if all(_try_write(write, line) for line in lines):
        _try_write(print, end="", flush=True)  # at exit, a failure could not be reported


def _try_write(write: Callable[..., object], *arguments: object, **options: object) -> bool:
    """Call `write`; return False if the reader has closed the pipe."""
    try:
        write(*arguments, **options)
    except OSError as error:
        discard_output()
        if isinstance(error, BrokenPipeError):
            return False
        raise
    return True


def discard_output() -> None:
    """Send buffered output to /dev/null: at exit, writing it would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 run`, `1,200 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
