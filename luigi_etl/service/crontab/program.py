"""The program `crontab`: read and replace the user's crontab."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

from luigi_etl.common.errors import CrontabError
from luigi_etl.common.files import sync
from luigi_etl.common.private import open_private

# The errors of `crontab -l` for a missing crontab: Debian, cronie, dcron and macOS; BusyBox.
_NO_CRONTAB = re.compile(r"no crontab for \S+|(^|; )crontab: can't open '[^/']+': No such file or directory$")


def read_crontab() -> bytes:
    """Return the user's crontab, or empty bytes if there is none.

    Raises:
        CrontabError: the program `crontab` is missing or fails.

    """
    ended = _run_crontab("-l")
    error = _error_of(ended)
    if ended.returncode == 1 and not ended.stdout and _NO_CRONTAB.search(error):
        return b""
    if ended.returncode != 0:
        raise CrontabError(
            f"`crontab -l` failed: {error}; check that you may use cron (/etc/cron.allow, /etc/cron.deny)"
        )
    return _unescape(ended.stdout)


def _unescape(listed: bytes) -> bytes:
    r"""Return the crontab without the escapes of `crontab -l`.

    Debian lists a carriage return as `\r` and a backspace as `\b`, which a crontab may also hold literally.
    `crontab -e` gives an editor the original bytes; here the editor is `cat`.
    """
    if b"\\r" not in listed and b"\\b" not in listed:
        return listed
    edited = _run_crontab("-e", VISUAL="cat", EDITOR="cat").stdout
    if listed not in (edited, edited.replace(b"\r", b"\\r").replace(b"\b", b"\\b")):
        raise CrontabError(
            r"your crontab lists `\r` or `\b`, and `crontab -e` doesn't show whether that is one character "
            "or two; remove them, or insert the block by hand"
        )
    return edited


def install_crontab(content: bytes, folder: Path, lock_file: int) -> None:
    """Install a crontab from a private file in `folder`.

    The program `crontab` inherits the lock, and so holds it if this process is killed.
    """
    path = folder / "crontab.new"
    try:
        with open(path, "wb", opener=open_private) as file:
            file.write(content)
            sync(file)
        ended = _run_crontab(str(path), lock_file)
    except OSError as error:
        raise CrontabError(
            f"cannot write {path}: {error.strerror}; your crontab is unchanged; make room or give access "
            "there"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    if ended.returncode != 0:
        raise CrontabError(
            f"`crontab FILE` refused the new crontab, the old one stays: {_error_of(ended)}; correct the "
            "named line"
        )


def _run_crontab(argument: str, *inherited: int, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603  # no shell
            ["crontab", argument],  # noqa: S607  # wherever the system has it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", **environment},  # the messages are parsed
            pass_fds=inherited,
            check=False,
        )
    except OSError as error:
        raise CrontabError(
            f"cannot run the program `crontab`: {error.strerror}; install cron (Debian: apt install cron)"
        ) from error


def _error_of(ended: "subprocess.CompletedProcess[bytes]") -> str:
    """Return a program's standard error in one line, or its exit code."""
    stderr = ended.stderr.decode(errors="replace")
    return "; ".join(stderr.split("\n")).strip("; ") or f"exit code {ended.returncode}"
