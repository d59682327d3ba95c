"""Pass signals that end a program on to the process that does its work."""

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """A handler of the signals that end a program: the run ends, and the parent reports it.

    An ignored signal (nohup) stays ignored, here and in the run.
    """

    def __init__(self) -> None:
        self.received = 0
        self._group = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        found = {number: signal.getsignal(number) for number in ENDING}
        self._before = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _forward(self, number: int, _: object) -> None:
        self.received = self.received or number
        if self._group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, number)

    @contextlib.contextmanager
    def forwarding_to(self, process: BaseProcess) -> Iterator[None]:
        """Start a process in a new process group, and pass signals on to that group."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until both processes are ready
        try:
            process.start()
            self._group = process.pid or 0
            with contextlib.suppress(OSError):  # the child has set it, or has ended
                os.setpgid(self._group, self._group)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        try:
            yield
        finally:
            self._group = 0

    @staticmethod
    def reset() -> None:
        """Restore the default action of the signals in the child process."""
        os.setpgid(0, 0)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
