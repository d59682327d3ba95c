"""Progress reports of long work, and the progress bar on a terminal."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

_FORMAT = "{percentage:3.0f}%|{bar}| {n:,} of {total:,}, {rate_noinv_fmt}, {remaining} left"
COMPLAINTS = " complaints"
_LOGGERS = ("luigi-interface", "luigi_etl")

ProgressCallback = Callable[[int, int], None]  # numbers of complaints: done, expected


def ignore_progress(done: int, expected: int) -> None:
    """Ignore a progress report."""


class ProgressBar:
    """A progress bar with rate and remaining time; it draws only on a terminal."""

    def __init__(self, stream: TextIO | None = None, unit: str = COMPLAINTS) -> None:
        self._unit = unit
        self._stream = stream or sys.stderr
        self._shown = ExitStack()
        self._bar: tqdm[None] | None = None

    def show(self, done: int, expected: int) -> None:
        """Draw the bar; start a new one if fewer complaints are done than before."""
        if not self._stream.isatty() or expected <= 0:
            return
        done = min(done, expected)
        if self._bar is None or done < self._bar.n:
            self.clear()
            self._bar = self._shown.enter_context(_drawn(self._stream, self._unit, done, expected))
        self._bar.total = expected
        self._bar.update(done - self._bar.n)

    def clear(self) -> None:
        """Remove the bar, so that the next output starts on an empty line."""
        self._shown.close()
        self._bar = None


@contextmanager
def _drawn(stream: TextIO, unit: str, done: int, expected: int) -> "Iterator[tqdm[None]]":
    """Draw a tqdm bar; meanwhile log messages appear above it."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    class Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
        monitor_interval = 0  # no thread: Luigi forks

    with (
        Bar(
            initial=done,
            total=expected,
            unit=unit,
            unit_scale=True,
            bar_format=_FORMAT,
            leave=False,
            miniters=1,
            smoothing=0,  # the rate limit lets pages arrive in bursts: only the average predicts the end
            dynamic_ncols=True,
            file=stream,
        ) as bar,
        logging_redirect_tqdm(_console_loggers(), tqdm_class=Bar),
    ):
        yield bar


def _console_loggers() -> list[logging.Logger]:
    """Return the loggers that print: those with a console handler, and those without any handler."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    return [
        logger
        for logger in (logging.getLogger(), *loggers)
        if any(_is_console(handler) for handler in logger.handlers)
        or (logger in loggers and not logger.hasHandlers())
    ]


def _is_console(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in {sys.stdout, sys.stderr}
