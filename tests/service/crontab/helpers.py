"""Helpers of the crontab's tests."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from luigi_etl.service.crontab.block import Jobs, render_block
from tests.conftest import CRONTAB, Run

STRANGE = b"MAILTO=me\r\n# caf\xe9 \xff\n\n* * * * *   date +\\%s '\\r\\n\\b'\b\x0b\x0c\x85 \r\n"

# How crons pass on `\%` to the shell: most remove the backslash (Debian's, cronie), the original keeps it.
CRONS: dict[str, Callable[[str], str]] = {
    "removes backslash": lambda command: command.replace(r"\%", "%"),
    "keeps backslash": lambda command: command,
}
Call = Callable[..., Run]


def create_checkout(folder: Path, text: str) -> Path:
    """Create a checkout with this template."""
    (folder / "cron").mkdir(parents=True, exist_ok=True)
    (folder / "cron" / "crontab").write_text(text)
    return folder


def render_jobs(jobs: Jobs) -> list[str]:
    """Return the jobs of the block."""
    return [line for line in os.fsdecode(render_block(jobs)).split("\n") if not line.startswith("#")]


def jobs_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def run_as_cron(job: str, unescape: Callable[[str], str] = CRONS["removes backslash"]) -> Run:
    """Run the command of a crontab's line as cron does."""
    match = re.fullmatch(r"(?:@\w+|(?:\S+ ){4}\S+) (.*)", job)
    assert match
    bare = {"HOME": "/root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    command = ["/bin/sh", "-c", unescape(match[1])]
    done = subprocess.run(command, cwd="/", env=bare, capture_output=True, text=True)
    return Run(done.returncode, done.stdout, done.stderr)


def replace_program(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a script before the real program `crontab`, which it finds as $CRONTAB."""
    program = folder / "programs" / "crontab"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nCRONTAB={CRONTAB}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
