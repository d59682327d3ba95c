"""The bench: a server of complaints, and contestants that do the same work in turn."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

from benchmarks.contestants import Contestant, Work, make_environment
from benchmarks.environments import PROJECT
from benchmarks.processes import Command, Cost, find_free_port, is_listening, measure, running
from benchmarks.results import ResultChecker
from benchmarks.server import Arrival

Costs = dict[str, list[Cost]]  # one for each round, by the contestant's name


class Bench:
    """Measures the work of contestants, and checks and deletes their results."""

    def __init__(self, folder: Path, server: str, complaints: int) -> None:
        self.folder = folder
        self.complaints = complaints
        now = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
        self.minute = now - timedelta(days=7)  # each run takes the next minute; none may be in the future
        self._server = server
        self._checker = ResultChecker()

    def within(self, folder: Path) -> "Bench":
        """Return the same bench in another folder."""
        inner = copy(self)
        inner.folder = folder
        return inner

    def run_in_turns(
        self, contestants: Sequence[Contestant], newest: int, limit: int, rounds: int, *, warm_up: bool = True
    ) -> Costs:
        """Run all contestants on the same work in each round; see the function `run_in_turns`."""
        runs = {one.name: partial(self.run, one, newest, limit) for one in contestants}
        return run_in_turns(runs, rounds, warm_up=warm_up)

    def run(self, contestant: Contestant, newest: int, limit: int, kind: str = "") -> Cost:
        """Run a contestant on the `newest` complaints and return its cost; for `kind` see `url`.

        Raises:
            BenchmarkError: the contestant failed, or its result differs from the first one.

        """
        self.minute += timedelta(minutes=1)
        folder = self.folder / "work"
        folder.mkdir()
        work = Work(self.url(newest, kind), limit, folder, self.minute, newest / self.complaints)
        cost = measure(contestant.command(work))
        self._checker.check(contestant.name, f"{limit or newest:,} complaints", contestant.results(work))
        shutil.rmtree(folder)
        return cost

    def url(self, newest: int, kind: str = "") -> str:
        """Return the address of the `newest` complaints; `kind` is "" or "throttled/"."""
        return f"{self._server}/{newest}/{kind}"

    def take_arrivals(self) -> list[Arrival]:
        """Return the requests since the last call."""
        return [Arrival(*one) for one in json.loads(fetch(f"{self._server}/arrivals"))]


@contextmanager
def open_bench(folder: Path, complaints: int) -> Iterator[Bench]:
    """Start the server with this number of complaints, and yield a bench that uses it."""
    port = find_free_port()
    log(f"generating {complaints:,} complaints")
    arguments = [sys.executable, "-m", "benchmarks.server", str(complaints), str(port)]
    command = Command(arguments, make_environment(folder), PROJECT)
    with running(command, folder / "server.txt", lambda: is_listening(port)):
        yield Bench(folder, f"http://127.0.0.1:{port}", complaints)


def run_in_turns(runs: Mapping[str, Callable[[], Cost]], rounds: int, *, warm_up: bool = True) -> Costs:
    """Call all runs in each round and return their costs, without those of a warm-up round."""
    costs: Costs = {name: [] for name in runs}
    names = list(runs)
    for number in range(0 if warm_up else 1, rounds + 1):
        first = number % len(names)  # rotate, so that no run always follows the same one
        for name in (*names[first:], *names[:first]):
            cost = runs[name]()
            log(f"round {number} of {rounds}: {name}: {cost.wall:.2f} s")
            if number:
                costs[name].append(cost)
    return costs


def fetch(url: str) -> bytes:
    """Return the response of the bench's server; ignore proxies of the environment."""
    with build_opener(ProxyHandler({})).open(url, timeout=60) as response:
        body: bytes = response.read()
        return body


def log(line: str) -> None:
    """Print a progress line to stderr."""
    print(line, file=sys.stderr, flush=True)
