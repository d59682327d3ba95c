"""The text of the block that runs a checkout."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luigi_etl.common.errors import SettingError
from luigi_etl.service.crontab.checkout import WRAPPER
from luigi_etl.service.crontab.marks import format_marks

TEMPLATE = Path("cron", "crontab")
LUIGID_COMMAND = "{run} luigid"
SYNC_COMMAND = "{run} unattended SyncComplaints"
RECONCILE_COMMAND = "{run} unattended ReconcileComplaints"
HINT = b"# written by `luigi-etl crontab --install`, and written anew by the next"
_PLACEHOLDER = re.compile(r"\{(run|options|query)\}")


@dataclass(frozen=True)
class Jobs:
    """The jobs that cron runs.

    `queries` have their one spelling, `""` for all complaints; `limit` is None for the default.
    """

    checkout: Path
    python: str
    queries: tuple[str, ...] = ("",)
    limit: int | None = None
    with_luigid: bool = True
    with_sync: bool = False


def render_block(jobs: Jobs) -> bytes:
    """Return the block for a crontab, with its marks, from the checkout's template.

    Raises:
        SettingError: a path holds a newline, or the template can't be used.

    """
    begin, end = format_marks(jobs.checkout)
    lines = [begin, HINT, *_render_jobs(jobs), end]
    return b"".join(line + b"\n" for line in lines)


def wrapper_command(checkout: Path, python: str) -> str:
    """Return the beginning of each command of the block: the wrapper and the interpreter, quoted.

    Raises:
        SettingError: a path holds a newline.

    """
    return f"{_quote(str(checkout / WRAPPER))} {_quote(python)}"


def _render_jobs(jobs: Jobs) -> Iterator[bytes]:
    run = wrapper_command(jobs.checkout, jobs.python)
    for paragraph in _read_paragraphs(jobs):
        for line in paragraph:
            yield from _fill_line(line, run, jobs)


def _read_paragraphs(jobs: Jobs) -> list[list[str]]:
    """Return the lines of the template's paragraphs that are needed for these jobs."""
    path = jobs.checkout / TEMPLATE
    try:
        template = os.fsdecode(path.read_bytes())
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}; restore it from the project") from error
    paragraphs = [text.strip("\n").split("\n") for text in re.split(r"\n[ \t]*\n", template)]
    needed = [lines for lines in paragraphs if _is_needed(lines, jobs)]
    if not needed:
        raise SettingError(f"{path} runs nothing: no line holds {{run}}; restore it from the project")
    return needed


def _is_needed(paragraph: list[str], jobs: Jobs) -> bool:
    """Return whether a paragraph has a command, and only commands for these jobs."""
    commands = [line for line in paragraph if "{run}" in line and not line.startswith("#")]
    choices = (
        (LUIGID_COMMAND, jobs.with_luigid),
        (SYNC_COMMAND, jobs.with_sync),
        (RECONCILE_COMMAND, jobs.with_sync and "" in jobs.queries),  # the file holds all complaints
    )
    unwanted = [command for command, is_wanted in choices if not is_wanted]
    return bool(commands) and not any(text in line for line in commands for text in unwanted)


def _fill_line(line: str, run: str, jobs: Jobs) -> list[bytes]:
    """Return a line with its placeholders filled, one for each query if it takes a query."""
    queries = jobs.queries if "{options}" in line or "{query}" in line else ("",)
    return [os.fsencode(_fill_placeholders(line, run, query, jobs.limit)) for query in queries]


def _fill_placeholders(line: str, run: str, query: str, limit: int | None) -> str:
    query_option = f" --query {_quote(query)}" if query else ""
    options = query_option + ("" if limit is None else f" --limit {limit}")
    values = {"run": run, "options": options, "query": query_option}
    # In one pass: a value may itself look like a placeholder.
    return _PLACEHOLDER.sub(lambda found: values[found[1]], line)


def _quote(text: str) -> str:
    r"""Quote a word for the shell, and its `%` for cron.

    Some crons remove the backslash of `\%`, others leave it to the shell, which removes it only outside
    of quotes. So `\%` stands outside of quotes.

    Raises:
        SettingError: the word holds a newline.

    """
    if "\n" in text:
        raise SettingError(f"{text!r} holds a newline, which no crontab can hold; rename the folder")
    quoted = shlex.quote(text)
    return quoted.replace("%", r"'\%'" if quoted.startswith("'") else r"\%")
