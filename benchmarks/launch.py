"""A launcher with very little memory that runs a command and writes its cost to a file.

    python -I -S launch.py REPORT COMMAND [ARGUMENT...]

REPORT receives the wall time and the CPU time in seconds, the peak memory in bytes, the bytes written, and
the exit code. CPU time and bytes include all descendants that were waited for. Bytes are those of all write
calls, also to pipes. The kernel reports the peak memory of a single process.
For a child it includes the memory of the parent before `exec`, so this parent must stay small. For several
processes the peak is the largest sum of all samples: the anonymous memory of each process, with shared pages
counted once, plus the file pages of the process that maps the most.
"""

import os
import select
import sys
import time
from collections.abc import Iterator

SAMPLE_MILLISECONDS = 50  # more samples would take too much of a core from the command


def main(report: str, command: list[str]) -> None:
    """Run the command and write the report."""
    start, written = time.monotonic(), read_written(os.getpid())
    process = os.posix_spawn(command[0], command, os.environ)
    peak = _sample_memory(process)
    seconds = time.monotonic() - start
    _, status, usage = os.wait4(process, 0)
    peak = max(peak, usage.ru_maxrss * 1024)
    written = read_written(os.getpid()) - written
    cost = (seconds, usage.ru_utime + usage.ru_stime, peak, written, os.waitstatus_to_exitcode(status))
    with open(report, "w") as file:  # noqa: PTH123  # pathlib takes memory
        file.write(" ".join(map(str, cost)))


def _sample_memory(process: int) -> int:
    """Wait for a process; return the peak memory of its tree, 0 if it had no children."""
    end = select.poll()
    end.register(os.pidfd_open(process), select.POLLIN)
    peak = 0
    while not end.poll(SAMPLE_MILLISECONDS):
        processes = list(_tree(process))
        if len(processes) > 1:
            anonymous, files = zip(*map(_memory, processes))  # noqa: B905
            peak = max(peak, sum(anonymous) + max(files))
    return peak


def _tree(process: int) -> Iterator[int]:
    yield process
    for child in _children(process):
        yield from _tree(child)


def _children(process: int) -> list[int]:
    """Return the children of a process, or an empty list if it has ended."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208
            with open(f"/proc/{process}/task/{thread}/children") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def _memory(process: int) -> tuple[int, int]:
    """Return the share of anonymous memory and the file pages in bytes, or zeros if the process has ended."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:  # noqa: PTH123
            lines = [line.split() for line in file]
    except OSError:
        return 0, 0
    sizes = {words[0]: int(words[1]) * 1024 for words in lines if words[-1] == "kB"}
    return sizes["Pss_Anon:"], sizes["Rss:"] - sizes["Anonymous:"]


def read_written(process: int) -> int:
    """Return the bytes written by a process, by its descendants, and by those it waited for."""
    total = 0
    for each in _tree(process):
        with open(f"/proc/{each}/io") as file:  # noqa: PTH123
            total += int(next(line for line in file if line.startswith("wchar")).split()[1])
    return total


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
