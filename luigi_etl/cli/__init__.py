"""The commands of `luigi-etl`, each a module with `add_to`; what they do is in the modules beneath."""

import argparse
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subcommands = argparse._SubParsersAction


def interrupt_when_told_to_end() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does; one that is ignored (nohup) stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
