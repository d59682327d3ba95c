"""Measured processes and background servers; both are stopped with the benchmark."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAUNCHER = Path(__file__).with_name("launch.py")
RUN_TIMEOUT = 1800.0  # seconds
START_TIMEOUT = 300.0


class Command(NamedTuple):
    """A command with its working directory and its complete environment."""

    arguments: Sequence[str | Path]
    environment: Mapping[str, str]
    folder: Path


class Cost(NamedTuple):
    """The cost of a run: wall and CPU time in seconds, peak memory and written data in bytes."""

    wall: float
    cpu: float
    memory: int
    written: int


class BenchmarkError(Exception):
    """A failure that makes the measurement invalid."""


def measure(command: Command, timeout: float = RUN_TIMEOUT) -> Cost:
    """Run a command to its end and return its cost.

    Raises:
        BenchmarkError: the command failed or timed out.

    """
    report, log = command.folder / "cost.txt", command.folder / "output.txt"
    report.unlink(missing_ok=True)
    os.sync()  # otherwise the command waits for earlier writes of other processes
    launcher: list[str | Path] = [sys.executable, "-I", "-S", LAUNCHER, report]
    with (
        log.open("wb") as output,
        _started(command, launcher, output) as process,
        suppress(subprocess.TimeoutExpired),
    ):
        process.wait(timeout)
    if not report.exists():
        raise BenchmarkError(f"{command.arguments} did not finish:\n{log.read_text()[-3000:]}")
    wall, cpu, memory, written, code = report.read_text().split()
    if code != "0":
        raise BenchmarkError(f"{command.arguments} failed ({code}):\n{log.read_text()[-3000:]}")
    return Cost(float(wall), float(cpu), int(memory), int(written))


@contextmanager
def running(command: Command, log: Path, is_ready: Callable[[], bool]) -> Iterator[None]:
    """Run a server during the block, which starts when the server is ready.

    The server's output goes to `log`.

    Raises:
        BenchmarkError: the server does not become ready.

    """
    with log.open("wb") as output, _started(command, [], output) as process:
        deadline = time.monotonic() + START_TIMEOUT
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{command.arguments} is not ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield


def exit_on_signals() -> None:
    """Exit by an exception on a signal, which also stops the servers."""
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, _exit)


def find_free_port() -> int:
    """Return a free port; another process may take it before the caller does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Return whether a server listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _exit(number: int, _: object) -> NoReturn:
    for stop_signal in STOP_SIGNALS:  # do not interrupt the cleanup
        signal.signal(stop_signal, signal.SIG_IGN)
    sys.exit(128 + number)


@contextmanager
def _started(
    command: Command, launcher: Sequence[str | Path], output: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a new process group and stop the group after the block."""
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
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process with SIGTERM, then kill the rest of its group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
