"""Signals that end a program, passed on to the process that does its work."""

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """Passes on to the run the signals that end a program, so that its end is reported as any other.

    A signal that is ignored (nohup) stays ignored, here and in the run.
    """

    def __init__(self) -> None:
        self.received = 0
        self._group = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        found = {number: signal.getsignal(number) for number in ENDING}
        self._before = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, _: object) -> None:
        self.received = self.received or number
        if self._group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, number)

    @contextlib.contextmanager
    def passed_on_to(self, process: BaseProcess) -> Iterator[None]:
        """Start a process in a group of its own, and pass signals on to it and to all that it starts."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # one that comes now waits until both are ready
        try:
            process.start()
            self._group = process.pid or 0
            with contextlib.suppress(OSError):  # it has its group already, or has ended
                os.setpgid(self._group, self._group)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            yield
        finally:
            self._group = 0

    @staticmethod
    def accept() -> None:
        """Let signals end the process that was started."""
        os.setpgid(0, 0)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
