"""The commands of `luigi-etl`: each is a module with `add_to` and calls the packages below."""

import argparse
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subcommands = argparse._SubParsersAction


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP act like Ctrl-C; an ignored signal (nohup) stays ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
