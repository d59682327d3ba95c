"""The client of luigid for unattended runs; it trusts only a luigid of this user or root.

Luigi's own client runs tasks that any program names, and fails with a traceback at invalid responses.
"""

import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.execution_summary import LuigiStatusCode
from luigi.interface import PidLockAlreadyTakenExit, core
from luigi.retcodes import retcode
from luigi.rpc import RemoteScheduler, RPCError
from luigi.setup_logging import InterfaceLogging
from luigi.task_status import DONE
from luigi.worker import Worker

from luigi_etl.service.listeners import Listener, find_foreign_listener
from luigi_etl.service.luigid import Address


def run_under(luigid: Address, arguments: Sequence[str]) -> int:
    """Run a command line under luigid; return the exit code of Luigi's own command."""
    _bypass_proxy(luigid.host)
    factory = _Factory(luigid)
    with CmdlineParser.global_instance(arguments) as parser:
        codes = retcode()
        try:
            task = parser.get_task_obj()
            result = luigi.build([task], factory, detailed_summary=True, no_lock=core().no_lock)
        except PidLockAlreadyTakenExit:
            return int(codes.already_running)
        except Exception:
            InterfaceLogging.setup(core())  # Luigi may not have set it up yet
            logging.getLogger("luigi-interface").exception("Uncaught exception in luigi")
            return int(codes.unhandled_exception)
    code = max(_code_of_status(result.status, codes), codes.already_running * factory.luigid.is_elsewhere)
    return code or (0 if task.task_id in factory.luigid.done else codes.not_run)


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


class LuigidClient:
    """A client of luigid that raises RPCError, as if luigid were away, if another user owns luigid.

    `done`: the tasks reported as done. `is_elsewhere`: another worker runs some of our tasks.
    """

    def __init__(self, url: str, luigid: Address) -> None:
        self._scheduler = RemoteScheduler(url)
        self._luigid = luigid
        self.done: set[str] = set()
        self.is_elsewhere = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of Luigi's client with checks around it."""
        return functools.partial(self._call, name)

    def add_task(self, *args: Any, **kwargs: Any) -> Any:
        """Report a task's status."""
        if kwargs.get("status") == DONE:
            self.done.add(kwargs["task_id"])
        return self._call("add_task", *args, **kwargs)

    def get_work(self, *args: Any, **kwargs: Any) -> Any:
        """Request the next task."""
        work = self._call("get_work", *args, **kwargs)
        if isinstance(work, dict) and work.get("task_id") is None:
            others = (
                task for task in work.get("running_tasks", ()) if task["worker"] != kwargs.get("worker")
            )
            self.is_elsewhere = self.is_elsewhere or any(others)
        return work

    def close(self) -> None:
        """Close the connection."""
        self._scheduler.close()

    def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._check_owner()  # before a request is sent
        try:
            response = getattr(self._scheduler, name)(*args, **kwargs)
        except (OSError, HTTPException) as error:  # a cut connection
            raise RPCError("no response", error) from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RPCError("the response is not luigid's", error) from error
        self._check_owner()  # luigid may have been replaced meanwhile
        return response

    def _check_owner(self) -> None:
        try:
            foreign = _find_foreign_listener(self._luigid.host, self._luigid.port, int(time.monotonic()))
        except OSError as error:
            raise RPCError("its owner is unknown", error) from error
        if foreign:
            problem = f"another user's program (uid {foreign.uid}) listens there"
            raise RPCError(problem)


@functools.lru_cache(maxsize=1)
def _find_foreign_listener(host: str, port: int, _second: int) -> Listener | None:
    """Check at most once a second: with many connections the kernel's list is long."""
    return find_foreign_listener(host, port)


class _Factory:
    """A factory of the scheduler's client and the worker, as `luigi.build` takes it."""

    luigid: LuigidClient

    def __init__(self, address: Address) -> None:
        self._address = address

    def create_remote_scheduler(self, url: str) -> LuigidClient:
        """Return the client of luigid."""
        self.luigid = LuigidClient(url, self._address)
        return self.luigid

    def create_worker(
        self, scheduler: LuigidClient, worker_processes: int, assistant: bool = False
    ) -> Worker:
        """Return Luigi's worker."""
        return Worker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)
