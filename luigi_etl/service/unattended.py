"""An unattended run: one at a time, recorded, and silent unless a person must act."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timezone

import msgspec
from luigi.retcodes import retcode

from luigi_etl import import_tasks
from luigi_etl.common.errors import EtlError
from luigi_etl.common.job_state import BusyError, JobState
from luigi_etl.common.log_files import bounded_log
from luigi_etl.service.alerts import send_alert
from luigi_etl.service.luigi_run import run_luigi
from luigi_etl.service.recording import record_result
from luigi_etl.service.run_plan import Plan, planning
from luigi_etl.service.signals import Signals

logger = logging.getLogger("luigi_etl.unattended")


def run_unattended(arguments: Sequence[str]) -> int:
    """Run a task, given as on Luigi's command line, unless a run of its query is under way.

    Returns Luigi's exit code (10: skipped), or 128 plus the number of the signal that ended the run.

    Raises:
        StorageError: the `[service]` folder can't be used.

    """
    import_tasks()
    with planning(("--module", "luigi_etl", *arguments)) as plan:
        return _run_planned(plan)


def _run_planned(plan: Plan) -> int:
    minute, slug = (plan.task.timestamp, plan.task.slug) if plan.task else (None, "")
    try:
        with plan.job.exclusive(minute, slug), bounded_log(logger, plan.log), Signals() as signals:
            return _run_locked(plan, signals)
    except BusyError as error:
        _record_skip(plan, error)
        return int(retcode().already_running)


def _run_locked(plan: Plan, signals: Signals) -> int:
    """Run Luigi; then record the result, send alerts, and write metrics."""
    clock, began = time.monotonic(), datetime.now(timezone.utc)
    result = run_luigi(plan, signals)
    seconds = round(time.monotonic() - clock, 3)
    logger.info("exit code %d after %.1f s", result.exit_code, seconds)
    state = msgspec.structs.replace(plan.job.read_state(), seconds=seconds)
    if plan.task:
        state = record_result(plan.task, state, result, began)
    state = send_alert(plan.job, plan.label(plan.job), state, result, plan.notify)
    if plan.is_readable:
        _write_metrics(plan, state)
        earlier = plan.unreadable_job.read_state()
        if result.is_success and earlier.failures:  # until now this command line could not be read
            send_alert(plan.unreadable_job, plan.label(plan.unreadable_job), earlier, result, plan.notify)
    return result.exit_code


def _write_metrics(plan: Plan, state: JobState) -> None:
    if plan.metrics is None:
        return
    from luigi_etl.service.metrics import write_metrics

    try:
        write_metrics(plan.metrics, plan.job.name, state)
    except EtlError as error:
        logger.info("no metrics: %s", error)


def _record_skip(plan: Plan, busy: BusyError) -> None:
    """Record a skipped minute, unless the other run is of the same minute."""
    with bounded_log(logger, plan.log):
        logger.info("skipped: %s", busy)
    began = busy.state.began
    if plan.task and not plan.task.is_on_record:
        minute = plan.task.timestamp.replace(tzinfo=timezone.utc)
        if began is None or began.replace(second=0, microsecond=0) != minute:
            plan.task.record("skipped", str(busy))
