"""Check cron: a daemon runs, and the crontab runs this checkout."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from luigi_etl.service.crontab.block import wrapper_command
from luigi_etl.service.crontab.checkout import find_checkout
from luigi_etl.service.crontab.marks import find_block
from luigi_etl.service.crontab.program import read_crontab
from luigi_etl.service.doctor.finding import Finding, failed, passed

CRON_DAEMONS = {"cron", "crond"}


def check_cron() -> Iterator[Finding]:
    """Check that a cron daemon runs, and that the crontab runs this checkout."""
    if not cron_daemons():
        yield failed(
            "no cron daemon runs: install and start it (Debian: apt install cron; systemctl start cron)"
        )
    yield _check_crontab()


def _check_crontab() -> Finding:
    checkout = find_checkout()
    block = find_block(read_crontab(), checkout)
    here = Path.cwd()
    if not os.environ.get("LUIGI_CONFIG_PATH") and here != checkout:
        return failed(
            f"the crontab's lines are for {checkout}, not for {here}: run this command there, or install "
            "luigi_etl from here"
        )
    jobs = [line for line in block.split(b"\n") if line.strip() and not line.lstrip().startswith(b"#")]
    command = os.fsencode(wrapper_command(checkout, sys.executable)) + b" "
    if not jobs:
        return failed(f"your crontab has no lines for {checkout}: run `luigi-etl crontab --install`")
    if not any(command in job for job in jobs):
        return failed(
            f"your crontab runs {checkout} with another Python than {sys.executable}: if you don't want "
            "that, run `luigi-etl crontab --install` again, with the same options"
        )
    return passed(f"your crontab runs {checkout}")


def cron_daemons() -> set[str]:
    """Return the names of the running cron daemons (Linux)."""
    names = set()
    for process in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # the process has ended
            names.add(os.fsdecode(process.read_bytes()).strip())
    return names & CRON_DAEMONS
