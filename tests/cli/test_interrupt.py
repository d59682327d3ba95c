"""Interrupted commands."""

import subprocess
import sys

import pytest

HALF_MADE = """
import os, signal
from luigi_etl.cli import interrupt_on_signals

class HalfMade:
    def __init__(self):
        os.kill(os.getpid(), signal.{name})
        self.is_open = True

    def __del__(self):
        print(self.is_open)

interrupt_on_signals()
try:
    HalfMade()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted_constructor_prints_nothing(name: str) -> None:
    program = [sys.executable, "-c", HALF_MADE.format(name=name)]
    found = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    assert (found.stdout, found.stderr) == ("interrupted\n", "")
