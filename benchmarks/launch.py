"""Runs a command and writes what it cost, from a process so small that nothing of it is counted.

    python -I -S launch.py REPORT COMMAND [ARGUMENT...]

The report is the seconds from start to end, those of the CPU (of the command and of all descendants that
were waited for), the most bytes of memory, and the exit code. Of one process the memory is the most it ever
had, as the kernel tells it (of a child of a large process it tells the memory of that, too: hence this small
one). Where there are several it is the most they had together whenever they were looked at: what is theirs
alone, pages that some of them share counted once, and the most that one of them has of files.
"""

import os
import select
import sys
import time
from collections.abc import Iterator

MILLISECONDS_BETWEEN_LOOKS = 50  # oftener it would cost what is measured a good part of a core


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
            own, files = zip(*map(_memory, processes))  # noqa: B905
            most = max(most, sum(own) + max(files))
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


def _memory(process: int) -> tuple[int, int]:
    """Return a process's share of the bytes that are no file's, and those of files; none after its end."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:  # noqa: PTH123
            lines = [line.split() for line in file]
    except OSError:
        return 0, 0
    sizes = {words[0]: int(words[1]) * 1024 for words in lines if words[-1] == "kB"}
    return sizes["Pss_Anon:"], sizes["Rss:"] - sizes["Anonymous:"]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
