"""Fixtures of the crontab's tests."""

import shutil
import sys
from pathlib import Path

import pytest

from luigi_etl.cli.main import run
from tests.conftest import PROJECT, Run
from tests.service.crontab.helpers import Call


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a checkout with a name that needs quoting, and an interpreter; leave its folder."""
    folder = tmp_path.resolve() / 'it\'s 100%\\% "mine"'
    folder.mkdir()
    shutil.copytree(PROJECT / "cron", folder / "cron")
    shutil.copy(PROJECT / "luigi.cfg", folder)
    interpreter = folder / "a % python"
    interpreter.write_text('#!/bin/sh\npwd >seen\nprintf "%s\\n" "$@" >>seen\n')
    interpreter.chmod(0o755)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(folder / "luigi.cfg"))
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.chdir("/")
    return folder


@pytest.fixture
def crontab_command(capfd: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs `luigi-etl crontab` with options."""

    def call(*options: str) -> Run:
        try:
            code = run(["crontab", *options])
        except SystemExit as refused:  # argparse
            code = int(refused.code or 0)
        return Run(code, *capfd.readouterr())

    return call
