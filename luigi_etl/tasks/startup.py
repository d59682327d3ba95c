"""The start of a program that runs Luigi: checks before the import, set-up after it.

Only this module changes the process: exit codes, warnings, log filters, the last line of a crash.
"""

import configparser
import logging
import os
import sys
import tempfile
import warnings
from types import TracebackType
from typing import NoReturn

from luigi_etl.common.errors import USAGE_ERROR
from luigi_etl.common.luigi_cfg import check_readable, describe_config_error, find_config_files
from luigi_etl.common.terminal import make_printable, one_line

EXIT_CODES = {
    "already_running": 10,
    "missing_data": 20,
    "not_run": 25,
    "task_failed": 30,
    "scheduling_error": 35,
    "unhandled_exception": 40,
}
# Settings of [core] that Luigi reads, but then reports as unread.
READ_BY_LUIGI = frozenset(
    (
        *("rpc_connect_timeout", "rpc_retry_attempts", "rpc_retry_wait", "rpc_log_retries"),
        *("default_scheduler_host", "default_scheduler_port", "default_scheduler_url"),
    )
)


def refuse(message: str, program: str = "luigi") -> NoReturn:
    """End the program with a usage error in one line, as argparse does."""
    sys.stderr.write(f"{program}: error: {one_line(message)}\n")
    sys.exit(USAGE_ERROR)


def refuse_task(error: Exception) -> NoReturn:
    """End the program with a usage error that names the unknown task and the nearest one."""
    refuse(" ".join(str(error).splitlines()[:2]))


def import_luigi() -> None:
    """Import Luigi, which reads luigi.cfg; end the program with one line if it can't be read."""
    _choose_temporary_folder()
    try:
        check_readable(find_config_files())
        import luigi  # noqa: F401
    except (configparser.Error, UnicodeDecodeError) as error:
        refuse(f"luigi.cfg can't be read ({describe_config_error(error)}): correct it", "luigi_etl")
    except ValueError as error:
        refuse(str(error), "luigi_etl")


def _choose_temporary_folder() -> None:
    """Set a temporary folder even if none is writable; otherwise the import of Luigi fails."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # not written to


def set_up() -> None:
    """Set up the process for our tasks; end it with one line if luigi.cfg can't be read."""
    from luigi_etl.tasks.luigi_log import OneLineFilter

    try:
        check_readable(find_config_files())
    except ValueError as error:
        refuse(str(error))
    _set_exit_codes()
    _ignore_false_warnings()
    logging.getLogger("luigi-interface").addFilter(OneLineFilter())
    logging.getLogger("luigi_etl").addFilter(make_printable)
    if "luigi.cmdline" in sys.modules:  # the command `luigi`, not a program that uses Luigi
        sys.excepthook = _end_in_one_line


def _set_exit_codes() -> None:
    """Set exit codes for failed runs, 0 by default in Luigi, unless the user set them."""
    from luigi.configuration import get_config

    configuration = get_config()
    for name, code in EXIT_CODES.items():
        if not configuration.has_option("retcode", name):
            configuration.set("retcode", name, str(code))


def _ignore_false_warnings() -> None:
    from luigi.parameter import UnconsumedParameterWarning

    names = "|".join(sorted(READ_BY_LUIGI))
    message = f"The configuration contains the parameter '({names})' .* by the task 'core'"
    warnings.filterwarnings("ignore", message, UnconsumedParameterWarning)


def _end_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End the command `luigi` with one line if its arguments or luigi.cfg are invalid."""
    from luigi.task_register import TaskClassNotFoundException

    from luigi_etl.tasks.luigi_log import find_config_problem

    if isinstance(error, TaskClassNotFoundException):
        refuse_task(error)
    if problem := find_config_problem(error):
        refuse(problem)
    if not issubclass(kind, KeyboardInterrupt):  # an interrupted program ends without a traceback
        sys.__excepthook__(kind, error, trace)
