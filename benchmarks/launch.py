"""Runs a command and writes what it cost, from a process so small that nothing of it is counted.

    python -I -S launch.py REPORT COMMAND [ARGUMENT...]

The report is the seconds from start to end, those of the CPU (of the command and of all descendants that
were waited for), the most bytes of memory, and the exit code. The memory is the most that the first process
ever had, as the kernel tells it (of a child of a large process it tells the memory of that, too: hence this
small one); or, where it has descendants and that is more, what they all had together when they were looked
at. A page that several of them share counts once (the kernel's proportional set size).
"""

import os
import select
import sys
import time
from collections.abc import Iterator

MILLISECONDS_BETWEEN_LOOKS = 20


def main(report: str, command: list[str]) -> None:
    """Run the command."""
    began = time.monotonic()
    process = os.posix_spawn(command[0], command, os.environ)
    ended = select.poll()
    ended.register(os.pidfd_open(process), select.POLLIN)
    most = 0
    while not ended.poll(MILLISECONDS_BETWEEN_LOOKS):
        processes = list(_tree(process))
        if len(processes) > 1:
            most = max(most, sum(map(_memory, processes)))
    seconds = time.monotonic() - began
    _, status, usage = os.wait4(process, 0)
    most = max(most, usage.ru_maxrss * 1024)
    cost = (seconds, usage.ru_utime + usage.ru_stime, most, os.waitstatus_to_exitcode(status))
    with open(report, "w") as file:  # noqa: PTH123  # pathlib takes memory
        file.write(" ".join(map(str, cost)))


def _tree(process: int) -> Iterator[int]:
    yield process
    for child in _children(process):
        yield from _tree(child)


def _children(process: int) -> list[int]:
    """Return the children that the process's threads began; none of a process that has ended."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{process}/task"):  # noqa: PTH208
            with open(f"/proc/{process}/task/{thread}/children") as file:  # noqa: PTH123
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def _memory(process: int) -> int:
    """Return a process's share of the bytes of memory; none of one that has ended."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
