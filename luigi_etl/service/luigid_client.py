"""Luigi's client of luigid for unattended runs: it trusts only a luigid of this user or root.

Luigi would run the tasks that another user's program names, and end with a traceback at other answers.
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

from luigi_etl.service.listeners import Listener, foreign_listener
from luigi_etl.service.luigid import Address


def run_under(luigid: Address, arguments: Sequence[str]) -> int:
    """Run Luigi's command line under luigid; return the exit code that Luigi's own command would end with."""
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
            InterfaceLogging.setup(core())  # the error may be earlier than Luigi's own call
            logging.getLogger("luigi-interface").exception("Uncaught exception in luigi")
            return int(codes.unhandled_exception)
    code = max(_code_of_status(result.status, codes), codes.already_running * factory.luigid.is_elsewhere)
    return code or (0 if task.task_id in factory.luigid.done else codes.not_run)


def _bypass_proxy(host: str) -> None:
    """Let Luigi ask luigid directly: the environment's proxy is for the API."""
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


class OwnLuigid:
    """Luigi's client of luigid; it fails with RPCError, as if luigid were away, where luigid is not ours.

    `done` are the tasks that were reported as done; `is_elsewhere`: another worker runs some of ours.
    """

    def __init__(self, url: str, luigid: Address) -> None:
        self._scheduler = RemoteScheduler(url)
        self._luigid = luigid
        self.done: set[str] = set()
        self.is_elsewhere = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return a method of Luigi's client, with the checks around it."""
        return functools.partial(self._ask, name)

    def add_task(self, *args: Any, **kwargs: Any) -> Any:
        """Report a task's status."""
        if kwargs.get("status") == DONE:
            self.done.add(kwargs["task_id"])
        return self._ask("add_task", *args, **kwargs)

    def get_work(self, *args: Any, **kwargs: Any) -> Any:
        """Ask which task is next."""
        work = self._ask("get_work", *args, **kwargs)
        if isinstance(work, dict) and work.get("task_id") is None:
            others = (one for one in work.get("running_tasks", ()) if one["worker"] != kwargs.get("worker"))
            self.is_elsewhere = self.is_elsewhere or any(others)
        return work

    def close(self) -> None:
        """Close the connection."""
        self._scheduler.close()

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self._check_owner()  # before anything is sent
        try:
            answer = getattr(self._scheduler, name)(*args, **kwargs)
        except (OSError, HTTPException) as error:  # of the standard library's client, a cut connection
            raise RPCError("no answer", error) from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RPCError("the answer is not luigid's", error) from error
        self._check_owner()  # before the answer is believed: luigid may have been away meanwhile
        return answer

    def _check_owner(self) -> None:
        try:
            foreign = _foreign_listener(self._luigid.host, self._luigid.port, int(time.monotonic()))
        except OSError as error:
            raise RPCError("its owner is unknown", error) from error
        if foreign:
            problem = f"another user's program (uid {foreign.uid}) listens there"
            raise RPCError(problem)


@functools.lru_cache(maxsize=1)
def _foreign_listener(host: str, port: int, _second: int) -> Listener | None:
    """Look once a second: the kernel's list is long on a machine with many connections."""
    return foreign_listener(host, port)


class _Factory:
    """What Luigi makes its scheduler and its worker by."""

    luigid: OwnLuigid

    def __init__(self, address: Address) -> None:
        self._address = address

    def create_remote_scheduler(self, url: str) -> OwnLuigid:
        """Return the client of luigid."""
        self.luigid = OwnLuigid(url, self._address)
        return self.luigid

    def create_worker(self, scheduler: OwnLuigid, worker_processes: int, assistant: bool = False) -> Worker:
        """Return Luigi's worker."""
        return Worker(scheduler=scheduler, worker_processes=worker_processes, assistant=assistant)
