"""The commands of `luigi-etl`: each is a module with `add_to` and calls the packages below."""

import argparse
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subcommands = argparse._SubParsersAction


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP act like Ctrl-C, all without output; an ignored signal (nohup) stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # An interrupted constructor leaves a half-made object, for example a cursor whose `__del__` then fails.
    sys.unraisablehook = lambda _: None
    signal.default_int_handler(number, frame)
