"""The contestants: this project and its peers, each with the command for a piece of work."""

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

from benchmarks.environments import OURS, PROJECT, prepare_environment
from benchmarks.processes import Command, find_free_port, is_listening, running
from benchmarks.server import DAYS
from luigi_etl.sandbox.generate import NOW

PEERS = Path(__file__).with_name("peers")
WINDOWS = 4
LIMIT = 10  # the chain's default
NEVER_WAITS = 1_000_000  # requests per minute: the rate limit is active as under cron, but never waits
PREFECT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
DLT = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DATA_WRITER__DISABLE_COMPRESSION": "true"}
DLT_PARALLEL = {  # many small files: one worker would take both of only two files
    "NORMALIZE__WORKERS": str(os.cpu_count() or 1),
    "SOURCES__DATA_WRITER__FILE_MAX_ITEMS": "20000",
}


class Work(NamedTuple):
    """A piece of work: fetch the newest `limit` complaints (0: all) of `url` into an empty folder.

    `minute` is unique; `share` is the served part of all complaints, between 0 and 1.
    """

    url: str
    limit: int
    folder: Path
    minute: datetime
    share: float = 1.0


@dataclass(frozen=True)
class Contestant:
    """A program that does the work, and the CSV files it writes."""

    name: str
    command: Callable[[Work], Command]
    results: Callable[[Work], Iterable[Path]]


class Chain:
    """This project, installed, in a new folder with its luigi.cfg, `cron/run` and luigid."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = find_free_port()
        self._bin = prepare_environment(OURS)
        folder.mkdir()
        configuration = (PROJECT / "luigi.cfg").read_text()
        port = f"scheduler_port={self.port}"
        (folder / "luigi.cfg").write_text(re.sub("(?m)^scheduler_port=.*$", port, configuration))
        shutil.copy(Path(__file__).with_name("windows.py"), folder)
        (folder / "cron").mkdir()
        shutil.copy(PROJECT / "cron" / "run", folder / "cron")

    @contextmanager
    def luigid(self) -> Iterator[None]:
        """Run luigid during the block."""
        command = Command([self._bin / "luigi-etl", "luigid"], self._environment(""), self.folder)
        with running(command, self.folder / "luigid.txt", lambda: is_listening(self.port)):
            yield

    def by_hand(self, *, pace: int, options: Sequence[str] = ()) -> Contestant:
        """Return a contestant that runs `luigi`; `pace` is the rate limit per minute, 0 for none."""

        def command(work: Work) -> Command:
            limit = [] if work.limit == LIMIT else [f"--limit={work.limit}"]
            return self._luigi(work, "luigi_etl", "StoreComplaints", *limit, *options, pace=pace)

        return Contestant("luigi_etl, by hand", command, self.list_results)

    def by_cron(self) -> Contestant:
        """Return a contestant that runs `cron/run`."""

        def command(work: Work) -> Command:
            run: list[str | Path] = [self.folder / "cron" / "run", self._bin / "python"]
            return self._command(work, *run, "unattended", "StoreComplaints", pace=NEVER_WAITS)

        return Contestant("luigi_etl, by cron", command, self.list_results)

    def by_windows(self, workers: int) -> Contestant:
        """Return a contestant that runs windows of days in `workers` processes."""

        def command(work: Work) -> Command:
            queries = f"--queries={json.dumps(list_window_queries(work.share))}"
            return self._luigi(work, "windows", "StoreWindows", queries, f"--workers={workers}", pace=0)

        return Contestant(f"{WINDOWS} windows, --workers {workers}", command, self.list_results)

    def beside(self, root: Path, name: str) -> Contestant:
        """Return a contestant that runs `cron/run` with `root`, which may have snapshots, as storage root."""

        def command(work: Work) -> Command:
            return self.by_cron().command(work._replace(folder=root))

        return Contestant(name, command, lambda work: self.list_results(work._replace(folder=root)))

    def _luigi(self, work: Work, module: str, task: str, *arguments: str, pace: int) -> Command:
        run: list[str | Path] = [self._bin / "luigi", "--module", module, task]
        return self._command(work, *run, *arguments, pace=pace)

    def _command(self, work: Work, *run: str | Path, pace: int) -> Command:
        options = [
            f"--timestamp={work.minute:%Y-%m-%dT%H%M}",
            f"--storage-root={work.folder}",
            f"--ccdb-requests-per-minute={pace}",
        ]
        return Command([*run, *options], self._environment(work.url), self.folder)

    @staticmethod
    def list_results(work: Work) -> Iterable[Path]:
        """Return the CSV files of the work's minute."""
        return work.folder.glob(f"snapshots/*/*/{work.minute:%Y%m%dT%H%MZ}.complaints.csv")

    def _environment(self, url: str) -> Mapping[str, str]:
        variables = {"XDG_CACHE_HOME": str(self.folder / "cache"), "PYTHONPATH": str(self.folder)}
        return make_environment(self.folder, **variables, **({"CCDB_URL": url} if url else {}))


def make_peer(name: str, environment: str, script: str, *options: str, **variables: str) -> Contestant:
    """Return a contestant that runs a script of `peers/`, which writes complaints.csv."""
    run = [prepare_environment(environment) / "python", PEERS / script]

    def command(work: Work) -> Command:
        arguments: list[str | Path] = [work.url, str(work.limit), work.folder / "complaints.csv", *options]
        return Command([*run, *arguments], make_environment(work.folder, **variables), work.folder)

    return Contestant(name, command, lambda work: [work.folder / "complaints.csv"])


def make_dlt(name: str, environment: str, *options: str) -> Contestant:
    """Return dlt, which writes a folder of files; it normalises many rows in parallel."""
    serial = make_peer(name, environment, "with_dlt.py", *options, **DLT)
    parallel = make_peer(name, environment, "with_dlt.py", *options, **DLT, **DLT_PARALLEL)
    results = "complaints.csv/ccdb/complaints/*.csv"

    def command(work: Work) -> Command:
        return (serial if work.limit or options else parallel).command(work)

    return Contestant(name, command, lambda work: work.folder.glob(results))


@contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run a Prefect server during the block; yield the environment variables for its flows."""
    folder.mkdir()
    port = find_free_port()
    variables = {"PREFECT_HOME": str(folder), **PREFECT}
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    program = prepare_environment("prefect") / "prefect"
    command = Command([program, *arguments], make_environment(folder, **variables), folder)
    with running(command, folder / "server.txt", lambda: is_listening(port)):
        yield {**variables, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}


def make_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return environment variables that hide the user's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(home), **variables}


def list_window_queries(share: float) -> list[str]:
    """Return queries for windows of days that split the served complaints about equally."""
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
