"""A run of a task as by Luigi's command, with its exit codes, under luigid or the local scheduler.

Luigi's own command reads its command line three times, and runs tasks that any program names to luigid.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.execution_summary import LuigiStatusCode
from luigi.interface import PidLockAlreadyTakenExit, core
from luigi.retcodes import retcode
from luigi.scheduler import Scheduler
from luigi.setup_logging import InterfaceLogging
from luigi.task_status import DONE
from luigi.worker import Worker

from luigi_etl.service.luigid import Address
from luigi_etl.service.luigid_client import LuigidClient


def run_command(arguments: Sequence[str], luigid: Address | None) -> int:
    """Run a command line of Luigi as `run_task` does; it may also end the program as Luigi does."""
    with CmdlineParser.global_instance(arguments) as parser:
        return run_task(parser.get_task_obj(), luigid)


def run_task(task: luigi.Task, luigid: Address | None) -> int:
    """Run a task within its command line's context; return the exit code of Luigi's own command.

    `luigid` is None for the local scheduler.
    """
    codes, factory = retcode(), _Factory(luigid)
    if luigid:
        _bypass_proxy(luigid.host)
    try:
        result = luigi.build(
            [task],
            factory,
            detailed_summary=True,
            local_scheduler=luigid is None,
            no_lock=core().no_lock,
        )
    except PidLockAlreadyTakenExit:
        return int(codes.already_running)
    except Exception:
        InterfaceLogging.setup(core())  # Luigi may not have set it up yet
        logging.getLogger("luigi-interface").exception("Uncaught exception in luigi")
        return int(codes.unhandled_exception)
    scheduler = factory.scheduler
    code = max(_code_of_status(result.status, codes), codes.already_running * scheduler.is_elsewhere)
    return code or (0 if task.task_id in scheduler.done else codes.not_run)


def _bypass_proxy(host: str) -> None:
    """Connect to luigid directly: the environment's proxy is for the API."""
    unproxied = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if unproxied != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (unproxied, host)))


def _code_of_status(status: LuigiStatusCode, codes: retcode) -> int:
    of_status = {
        LuigiStatusCode.FAILED: codes.task_failed,
        LuigiStatusCode.FAILED_AND_SCHEDULING_FAILED: max(codes.task_failed, codes.scheduling_error),
        LuigiStatusCode.SCHEDULING_FAILED: codes.scheduling_error,
        LuigiStatusCode.NOT_RUN: codes.not_run,
        LuigiStatusCode.MISSING_EXT: codes.missing_data,
    }
    return of_status.get(status, 0)


class _RecordingScheduler:
    """A scheduler that records the tasks that are done, and whether another worker runs some of them."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self.done: set[str] = set()
        self.is_elsewhere = False

    def __getattr__(self, name: str) -> Any:
        """Return an unchanged method of the scheduler."""
        return getattr(self._scheduler, name)

    def add_task(self, *args: Any, **kwargs: Any) -> Any:
        """Report a task's status."""
        if kwargs.get("status") == DONE:
            self.done.add(kwargs["task_id"])
        return self._scheduler.add_task(*args, **kwargs)

    def get_work(self, *args: Any, **kwargs: Any) -> Any:
        """Request the next task."""
        work = self._scheduler.get_work(*args, **kwargs)
        if isinstance(work, dict) and work.get("task_id") is None:
            others = (
                task for task in work.get("running_tasks", ()) if task["worker"] != kwargs.get("worker")
            )
            self.is_elsewhere = self.is_elsewhere or any(others)
        return work


class _Factory:
    """A factory of the scheduler and the worker, as `luigi.build` takes it."""

    scheduler: _RecordingScheduler

    def __init__(self, luigid: Address | None) -> None:
        self._luigid = luigid

    def create_local_scheduler(self) -> _RecordingScheduler:
        """Return Luigi's local scheduler."""
        self.scheduler = _RecordingScheduler(Scheduler(prune_on_get_work=True, record_task_history=False))
        return self.scheduler

    def create_remote_scheduler(self, url: str) -> _RecordingScheduler:
        """Return the client of luigid."""
        assert self._luigid  # noqa: S101  # for mypy
        self.scheduler = _RecordingScheduler(LuigidClient(url, self._luigid))
        return self.scheduler

    def create_worker(
        self, scheduler: _RecordingScheduler, worker_processes: int, assistant: bool = False
    ) -> Worker:
        """Return Luigi's worker."""
        return Worker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)
