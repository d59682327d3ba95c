"""`luigi-etl crontab`: print cron's lines, or change them in the user's crontab."""

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
        help="print the lines for cron, or put them into your crontab",
        description="Print the lines for cron: the chain each minute, the sync of the database (with "
        "--sync), the nightly clean-up, and luigid. With --install, put them into your crontab, where they "
        "replace earlier ones; your other lines do not change.",
    )
    parser.set_defaults(run=run)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--install", action="store_true", help="put the lines into your crontab")
    action.add_argument("--remove", action="store_true", help="remove the lines from your crontab")
    add = parser.add_argument
    add(
        "--query",
        action="append",
        default=[],
        metavar="QUERY",
        help="which complaints (default: all); repeat it for more queries, each with its own files",
    )
    add(
        "--limit",
        type=int,
        metavar="N",
        help="the newest N complaints, 0 = all (default: the pipeline's); does not limit the sync",
    )
    add("--sync", action="store_true", help="also keep the database up to date: SyncComplaints each minute")
    add("--without-luigid", action="store_true", help="leave luigid to systemd (cron/luigid.service)")


def run(options: argparse.Namespace) -> int:
    """Print, install or remove the block."""
    from luigi_etl.service.crontab.block import render_block
    from luigi_etl.service.crontab.checkout import find_checkout

    checkout = find_checkout()
    if options.remove:
        _remove(checkout)
        return 0
    jobs = _read_jobs(options, checkout)
    if options.install:
        _install(jobs)
    else:
        _write(render_block(jobs))
    return 0


def _read_jobs(options: argparse.Namespace, checkout: "Path") -> "Jobs":
    from luigi_etl.api.query import parse_query
    from luigi_etl.service.crontab.block import Jobs

    if options.limit is not None and options.limit < 0:
        raise ValueError("--limit must be 0 or more")
    queries = [parse_query(text) for text in options.query or [""]]
    for note in (note for query in queries for note in query.notes):
        logger.warning("query: %s", note)
    unique = dict.fromkeys(map(str, queries))
    return Jobs(
        checkout,
        sys.executable,
        tuple(unique),
        options.limit,
        with_luigid=not options.without_luigid,
        with_sync=options.sync,
    )


def _install(jobs: "Jobs") -> None:
    from luigi_etl.service.crontab.block import render_block
    from luigi_etl.service.crontab.change import change_crontab
    from luigi_etl.service.crontab.marks import put_block

    block = render_block(jobs)
    has_changed = change_crontab(lambda before: put_block(before, jobs.checkout, block))
    state = "now in your crontab" if has_changed else "already in your crontab"
    _print_line(f"the lines for {jobs.checkout} are {state}; see them with `crontab -l`")
    if jobs.with_luigid:
        _print_line("luigid starts at the next boot, or within ten minutes")


def _remove(checkout: "Path") -> None:
    from luigi_etl.service.crontab.change import change_crontab
    from luigi_etl.service.crontab.marks import remove_block

    if change_crontab(lambda before: remove_block(before, checkout)):
        _print_line(f"the lines for {checkout} were removed from your crontab; a running luigid continues")
    else:
        _print_line(f"your crontab has no lines for {checkout}")


def _print_line(line: str) -> None:
    _write(os.fsencode(line) + b"\n")


def _write(content: bytes) -> None:
    """Write bytes to standard output, because a path may not be text in the user's encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
