"""Tables of the measurements, and their places in docs/performance.md."""

import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path

from benchmarks.bench import Costs
from benchmarks.processes import Cost


def cost_table(costs: Costs) -> str:
    """Return what each took: the median, the least and the most."""
    rows = [
        [name, seconds(each), spread([cost.cpu for cost in each]), megabytes(each)]
        for name, each in costs.items()
    ]
    return table(["", "seconds", "of the CPU", "MB"], rows)


def ratio_table(costs: Costs) -> str:
    """Return the ratios of the wall times, pair by pair: the median of those within each round."""
    rows = [[one, *(f"{ratio(costs, one, other):.2f}" for other in costs)] for one in costs]
    return table(["takes … times as long as", *costs], rows)


def ratio(costs: Costs, one: str, other: str) -> float:
    """Return how many times as long one took as the other: the median of the rounds' ratios."""
    pairs = zip(costs[one], costs[other], strict=True)
    return statistics.median(mine.wall / its.wall for mine, its in pairs)


def noise(costs: Costs, name: str) -> str:
    """Return how much the wall times of one differ though its work did not."""
    walls = [cost.wall for cost in costs[name]]
    share = (max(walls) - min(walls)) / statistics.median(walls)
    return (
        f"{len(walls)} rounds. Noise: the slowest and the fastest run of {name} are {share:.0%} of its "
        "median apart."
    )


def machine() -> str:
    """Return what it was measured on."""
    model = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    return (
        f"{date.today()}, {cores} cores ({model[1] if model else platform.machine()}), "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines)


def put_into(page: Path, part: str, text: str) -> None:
    """Put a part's text between its markers."""
    begin, end = f"<!-- benchmark: {part} -->\n", "<!-- end -->"
    content = page.read_text(encoding="utf-8")
    head, _, rest = content.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no place for the benchmark {part!r}")
    page.write_text(f"{head}{begin}\n{text}\n\n{end}{tail}", encoding="utf-8")


def spread(values: Sequence[float]) -> str:
    """Return the median, the least and the most."""
    digits = 0 if statistics.median(values) >= 20 else 1 if statistics.median(values) >= 5 else 2
    shown: Callable[[float], str] = f"{{:,.{digits}f}}".format
    return f"{shown(statistics.median(values))} ({shown(min(values))}–{shown(max(values))})"  # noqa: RUF001


def seconds(costs: Sequence[Cost]) -> str:
    """Return the spread of the seconds from start to end."""
    return spread([cost.wall for cost in costs])


def megabytes(costs: Sequence[Cost]) -> str:
    """Return the spread of the most memory."""
    return spread([cost.memory / 1e6 for cost in costs])
