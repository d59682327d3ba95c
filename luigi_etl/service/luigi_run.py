"""Run Luigi in a child process: the parent survives to report the result."""

import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial

from luigi.retcodes import retcode, run_with_retcodes
from luigi.task_register import TaskClassNotFoundException

from luigi_etl.common.reason import bounded
from luigi_etl.common.terminal import one_line
from luigi_etl.service.luigi_command import run_task
from luigi_etl.service.luigid import find_problem
from luigi_etl.service.run_plan import Plan
from luigi_etl.service.run_result import RunResult
from luigi_etl.service.signals import Signals
from luigi_etl.tasks.startup import refuse_task

SIGNALLED = 128  # plus the signal's number, as in shells
logger = logging.getLogger("luigi_etl.unattended")


def run_luigi(plan: Plan, signals: Signals) -> RunResult:
    """Run a plan's task under luigid, or under the local scheduler if luigid is away or goes away."""
    if plan.root is None:
        return _run(partial(run_with_retcodes, plan.arguments), signals)  # it prints the reason
    run_locally = partial(run_task, plan.root, None)
    if plan.luigid is None:
        return _run(run_locally, signals)
    if problem := find_problem(plan.luigid):
        logger.info("%s; the run continues without luigid", problem)
        return _run(run_locally, signals)
    result = _run(partial(run_task, plan.root, plan.luigid), signals)
    lost = (retcode().not_run, retcode().unhandled_exception)  # the latter: Luigi can't read a response
    if result.exit_code in lost or result.error.startswith("luigid: "):
        logger.info("luigid at %s went away or lost the run; the run continues without luigid", plan.luigid)
        return _run(run_locally, signals)
    return result


def _run(luigi: Callable[[], object], signals: Signals) -> RunResult:
    """Run Luigi in a child process and log its output."""
    began = _now()
    if signals.received:  # before there was a process to pass it on to
        return _killed(signals.received, began)
    reader, writer = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(luigi, reader, writer))
    error = last = ""
    with signals.forwarding_to(process), os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
        os.close(writer)
        for line in filter(None, map(one_line, lines)):
            last = line
            logger.info("%s", line)
            if found := re.match(r"ERROR: |luigi: error: ", line):
                error = error or line[found.end() :]  # later errors are consequences
        process.join()
    code = process.exitcode or 0
    if code < 0:
        return _killed(-code, began)
    is_skipped = code == retcode().already_running
    return RunResult(began, _now(), code, bounded(error or last) or "it gave no reason", is_skipped)


def _killed(number: int, began: datetime) -> RunResult:
    error = f"killed by signal {number} ({signal.strsignal(number)})"
    return RunResult(began, _now(), SIGNALLED + number, error)


def _child(luigi: Callable[[], object], reader: int, writer: int) -> None:
    """Run Luigi with all output to `writer`, and exit with its code."""
    Signals.reset()
    os.close(reader)  # if the parent dies, a write must fail instead of waiting
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)
    try:
        sys.exit(luigi())  # type: ignore[arg-type]
    except TaskClassNotFoundException as error:
        refuse_task(error)


def _now() -> datetime:
    return datetime.now(timezone.utc)
