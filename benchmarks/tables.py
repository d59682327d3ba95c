"""Markdown tables of the measurements, and their sections in docs/performance.md."""

import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from benchmarks.bench import Costs
from benchmarks.processes import Cost


def format_costs(costs: Costs) -> str:
    """Return a table of wall time, CPU time and peak memory."""
    rows = [
        [name, format_seconds(each), format_spread([cost.cpu for cost in each]), format_megabytes(each)]
        for name, each in costs.items()
    ]
    return format_table(["", "seconds", "CPU seconds", "MB"], rows)


def format_ratios(costs: Costs) -> str:
    """Return a table of the ratios of wall times for each pair."""
    rows = [[one, *(f"{median_ratio(costs, one, other):.2f}" for other in costs)] for one in costs]
    return format_table(["takes … times as long as", *costs], rows)


def median_ratio(costs: Costs, one: str, other: str) -> float:
    """Return the median of the rounds' ratios of wall times."""
    pairs = zip(costs[one], costs[other], strict=True)
    return statistics.median(mine.wall / its.wall for mine, its in pairs)


def describe_noise(costs: Costs, name: str) -> str:
    """Return the number of rounds and the relative range of one contestant's wall times."""
    walls = [cost.wall for cost in costs[name]]
    share = (max(walls) - min(walls)) / statistics.median(walls)
    return (
        f"{len(walls)} rounds. Noise: the slowest and the fastest run of {name} are {share:.0%} of its "
        "median apart."
    )


def describe_machine() -> str:
    """Return the date, the processor, and the versions of Linux and Python."""
    model = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return (
        f"{date.today()}, {cores} cores ({model[1] if model else platform.machine()}), "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines)


def replace_section(page: Path, part: str, text: str) -> None:
    """Replace the text between a part's markers."""
    begin, end = f"<!-- benchmark: {part} -->\n", "<!-- end -->"
    content = page.read_text(encoding="utf-8")
    head, _, rest = content.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no markers for the benchmark {part!r}")
    page.write_text(f"{head}{begin}\n{text}\n\n{end}{tail}", encoding="utf-8")


def format_spread(values: Sequence[float]) -> str:
    """Return the median with minimum and maximum."""
    digits = 0 if statistics.median(values) >= 20 else 1 if statistics.median(values) >= 5 else 2
    shown: Callable[[float], str] = f"{{:,.{digits}f}}".format
    return f"{shown(statistics.median(values))} ({shown(min(values))}–{shown(max(values))})"  # noqa: RUF001


def format_seconds(costs: Sequence[Cost]) -> str:
    """Return the spread of the wall times in seconds."""
    return format_spread([cost.wall for cost in costs])


def format_megabytes(costs: Sequence[Cost]) -> str:
    """Return the spread of the peak memory in megabytes."""
    return format_spread([cost.memory / 1e6 for cost in costs])
