"""The text of the block that runs a checkout."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luigi_etl.common.errors import SettingError
from luigi_etl.service.crontab.checkout import WRAPPER
from luigi_etl.service.crontab.marks import marks

TEMPLATE = Path("cron", "crontab")
STARTS_LUIGID = "{run} luigid"
SYNCS = "{run} unattended SyncComplaints"
HINT = b"# written by `luigi-etl crontab --install`, and written anew by the next"
_PLACEHOLDER = re.compile(r"\{(run|options|query)\}")


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


def block(jobs: Jobs) -> bytes:
    """Return the block of a crontab, its marks included, made of the checkout's template.

    Raises:
        SettingError: a path that no crontab can hold, or a template that can't be read.

    """
    run = call(jobs.checkout, jobs.python)
    begin, end = marks(jobs.checkout)
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
