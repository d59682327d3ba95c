"""The bench: where contestants take turns with the same work, from the same server."""

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

from benchmarks.contestants import Contestant, Work, environment
from benchmarks.environments import PROJECT
from benchmarks.processes import Command, Cost, free_port, listens, measured, running
from benchmarks.results import Judge
from benchmarks.server import Arrival

Costs = dict[str, list[Cost]]  # of each contestant, one a round


class Bench:
    """Gives out work, measures it, checks what it left, and removes that."""

    def __init__(self, folder: Path, server: str, complaints: int) -> None:
        self.folder = folder
        self.complaints = complaints
        now = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
        self.minute = now - timedelta(days=7)  # no run's minute may be in the future
        self._server = server
        self._judge = Judge()

    def within(self, folder: Path) -> "Bench":
        """Return the same bench in another folder."""
        inner = copy(self)
        inner.folder = folder
        return inner

    def in_turn(
        self, contestants: Sequence[Contestant], newest: int, limit: int, rounds: int, *, warm_up: bool = True
    ) -> Costs:
        """Let each do the same work, round by round (see `taking_turns`)."""
        runs = {one.name: partial(self.run, one, newest, limit) for one in contestants}
        return taking_turns(runs, rounds, warm_up=warm_up)

    def run(self, contestant: Contestant, newest: int, limit: int, kind: str = "") -> Cost:
        """Let one do a piece of work, on the newest so many complaints; `kind` is how they are served.

        Raises:
            BenchmarkError: it failed, or left something else than others did.

        """
        self.minute += timedelta(minutes=1)
        folder = self.folder / "work"
        folder.mkdir()
        work = Work(self.url(newest, kind), limit, folder, self.minute, newest / self.complaints)
        cost = measured(contestant.command(work))
        self._judge.check(contestant.name, f"{limit or newest:,} complaints", contestant.results(work))
        shutil.rmtree(folder)
        return cost

    def url(self, newest: int, kind: str = "") -> str:
        """Return the address of the newest so many complaints; `kind` is how they are served."""
        return f"{self._server}/{newest}/{kind}"

    def arrivals(self) -> list[Arrival]:
        """Return the requests since this was last asked."""
        return [Arrival(*one) for one in json.loads(fetched(f"{self._server}/arrivals"))]


@contextmanager
def open_bench(folder: Path, complaints: int) -> Iterator[Bench]:
    """Have a bench, with its server of so many complaints."""
    port = free_port()
    tell(f"making {complaints:,} complaints")
    arguments = [sys.executable, "-m", "benchmarks.server", str(complaints), str(port)]
    command = Command(arguments, environment(folder), PROJECT)
    with running(command, folder / "server.txt", lambda: listens(port)):
        yield Bench(folder, f"http://127.0.0.1:{port}", complaints)


def taking_turns(runs: Mapping[str, Callable[[], Cost]], rounds: int, *, warm_up: bool = True) -> Costs:
    """Let each run, round by round; what the round that warms up costs does not count."""
    costs: Costs = {name: [] for name in runs}
    names = list(runs)
    for number in range(0 if warm_up else 1, rounds + 1):
        begins = number % len(names)  # nobody always comes after the same one
        for name in (*names[begins:], *names[:begins]):
            cost = runs[name]()
            tell(f"round {number} of {rounds}: {name}: {cost.wall:.2f} s")
            if number:
                costs[name].append(cost)
    return costs


def fetched(url: str) -> bytes:
    """Return what the bench's server answers, whatever proxy the environment names."""
    with build_opener(ProxyHandler({})).open(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body


def tell(line: str) -> None:
    """Tell how far it is."""
    print(line, file=sys.stderr, flush=True)
