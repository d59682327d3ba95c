"""The user's crontab: the block that runs this checkout, and how it gets in and out of it.

The block stands between two marks that name the checkout; only what is between them is ever
touched. A crontab is bytes: cron knows no encoding, and the other lines are the user's.
"""

import contextlib
import errno
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from luigi_etl.common.errors import CrontabError, LocksUnsupportedError, SettingError
from luigi_etl.common.files import sync
from luigi_etl.common.locks import lock
from luigi_etl.common.private import make_private, open_private, others_can_write, own_folders

TEMPLATE = Path("cron", "crontab")
WRAPPER = Path("cron", "run")
CONFIGURATION = Path("luigi.cfg")
STARTS_LUIGID = "{run} luigid"
SYNCS = "{run} unattended SyncComplaints"
HINT = b"# written by `luigi-etl crontab --install`, and written anew by the next"
_PLACEHOLDER = re.compile(r"\{(run|options|query)\}")
_MARK = re.compile(rb"# (begin|end) luigi_etl .*", re.DOTALL)
LOCK_SECONDS = 30.0
# How `crontab -l` says, with status 1, that there is none: Debian, cronie, dcron and macOS; BusyBox.
_NO_CRONTAB = re.compile(r"no crontab for \S+|(^|; )crontab: can't open '[^/']+': No such file or directory$")


@dataclass(frozen=True)
class Jobs:
    """What cron is to run.

    `queries` are in their one spelling, `""` for all complaints; `limit` is None for the default.
    """

    checkout: Path
    python: str
    queries: tuple[str, ...] = ("",)
    limit: int | None = None
    with_luigid: bool = True
    with_sync: bool = False


# --- the block -----------------------------------------------------------------------------------


def block(jobs: Jobs) -> bytes:
    """Return the block of a crontab, its marks included, made of the checkout's template.

    Raises:
        SettingError: a path that no crontab can hold, or a template that can't be read.

    """
    run = call(jobs.checkout, jobs.python)
    begin, end = _marks(jobs.checkout)
    lines = [begin, HINT, *_lines_between(run, jobs), end]
    return b"".join(line + b"\n" for line in lines)


def _lines_between(run: str, jobs: Jobs) -> Iterator[bytes]:
    for paragraph in _paragraphs(jobs):
        for line in paragraph:
            yield from _filled(line, run, jobs)


def call(checkout: Path, python: str) -> str:
    """Return how each line of the block calls the wrapper, as it is written in a crontab.

    Raises:
        SettingError: a path that no crontab can hold.

    """
    return f"{_word(str(checkout / WRAPPER))} {_word(python)}"


def _paragraphs(jobs: Jobs) -> list[list[str]]:
    """Return the lines of each paragraph of the template that is wanted."""
    path = jobs.checkout / TEMPLATE
    try:
        template = os.fsdecode(path.read_bytes())
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}; bring it back from the project") from error
    paragraphs = [text.strip("\n").split("\n") for text in re.split(r"\n[ \t]*\n", template)]
    wanted = [lines for lines in paragraphs if _is_wanted(lines, jobs)]
    if not wanted:
        raise SettingError(f"{path} runs nothing: no line holds {{run}}; bring it back from the project")
    return wanted


def _is_wanted(paragraph: list[str], jobs: Jobs) -> bool:
    """Tell whether a paragraph runs something, and nothing that is not wanted."""
    lines = [line for line in paragraph if "{run}" in line and not line.startswith("#")]
    choices = ((STARTS_LUIGID, jobs.with_luigid), (SYNCS, jobs.with_sync))
    unwanted = [what for what, is_wanted in choices if not is_wanted]
    return bool(lines) and not any(what in line for line in lines for what in unwanted)


def _filled(line: str, run: str, jobs: Jobs) -> list[bytes]:
    """Return a line with its placeholders filled, once for each query if it takes one."""
    queries = jobs.queries if "{options}" in line or "{query}" in line else ("",)
    return [os.fsencode(_filled_for(query, line, run, jobs.limit)) for query in queries]


def _filled_for(query: str, line: str, run: str, limit: int | None) -> str:
    asked = f" --query {_word(query)}" if query else ""
    options = asked + ("" if limit is None else f" --limit {limit}")
    filled = {"run": run, "options": options, "query": asked}
    # All at once: what is filled in may look like a placeholder.
    return _PLACEHOLDER.sub(lambda found: filled[found[1]], line)


def _word(text: str) -> str:
    r"""Quote a word for the shell, and its `%` for cron.

    Some crons take the backslash of `\%` away, others leave it to the shell, which does so outside of
    quotes only: so it stands there.

    Raises:
        SettingError: it holds a line's end.

    """
    if "\n" in text:
        raise SettingError(f"{text!r} holds a line's end, which no crontab can; rename the folder")
    quoted = shlex.quote(text)
    return quoted.replace("%", r"'\%'" if quoted.startswith("'") else r"\%")


def _marks(checkout: Path) -> tuple[bytes, bytes]:
    name = os.fsencode(shlex.quote(str(checkout)))
    return b"# begin luigi_etl " + name, b"# end luigi_etl " + name


# --- the block in a crontab ----------------------------------------------------------------------


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
    begin, end = _marks(checkout)
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


# --- the program crontab -------------------------------------------------------------------------


def change_crontab(change: Callable[[bytes], bytes]) -> bool:
    """Replace the user's crontab by what `change` makes of it; return whether that differs.

    One process of the user does so at a time. Killed at any moment, it leaves the old crontab or the new
    one: the program `crontab` reads a file that is whole, and replaces the crontab in one step.

    Raises:
        CrontabError: the crontab is what it was, unless the message says otherwise.

    """
    with _alone() as (folder, file):
        before = read_crontab()
        after = change(before)
        if after == before:
            return False
        _install(after, folder, file)
        if read_crontab() != after:
            raise CrontabError(
                "your crontab: `crontab -l` lists something else than was installed; look at it, and run "
                "this again"
            )
        return True


@contextlib.contextmanager
def _alone() -> Iterator[tuple[Path, int]]:
    """Hold the lock on the user's crontab; give a private folder and the lock's file.

    Raises:
        CrontabError: another process holds it for too long, or no folder can be used for it.

    """
    with contextlib.ExitStack() as opened:
        path, file = _open_lock(opened)
        deadline = time.monotonic() + LOCK_SECONDS
        while not lock(file, path, ""):
            if time.monotonic() >= deadline:
                raise CrontabError(
                    f"your crontab: another `luigi-etl crontab` has been changing it for "
                    f"{LOCK_SECONDS:.0f} s; try again when it has ended"
                )
            time.sleep(0.05)
        yield path.parent, file


def _open_lock(opened: contextlib.ExitStack) -> tuple[Path, int]:
    """Open the lock in the first folder that is this user's own and has locks (some NFS has none)."""
    problems = []
    for folder in own_folders():
        path = folder / "crontab.lock"
        try:
            make_private(folder)
            if others_can_write(folder):
                raise PermissionError(errno.EPERM, "others can write it", str(folder))
            file = open_private(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            opened.callback(os.close, file)
            lock(file, path, "")
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
        except LocksUnsupportedError:
            problems.append(f"{folder}: files can't be locked there")
        else:
            return path, file
    raise CrontabError(
        f"cannot lock your crontab ({'; '.join(problems)}); give access to one of these folders"
    )


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


def _install(content: bytes, folder: Path, lock_file: int) -> None:
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


# --- the checkout --------------------------------------------------------------------------------


def find_checkout() -> Path:
    """Return the folder of the checkout, absolute and without symbolic links.

    It is the folder of `$LUIGI_CONFIG_PATH` if that is set; otherwise the one this package was installed
    from, or the working directory, whichever has what cron needs first.

    Raises:
        SettingError: there is none.

    """
    configuration = os.environ.get("LUIGI_CONFIG_PATH")
    if configuration:
        folder = Path(configuration).resolve().parent
        if not _is_checkout(folder):
            raise SettingError(
                f"LUIGI_CONFIG_PATH: {folder} is no checkout: it has no {CONFIGURATION} or no {WRAPPER}; "
                "unset it, or set it to luigi.cfg of a checkout"
            )
        return folder
    for folder in filter(None, (_installed_from(), Path())):
        if _is_checkout(folder):
            return folder.resolve()
    raise SettingError(
        f"there is no checkout, a folder with {CONFIGURATION} and {WRAPPER}; go to yours, or set "
        "LUIGI_CONFIG_PATH to its luigi.cfg"
    )


def _is_checkout(folder: Path) -> bool:
    return (folder / CONFIGURATION).is_file() and (folder / WRAPPER).is_file()


def _installed_from() -> Path | None:
    """Return the folder this package was installed from, as pip left word of it (PEP 610)."""
    try:
        record = importlib.metadata.distribution("luigi_etl").read_text("direct_url.json")
        url = urlsplit(str(json.loads(record or "{}")["url"]))
    except (importlib.metadata.PackageNotFoundError, ValueError, LookupError, TypeError):
        return None
    return Path(os.fsdecode(unquote_to_bytes(url.path))) if url.scheme == "file" else None
