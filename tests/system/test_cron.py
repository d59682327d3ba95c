"""The whole service with a real cron daemon, luigid and browser.

The test restores the user's crontab. It starts a cron daemon if there is none, which needs root.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from luigi_etl.service.crontab.change import change_crontab
from luigi_etl.service.crontab.program import read_crontab
from luigi_etl.service.doctor.cron import cron_daemons
from tests.conftest import Chain, Luigid, Serve

pytestmark = pytest.mark.slow

FAMILIES = {"CreateDocument", "ExtractComplaints", "ParseComplaints", "StoreComplaints"}
SLUGS = ("all-newest-10", "product=Debt+collection-newest-10")

RECORDING_SHELL = """#!/bin/sh
/bin/sh "$@" >>{folder}/out 2>>{folder}/err
"""


def stop_luigid(installation: Chain) -> None:
    """Stop the luigid that cron started in the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"luigid" in command and (process / "cwd").readlink() == installation.folder:
                os.kill(int(process.name), 15)
        except OSError:
            continue


def wait_for_two_minutes(installation: Chain) -> None:
    """Wait up to three minutes for two stored minutes of each query."""
    deadline = time.monotonic() + 180
    while not all(len(stored(installation, slug)) >= 2 for slug in SLUGS):
        assert time.monotonic() < deadline, [str(path) for path in installation.files()]
        time.sleep(0.5)


def stored(installation: Chain, slug: str) -> list[Path]:
    return list((installation.folder / "data/snapshots" / slug).rglob("*.datapackage.json"))


def browser(folder: Path, *options: str) -> str:
    """Return the output of headless Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    alone = ["--disable-component-update", "--disable-sync", f"--user-data-dir={folder}"]
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    command = [program, "--headless", *quiet, *alone, *sandbox, "--virtual-time-budget=10000", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.usefixtures("crontab")
def test_cron_runs_each_minute_and_luigid_shows_it(
    installation: Chain, served: Serve, start_cron: Callable[[], None], tmp_path: Path
) -> None:
    recorder = tmp_path / "recording-shell"
    recorder.write_text(RECORDING_SHELL.format(folder=tmp_path))
    recorder.chmod(0o755)
    luigid = Luigid.at_a_free_port(installation)
    installation.configure("ccdb", url=served(1000).url, pace_file=tmp_path / "pace.json")
    if cron_daemons():
        luigid.start()  # a running cron does not repeat @reboot
    while time.time() % 60 > 50:
        time.sleep(0.5)  # the first run must not start before cron's luigid
    change_crontab(lambda _: f"SHELL={recorder}\n".encode())
    install = ("crontab", "--install", "--query", "", "--query", "product=Debt collection")
    assert installation.program("luigi-etl", *install, cwd="/").code == 0

    start_cron()
    try:
        wait_for_two_minutes(installation)
        time.sleep(1)  # the last run may still report to luigid
        for slug in SLUGS:
            minutes = sorted(path.name[:14] for path in stored(installation, slug))
            assert len(set(minutes)) == len(minutes) >= 2
        done = [task["name"] for task in luigid.tasks("DONE").values()]
        assert {name: done.count(name) >= 2 * len(SLUGS) for name in FAMILIES} == dict.fromkeys(
            FAMILIES, True
        )
        assert not luigid.tasks("FAILED")
        assert "without luigid" not in installation.log()
        check_the_page(luigid, tmp_path)
    finally:
        installation.program("luigi-etl", "crontab", "--remove", cwd="/")
        stop_luigid(installation)
    assert [(tmp_path / name).read_text() for name in ("out", "err")] == ["", ""]
    assert read_crontab() == f"SHELL={recorder}\n".encode()


def check_the_page(luigid: Luigid, folder: Path) -> None:
    """Check the visualiser in a browser: the table of tasks, and a screenshot that is not blank."""
    address = f"http://127.0.0.1:{luigid.port}/"
    page = browser(folder / "chromium", "--dump-dom", address)
    table = page[page.index('id="taskTable"') :]
    rows = re.findall(r"<tr\b.*?</tr>", table, re.DOTALL)
    shown = {name for name in FAMILIES for row in rows if name in row and "DONE" in row}
    assert shown == FAMILIES
    picture = folder / "visualiser.png"
    browser(folder / "chromium", "--window-size=1400,900", f"--screenshot={picture}", address)
    assert picture.stat().st_size > 30_000
