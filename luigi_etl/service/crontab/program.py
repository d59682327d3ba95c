"""The program `crontab`: read and replace the user's crontab."""

import contextlib
import os
import re
import subprocess
from pathlib import Path

from luigi_etl.common.errors import CrontabError
from luigi_etl.common.files import sync
from luigi_etl.common.private import open_private

# How `crontab -l` says, with status 1, that there is none: Debian, cronie, dcron and macOS; BusyBox.
_NO_CRONTAB = re.compile(r"no crontab for \S+|(^|; )crontab: can't open '[^/']+': No such file or directory$")


def read_crontab() -> bytes:
    """Return the user's crontab, empty if there is none.

    Raises:
        CrontabError: there is no program `crontab`, or it refuses.

    """
    ended = _run_crontab("-l")
    said = _said(ended)
    if ended.returncode == 1 and not ended.stdout and _NO_CRONTAB.search(said):
        return b""
    if ended.returncode != 0:
        raise CrontabError(
            f"`crontab -l` failed: {said}; see to it that you may use cron (/etc/cron.allow, /etc/cron.deny)"
        )
    return _as_it_is(ended.stdout)


def _as_it_is(listed: bytes) -> bytes:
    r"""Return the crontab that `crontab -l` lists.

    Debian's lists a carriage return as `\r` and a backspace as `\b`, which may also be what is written
    there; an editor gets the crontab as it is, so `cat` is made the editor.
    """
    if b"\\r" not in listed and b"\\b" not in listed:
        return listed
    edited = _run_crontab("-e", VISUAL="cat", EDITOR="cat").stdout
    if listed not in (edited, edited.replace(b"\r", b"\\r").replace(b"\b", b"\\b")):
        raise CrontabError(
            r"your crontab lists `\r` or `\b`, `crontab -e` doesn't tell whether that is two characters "
            "or one; take them out, or put the block in by hand"
        )
    return edited


def install(content: bytes, folder: Path, lock_file: int) -> None:
    """Let the program `crontab` install a file; it holds the lock too, should this process be killed."""
    path = folder / "crontab.new"
    try:
        with open(path, "wb", opener=open_private) as file:
            file.write(content)
            sync(file)
        ended = _run_crontab(str(path), lock_file)
    except OSError as error:
        raise CrontabError(
            f"cannot write {path}, your crontab stays: {error.strerror}; make room or give access there"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    if ended.returncode != 0:
        said = _said(ended)
        raise CrontabError(
            f"`crontab FILE` refused the new crontab, the old one stays: {said}; put right what it names"
        )


def _run_crontab(argument: str, *inherited: int, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        return subprocess.run(  # noqa: S603  # no shell
            ["crontab", argument],  # noqa: S607  # wherever the system has it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", **environment},  # what it says is read
            pass_fds=inherited,
            check=False,
        )
    except OSError as error:
        raise CrontabError(
            f"cannot run the program `crontab`: {error.strerror}; install cron (Debian: apt install cron)"
        ) from error


def _said(ended: "subprocess.CompletedProcess[bytes]") -> str:
    """Return in one line what a program said on its standard error."""
    return "; ".join(ended.stderr.decode(errors="replace").split("\n")).strip("; ") or (
        f"exit code {ended.returncode}"
    )
