"""The contestants: this project and its peers, each with the command that does a piece of work."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.environments import OURS, PROJECT, programs
from benchmarks.processes import Command, free_port, listens, running
from benchmarks.server import DAYS
from luigi_etl.sandbox.generate import NOW

PEERS = Path(__file__).with_name("peers")
WINDOWS = 4
LIMIT = 10  # the chain's default
NEVER_WAITS = 1_000_000  # requests per minute: the pace is kept as cron's runs keep it, and never reached
PREFECT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
DLT = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__DISABLE_COMPRESSION": "true"}
DLT_PARALLEL = {  # many files, as two would go to one worker
    "NORMALIZE__WORKERS": str(os.cpu_count() or 1),
    "SOURCES__DATA_WRITER__FILE_MAX_ITEMS": "20000",
}


class Work(NamedTuple):
    """A piece of work: the newest `limit` complaints (0: all) of `url`, into an empty folder.

    `minute` is one that no other work has; `share` is how much of the days of all complaints these are of.
    """

    url: str
    limit: int
    folder: Path
    minute: datetime
    share: float = 1.0


@dataclass(frozen=True)
class Contestant:
    """One that does the work, and the CSV files that it leaves."""

    name: str
    command: Callable[[Work], Command]
    results: Callable[[Work], Iterable[Path]]


class Chain:
    """This project, installed, in a folder of its own with the project's luigi.cfg, and its luigid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._programs = programs(OURS)
        folder.mkdir()
        configuration = (PROJECT / "luigi.cfg").read_text()
        port = f"scheduler_port={self.port}"
        (folder / "luigi.cfg").write_text(re.sub("(?m)^scheduler_port=.*$", port, configuration))
        shutil.copy(Path(__file__).with_name("windows.py"), folder)
        (folder / "cron").mkdir()
        shutil.copy(PROJECT / "cron" / "run", folder / "cron")

    @contextmanager
    def luigid(self) -> Iterator[None]:
        """Have luigid run."""
        command = Command([self._programs / "luigi-etl", "luigid"], self._environment(""), self.folder)
        with running(command, self.folder / "luigid.txt", lambda: listens(self.port)):
            yield

    def by_hand(self, *, pace: int, options: Sequence[str] = ()) -> Contestant:
        """Return the chain as it is run by hand; `pace` is of requests per minute, 0 none."""

        def command(work: Work) -> Command:
            limit = [] if work.limit == LIMIT else [f"--limit={work.limit}"]
            return self._luigi(work, "luigi_etl", "StoreComplaints", *limit, *options, pace=pace)

        return Contestant("luigi_etl, by hand", command, self.stored)

    def by_cron(self) -> Contestant:
        """Return the chain as cron runs it."""

        def command(work: Work) -> Command:
            run: list[str | Path] = [self.folder / "cron" / "run", self._programs / "python"]
            return self._command(work, *run, "unattended", "StoreComplaints", pace=NEVER_WAITS)

        return Contestant("luigi_etl, by cron", command, self.stored)

    def by_windows(self, workers: int) -> Contestant:
        """Return the chain over windows of days, by so many processes."""

        def command(work: Work) -> Command:
            queries = f"--queries={json.dumps(windows(work.share))}"
            return self._luigi(work, "windows", "StoreWindows", queries, f"--workers={workers}", pace=0)

        return Contestant(f"{WINDOWS} windows, --workers {workers}", command, self.stored)

    def beside(self, root: Path, name: str) -> Contestant:
        """Return the chain as cron runs it, with the snapshots of `root` there already."""

        def command(work: Work) -> Command:
            return self.by_cron().command(work._replace(folder=root))

        return Contestant(name, command, lambda work: self.stored(work._replace(folder=root)))

    def _luigi(self, work: Work, module: str, task: str, *arguments: str, pace: int) -> Command:
        run: list[str | Path] = [self._programs / "luigi", "--module", module, task]
        return self._command(work, *run, *arguments, pace=pace)

    def _command(self, work: Work, *run: str | Path, pace: int) -> Command:
        told = [f"--timestamp={work.minute:%Y-%m-%dT%H%M}", f"--storage-root={work.folder}"]
        settings = [f"--ccdb-requests-per-minute={pace}"]
        return Command([*run, *told, *settings], self._environment(work.url), self.folder)

    @staticmethod
    def stored(work: Work) -> Iterable[Path]:
        """Return the CSV files of a minute."""
        return work.folder.glob(f"snapshots/*/*/{work.minute:%Y%m%dT%H%MZ}.complaints.csv")

    def _environment(self, url: str) -> Mapping[str, str]:
        own = {"XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONPATH": str(self.folder)}
        return environment(self.folder, **own, **({"CCDB_URL": url} if url else {}))


def peer(title: str, where: str, script: str, *options: str, **variables: str) -> Contestant:
    """Return a peer: a script, run by the Python of an environment, that leaves complaints.csv."""
    run = [programs(where) / "python", PEERS / script]

    def command(work: Work) -> Command:
        told: list[str | Path] = [work.url, str(work.limit), work.folder / "complaints.csv", *options]
        return Command([*run, *told], environment(work.folder, **variables), work.folder)

    return Contestant(title, command, lambda work: [work.folder / "complaints.csv"])


def dlt(title: str, where: str, *options: str) -> Contestant:
    """Return dlt, which lays out its files itself, in a folder; all rows are normalised in parallel."""
    scripted = peer(title, where, "with_dlt.py", *options, **DLT)
    parallel = peer(title, where, "with_dlt.py", *options, **DLT, **DLT_PARALLEL)
    laid_out = "complaints.csv/ccdb/complaints/*.csv"

    def command(work: Work) -> Command:
        return (scripted if work.limit or options else parallel).command(work)

    return Contestant(title, command, lambda work: work.folder.glob(laid_out))


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Have a Prefect server run; give the variables by which a flow finds it."""
    folder.mkdir()
    port = free_port()
    variables = {"PREFECT_HOME": str(folder), **PREFECT}
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    command = Command([programs("prefect") / "prefect", *arguments], environment(folder, **variables), folder)
    with running(command, folder / "server.txt", lambda: listens(port)):
        yield {**variables, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment in which nobody finds settings of the user's own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), **variables}


def windows(share: float) -> list[str]:
    """Return queries for windows of days, about equally long, that together are of all complaints."""
    first = NOW.date() - timedelta(days=DAYS)
    newest = round(DAYS * share)
    starts = [
        NOW.date() + timedelta(days=1 - newest * (WINDOWS - number) // WINDOWS) for number in range(WINDOWS)
    ]
    edges = [first, *starts[1:], NOW.date() + timedelta(days=1)]
    return [
        f"date_received_min={start}&date_received_max={end - timedelta(days=1)}"
        for start, end in pairwise(edges)
    ]
