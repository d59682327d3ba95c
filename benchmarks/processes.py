"""Processes that are measured, and those that only have to be there; all are ended with what began them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

LAUNCHER = Path(__file__).with_name("launch.py")
LONGEST_RUN = 1800.0  # seconds
LONGEST_START = 300.0


class Command(NamedTuple):
    """A command, in its folder; the environment is all it has."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path


class Cost(NamedTuple):
    """What a run took: seconds by the clock and of the CPU, and the most bytes of memory."""

    wall: float
    cpu: float
    memory: int


class BenchmarkError(Exception):
    """What makes a measurement worth nothing."""


def measured(command: Command) -> Cost:
    """Run a command to its end, and return what it cost.

    Raises:
        BenchmarkError: it failed.

    """
    report, log = command.folder / "cost.txt", command.folder / "output.txt"
    report.unlink(missing_ok=True)
    os.sync()  # what others have yet to write to the disk is not this command's
    launcher: list[str | Path] = [sys.executable, "-I", "-S", LAUNCHER, report]
    with (
        log.open("wb") as output,
        _started(command, launcher, output) as process,
        suppress(subprocess.TimeoutExpired),
    ):
        process.wait(LONGEST_RUN)
    if not report.exists():
        raise BenchmarkError(f"{command.arguments} did not end:\n{log.read_text()[-3000:]}")
    wall, cpu, memory, code = report.read_text().split()
    if code != "0":
        raise BenchmarkError(f"{command.arguments} failed ({code}):\n{log.read_text()[-3000:]}")
    return Cost(float(wall), float(cpu), int(memory))


@contextmanager
def running(command: Command, log: Path, is_ready: Callable[[], bool]) -> Iterator[None]:
    """Have a server run, from when it is ready on; what it says goes to `log`.

    Raises:
        BenchmarkError: it does not become ready.

    """
    with log.open("wb") as output, _started(command, [], output) as process:
        ends = time.monotonic() + LONGEST_START
        while not is_ready():
            if process.poll() is not None or time.monotonic() > ends:
                raise BenchmarkError(f"{command.arguments} is not ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether someone listens at a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _started(
    command: Command, launcher: Sequence[str | Path], output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command as the leader of a group of its own, which is ended with the block."""
    process = subprocess.Popen(
        [*launcher, *command.arguments],
        env=command.environment,
        cwd=command.folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and its group: politely, then not."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
