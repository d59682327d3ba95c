"""`luigi-etl luigid`: run luigid as luigi.cfg describes it."""

import argparse
from typing import TYPE_CHECKING

from luigi_etl.cli import Subcommands
from luigi_etl.common.errors import USAGE_ERROR
from luigi_etl.common.terminal import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from luigi_etl.common.errors import EtlError
    from luigi_etl.service.luigid import Address

FAILED = 1


def add_to(commands: Subcommands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "luigid",
        help="run luigid as luigi.cfg describes it",
        description="Run luigid at [core] scheduler_host and scheduler_port, loopback only, until it is told "
        "to end. Its log and, over restarts, its state are in [service] folder.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--unless-running", action="store_true", help="do nothing if luigid answers there")


def run(options: argparse.Namespace) -> int:
    """Run luigid until a signal ends it."""
    from luigi_etl.common.errors import EtlError
    from luigi_etl.service.luigid import address, answers
    from luigi_etl.tasks.config import service

    luigid, folder = address(), service().path
    if not options.unless_running:
        return _run(luigid, folder)
    if not answers(luigid):
        try:
            return _run(luigid, folder)
        except EtlError as error:
            if not answers(luigid):  # otherwise another started a moment before
                return _fail(error)
    _remember_success()
    return 0


def _run(luigid: "Address", folder: "Path") -> int:
    from luigi_etl.service.luigid_server import run_luigid

    print(f"starting luigid at {luigid}; its log is {folder}/luigid.log", flush=True)
    run_luigid(luigid, folder)
    return 0


def _fail(error: "EtlError") -> int:
    """Report why luigid can't run, once as long as that stays so: cron tries every ten minutes."""
    import msgspec

    from luigi_etl.common.job_state import Job
    from luigi_etl.service.notify import deliver
    from luigi_etl.tasks.config import service

    job = Job("luigid", service().path)
    memory, reason = job.read_state(), one_line(str(error))
    if memory.first_error != reason:
        deliver(f"{reason}; until then runs go without luigid", service().notify)
    job.write_state(msgspec.structs.replace(memory, failures=memory.failures + 1, first_error=reason))
    return USAGE_ERROR if isinstance(error, ValueError) else FAILED


def _remember_success() -> None:
    import msgspec

    from luigi_etl.common.job_state import Job
    from luigi_etl.tasks.config import service

    job = Job("luigid", service().path)
    memory = job.read_state()
    if memory.failures:
        job.write_state(msgspec.structs.replace(memory, failures=0, first_error=""))
