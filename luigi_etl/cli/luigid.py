"""`luigi-etl luigid`: run luigid with the settings of luigi.cfg."""

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
        help="run luigid with the settings of luigi.cfg",
        description="Run luigid at [core] scheduler_host and scheduler_port, loopback only, until a signal "
        "ends it. The [service] folder has its log, and its state, which survives restarts.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--unless-running", action="store_true", help="do nothing if luigid already runs there"
    )


def run(options: argparse.Namespace) -> int:
    """Run luigid until a signal ends it."""
    from luigi_etl.common.errors import EtlError
    from luigi_etl.service.luigid import is_usable, read_address
    from luigi_etl.tasks.config import service

    luigid, folder = read_address(), service().path
    if not options.unless_running:
        return _run(luigid, folder)
    if not is_usable(luigid):
        try:
            return _run(luigid, folder)
        except EtlError as error:
            if not is_usable(luigid):  # otherwise another luigid started a moment ago
                return _fail(error)
    _forget_failures()
    return 0


def _run(luigid: "Address", folder: "Path") -> int:
    from luigi_etl.service.luigid_server import run_luigid

    print(f"starting luigid at {luigid}; its log is {folder}/luigid.log", flush=True)
    run_luigid(luigid, folder)
    return 0


def _fail(error: "EtlError") -> int:
    """Report an error once while it stays the same: cron tries every ten minutes."""
    import msgspec

    from luigi_etl.common.job_state import Job
    from luigi_etl.service.notify import deliver
    from luigi_etl.tasks.config import service

    job = Job("luigid", service().path)
    state, reason = job.read_state(), one_line(str(error))
    if state.first_error != reason:
        deliver(f"{reason}; until then runs go without luigid", service().notify)
    job.write_state(msgspec.structs.replace(state, failures=state.failures + 1, first_error=reason))
    return USAGE_ERROR if isinstance(error, ValueError) else FAILED


def _forget_failures() -> None:
    import msgspec

    from luigi_etl.common.job_state import Job
    from luigi_etl.tasks.config import service

    job = Job("luigid", service().path)
    state = job.read_state()
    if state.failures:
        job.write_state(msgspec.structs.replace(state, failures=0, first_error=""))
