"""Deliver messages to the command of `[service] notify`, or to standard error, which cron mails."""

import contextlib
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from luigi_etl.common.terminal import one_line

NOTIFY_SECONDS = 60
_MOST_OUTPUT = 65_536  # bytes that are read
_LONGEST_OUTPUT = 500  # characters
_SHORTEST_SECRET = 3  # characters; any text contains shorter ones


def deliver(message: str, command: str) -> str:
    """Deliver a message to a command, and to standard error if there is no command or it fails.

    Returns the failure of the command in one line, without its arguments: they may hold a password.
    """
    line = f"luigi_etl on {socket.gethostname()}: {message}"
    problem = _run(command, line) if command else ""
    if not command or problem:
        _write(line, problem)
    return problem


def _write(*lines: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # a full disk, or no standard error
        sys.stderr.write("".join(f"{line}\n" for line in lines if line))
        sys.stderr.flush()


def _run(command: str, line: str) -> str:
    """Run a command with a line on its standard input; return its failure, or an empty string."""
    import shlex

    words = shlex.split(command)
    failed = f"luigi_etl: [service] notify, {words[0]!r}, failed"
    with _open_output() as output:
        try:
            run = subprocess.run(  # noqa: S603  # the user's own
                words,
                input=f"{line}\n".encode(),
                stdout=output,
                stderr=output,
                timeout=NOTIFY_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{failed}: no end within {NOTIFY_SECONDS} s"
        except (OSError, ValueError) as error:
            return f"{failed}: {getattr(error, 'strerror', None) or 'it cannot be run'}"
        text = _read_back(output)
    return f"{failed} (exit code {run.returncode}): {_mask(text, words)}" if run.returncode else ""


@contextlib.contextmanager
def _open_output() -> Iterator[int]:
    """Yield a file for a command's output, or the null device if no file can be made.

    A pipe would stay open while a process that the command started still runs.
    """
    with contextlib.ExitStack() as opened:
        output = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            output = opened.enter_context(tempfile.TemporaryFile()).fileno()
        yield output


def _read_back(output: int) -> str:
    if output == subprocess.DEVNULL:
        return ""
    with open(output, "rb", closefd=False) as file:
        file.seek(0)
        return file.read(_MOST_OUTPUT).decode(errors="replace")


def _mask(text: str, words: list[str]) -> str:
    """Return the end of a command's output; mask each part of its arguments except hosts."""
    hosts = {_host(word) for word in words} - {""}
    pieces = {piece for word in words[1:] for piece in _split_secrets(word) if piece not in hosts}
    either = sorted(map(re.escape, (*hosts, *pieces)), key=len, reverse=True)
    if either:
        text = re.sub("|".join(either), lambda found: found[0] if found[0] in hosts else "***", text)
    return one_line(text)[-_LONGEST_OUTPUT:]


def _host(word: str) -> str:
    with contextlib.suppress(ValueError):
        return urlsplit(word).hostname or ""
    return ""


def _split_secrets(word: str) -> Iterator[str]:
    """Yield possible secrets in an argument such as `Authorization: Bearer X` or `-ume:X`."""
    for part in (word, unquote(word)):
        for piece in re.split(r"[\s=&?/:@,;#\"']+", part):
            forms = (piece, piece[2:]) if piece.startswith("-") else (piece,)
            yield from (form for form in forms if len(form) >= _SHORTEST_SECRET)
