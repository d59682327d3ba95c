"""Check cron: a daemon runs, and the crontab runs this checkout."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from luigi_etl.service.crontab.block import call
from luigi_etl.service.crontab.checkout import find_checkout
from luigi_etl.service.crontab.marks import installed_block
from luigi_etl.service.crontab.program import read_crontab
from luigi_etl.service.doctor.finding import Finding, failed, passed

CRON_DAEMONS = {"cron", "crond"}


def check_cron() -> Iterator[Finding]:
    """Check that a cron daemon runs, and that the crontab runs this checkout."""
    if not cron_daemons():
        yield failed(
            "no cron daemon runs: install and start it (Debian: apt install cron; systemctl start cron)"
        )
    checkout = find_checkout()
    block = installed_block(read_crontab(), checkout)
    here = Path.cwd()
    if not os.environ.get("LUIGI_CONFIG_PATH") and here != checkout:
        yield failed(
            f"cron's lines are for {checkout}, not for {here}: run this there, or install luigi_etl from here"
        )
        return
    jobs = [line for line in block.split(b"\n") if line.strip() and not line.lstrip().startswith(b"#")]
    wanted = os.fsencode(call(checkout, sys.executable)) + b" "
    if not jobs:
        yield failed(f"your crontab holds nothing for {checkout}: run `luigi-etl crontab --install`")
    elif not any(wanted in job for job in jobs):
        yield failed(
            f"your crontab runs {checkout} with another Python than {sys.executable}: if that is not "
            "meant, run `luigi-etl crontab --install` (with your --query again)"
        )
    else:
        yield passed(f"your crontab runs {checkout}")


def cron_daemons() -> set[str]:
    """Return the names of the cron daemons that run (Linux)."""
    names = set()
    for process in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            names.add(os.fsdecode(process.read_bytes()).strip())
    return names & CRON_DAEMONS
