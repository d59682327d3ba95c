"""`luigi-etl crontab`: what cron is to run, printed, or put into the user's crontab."""

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands

if TYPE_CHECKING:
    from pathlib import Path

    from luigi_etl.service.crontab.block import Jobs

logger = logging.getLogger("luigi_etl")


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "crontab",
        help="print what cron is to run, or put it into your crontab",
        description="Print what cron is to run: the chain each minute, with --sync what keeps the database "
        "up to date, the clean-up each night, and luigid. With --install it is put into your crontab, in the "
        "place of what was put there before; no other line of it changes.",
    )
    parser.set_defaults(run=run)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--install", action="store_true", help="put it into your crontab")
    what.add_argument("--remove", action="store_true", help="take it out of your crontab")
    add = parser.add_argument
    add(
        "--query",
        action="append",
        default=[],
        metavar="QUERY",
        help="which complaints (default: all); repeat it for several queries, each with files of its own",
    )
    add(
        "--limit",
        type=int,
        metavar="N",
        help="the newest so many; 0 = every one (default: the pipeline's); not of the sync",
    )
    add("--sync", action="store_true", help="keep the database up to date, too: SyncComplaints each minute")
    add("--without-luigid", action="store_true", help="leave luigid to systemd (cron/luigid.service)")


def run(options: argparse.Namespace) -> int:
    """Print, install or remove the block."""
    from luigi_etl.service.crontab.block import block
    from luigi_etl.service.crontab.checkout import find_checkout

    checkout = find_checkout()
    if options.remove:
        _remove(checkout)
        return 0
    jobs = _jobs(options, checkout)
    if options.install:
        _install(jobs)
    else:
        _write(block(jobs))
    return 0


def _jobs(options: argparse.Namespace, checkout: "Path") -> "Jobs":
    from luigi_etl.api.query import parse_query
    from luigi_etl.service.crontab.block import Jobs

    if options.limit is not None and options.limit < 0:
        raise ValueError("--limit must be 0 or more")
    queries = [parse_query(text) for text in options.query or [""]]
    for note in (note for query in queries for note in query.notes):
        logger.warning("query: %s", note)
    spelt = dict.fromkeys(map(str, queries))
    return Jobs(
        checkout,
        sys.executable,
        tuple(spelt),
        options.limit,
        with_luigid=not options.without_luigid,
        with_sync=options.sync,
    )


def _install(jobs: "Jobs") -> None:
    from luigi_etl.service.crontab.block import block
    from luigi_etl.service.crontab.change import change_crontab
    from luigi_etl.service.crontab.marks import with_block

    new = block(jobs)
    is_changed = change_crontab(lambda before: with_block(before, jobs.checkout, new))
    done = "put into your crontab" if is_changed else "in your crontab already"
    _say(f"what cron runs in {jobs.checkout} is {done}; see it with `crontab -l`")
    if jobs.with_luigid:
        _say("luigid starts at the next boot, or within ten minutes")


def _remove(checkout: "Path") -> None:
    from luigi_etl.service.crontab.change import change_crontab
    from luigi_etl.service.crontab.marks import without_block

    if change_crontab(lambda before: without_block(before, checkout)):
        _say(f"what cron ran in {checkout} is out of your crontab; a luigid that runs goes on")
    else:
        _say(f"there is nothing of {checkout} in your crontab")


def _say(line: str) -> None:
    _write(os.fsencode(line) + b"\n")


def _write(content: bytes) -> None:
    """Write to standard output; as bytes, because a path need not be text in the user's encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
