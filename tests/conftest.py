"""Shared fixtures: the sandbox over HTTP, runs of the chain, databases, luigid, cron, small disks."""

import copy
import fcntl
import gc
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin
from urllib.request import urlopen

import hypothesis
import luigi
import psycopg
import pytest
from luigi.task_register import Register

from luigi_etl.api.client import Client
from luigi_etl.api.settings import Settings
from luigi_etl.database.connection import Database
from luigi_etl.sandbox.archive import PAGE
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.files import DAILY
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.script import Script, read_rule
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox, Throttle
from luigi_etl.service.doctor.cron import cron_daemons
from tests.postgres import PostgresServer, running_postgres

PROJECT = Path(__file__).parents[1]
RECORDED = PROJECT.parent / "shared" / "data" / "recorded"
PROGRAMS = Path(sys.executable).parent
LONGEST = ("system/test_cron", "system/test_half_year", "api/test_rate_limit", "system/test_scale")
POSTGRES = {"shared_postgres", "own_postgres"}
CRONTAB = shutil.which("crontab")
REBOOTED = Path("/var/run/crond.reboot")  # cron writes it after it ran the @reboot jobs

# Each run tries the same examples; `pytest --hypothesis-profile random` tries new ones.
# A loaded machine must not fail a property test: no deadline, no check of the speed.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
_repeatable = hypothesis.settings.get_profile("repeatable")
hypothesis.settings.register_profile("random", _repeatable, derandomize=False)
hypothesis.settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Undo settings of a shell, nohup or a CI runner: ignored signals, the umask, no bytecode."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ignorable in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(ignorable, signal.SIG_DFL)
    os.umask(0o022)
    sys.dont_write_bytecode = False  # compiling in each program costs a third of its start
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark PostgreSQL's tests slow. Run fast tests first, then the longest, then those with a crontab."""
    for item in items:
        if _needs_postgres(item):
            item.add_marker("postgresql")
            item.add_marker("slow")
    items.sort(key=_turn)


def _needs_postgres(item: pytest.Item) -> bool:
    """Return whether a fixture or a parameter of a test starts PostgreSQL."""
    callspec = getattr(item, "callspec", None)
    kinds = callspec.params.values() if callspec else ()
    return "postgresql" in kinds or not POSTGRES.isdisjoint(_fixtures(item))


def _fixtures(item: pytest.Item) -> list[str]:
    fixtures: list[str] = getattr(item, "fixturenames", [])
    return fixtures


def _turn(item: pytest.Item) -> int:
    if not item.get_closest_marker("slow"):
        return 0
    if f"{item.path.parent.name}/{item.path.stem}" in LONGEST:
        return 1
    return 3 if "crontab" in _fixtures(item) else 2  # these wait for each other


def pytest_runtest_setup() -> None:
    """Clear Luigi's cache of tasks: a cached task has the paths of an earlier test."""
    Register.clear_instance_cache()


@dataclass(frozen=True)
class Served:
    """A sandbox served at `url`."""

    url: str
    sandbox: Sandbox

    def client(self, **settings: Any) -> Client:
        """Return a client without a rate limit and with short waits, unless `settings` differ."""
        return Client(Settings(**{"url": self.url, "requests_per_minute": 0, "backoff": 0.01, **settings}))

    @property
    def asked(self) -> list[str]:
        """The paths of the requests, with their queries."""
        return [path for path, _ in self.sandbox.requests]

    @property
    def statuses(self) -> list[int]:
        """The statuses of the responses."""
        return [status for _, status in self.sandbox.requests]


Serve = Callable[..., Served]


@pytest.fixture
def served() -> Iterator[Serve]:
    """Provide a function that serves a sandbox until the test ends.

    It takes the number of complaints, rules (`"1:status=503"`; `"every 2:cut"`), an era, a seed, a number
    of days, an index in place of a generated one, and a throttle.
    """
    with ExitStack() as servers:

        def start(
            complaints: int = 50,
            *rules: str,
            era: str = "2026-08",
            seed: int = 1,
            days: int = 90,
            index: Any = None,
            throttle: Throttle | None = None,
            compress: bool = False,
        ) -> Served:
            script = Script(
                [read_rule(rule.removeprefix("every "), rule.startswith("every ")) for rule in rules]
            )
            content = index or generated_index(complaints, seed, ERAS[era], days)
            sandbox = Sandbox(content, ERAS[era], throttle, script, compress)
            return Served(servers.enter_context(serve(sandbox)), sandbox)

        yield start


@dataclass(frozen=True)
class Run:
    """The exit code and output of a program."""

    code: int
    out: str
    err: str


class Chain:
    """A folder in which the project's programs run as a user runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(PROJECT / "luigi.cfg", folder)
        self.environment = {
            **os.environ,
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.environment.pop("CCDB_URL", None)

    def start(self, *command: str, url: str = "", **options: Any) -> subprocess.Popen[str]:
        """Start a program."""
        files = {"CCDB_DAILY_FILE": urljoin(url, DAILY), "CCDB_ARCHIVE": urljoin(url, PAGE)}
        environment = {**self.environment, **({"CCDB_URL": url, **files} if url else {})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, env=environment, text=True, **{"cwd": self.folder, **pipes, **options}
        )

    def program(self, *command: str, url: str = "", **options: Any) -> Run:
        """Run a program and wait for its end."""
        process = self.start(*command, url=url, **options)
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
        return Run(process.returncode, out, err)

    def luigi(self, *arguments: str, url: str = "", task: str = "StoreComplaints", **options: Any) -> Run:
        """Run a task under the local scheduler, without a rate limit and with short waits."""
        return self.program(*self.luigi_command(*arguments, task=task), url=url, **options)

    def luigi_command(self, *arguments: str, task: str = "StoreComplaints") -> list[str]:
        """Return the command line of `luigi`."""
        command = ["luigi", "--module", "luigi_etl", task, "--ccdb-requests-per-minute", "0"]
        quick = ["--ccdb-backoff", "0.01", "--ccdb-retry-delay", "0.01"]
        return [*command, *quick, "--local-scheduler", *arguments]

    def configure(self, section: str, **settings: object) -> None:
        """Set settings in the folder's luigi.cfg."""
        path = self.folder / "luigi.cfg"
        text = path.read_text()
        for name in settings:
            text = re.sub(rf"^{name}=.*\n", "", text, flags=re.MULTILINE)
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        head = f"[{section}]\n"
        if head not in text:
            text += f"\n{head}"
        path.write_text(text.replace(head, head + lines))

    def unattended(
        self, *arguments: str, url: str = "", task: str = "StoreComplaints", **options: Any
    ) -> Run:
        """Run a task as cron does, without a rate limit and with short waits."""
        return self.program(*self.unattended_command(*arguments, task=task), url=url, **options)

    def unattended_command(self, *arguments: str, task: str = "StoreComplaints") -> list[str]:
        """Return the command line of an unattended run of a task."""
        quick = self.luigi_command(*arguments, task=task)
        without_luigi = [word for word in quick[3:] if word != "--local-scheduler"]
        return ["luigi-etl", "unattended", *without_luigi]

    def log(self, slug: str = "all-newest-10", task: str = "StoreComplaints") -> str:
        """Return the log of the unattended runs."""
        return (self.folder / "service" / f"{task}.{slug}.log").read_text()

    def file(self, suffix: str) -> Path:
        """Return the one file of the data folder whose name ends with `suffix`."""
        (found,) = self.files(suffix)
        return found

    def files(self, suffix: str = "") -> list[Path]:
        """Return the files of the data folder whose names end with `suffix`, sorted."""
        return sorted(path for path in (self.folder / "data").rglob(f"*{suffix}") if path.is_file())


def with_peak_memory(*command: str) -> list[str]:
    """Return a command that writes the peak memory of another, in KiB, to standard error.

    A small process starts the command: Linux counts the memory of the forking process in its child's peak.
    """
    code = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode;"
        "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)); sys.exit(code)"
    )
    return [sys.executable, "-c", code, *command]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Provide a folder to run the chain in."""
    return Chain(tmp_path)


class Luigid:
    """A luigid at the address in the chain's luigi.cfg."""

    def __init__(self, chain: Chain, port: int) -> None:
        self.port = port
        self.process: subprocess.Popen[str] | None = None
        self._chain = chain

    @classmethod
    def at_a_free_port(cls, chain: Chain) -> "Luigid":
        """Set a free port in the chain's luigi.cfg; do not start luigid."""
        port = free_port()
        chain.configure("core", scheduler_port=port)
        return cls(chain, port)

    def _started(self) -> subprocess.Popen[str]:
        process = self._chain.start("luigi-etl", "luigid")
        deadline = time.monotonic() + 30
        while not self._answers():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "luigid does not answer"
            time.sleep(0.05)
        return process

    def _answers(self) -> bool:
        with suppress(OSError):
            return "enabled" in self.told("is_pause_enabled")
        return False

    def stop(self) -> None:
        """Terminate it and wait for its end."""
        assert self.process
        self.process.terminate()
        self.process.communicate(timeout=20)

    def kill(self) -> None:
        """Kill it and wait for its end."""
        assert self.process
        self.process.kill()
        self.process.communicate(timeout=20)

    def start(self) -> None:
        """Start it and wait until it responds."""
        self.process = self._started()

    def tasks(self, status: str = "") -> dict[str, Any]:
        """Return luigid's tasks by their ids."""
        return self.told("task_list", status=status, upstream_status="")

    def message(self, task_id: str) -> str:
        """Return luigid's status message of a task."""
        return self.told("get_task_status_message", task_id=task_id)["statusMessage"] or ""

    def told(self, what: str, **parameters: str) -> dict[str, Any]:
        """Return the response of luigid's API to a call."""
        query = urlencode({"data": json.dumps(parameters)})
        with urlopen(f"http://127.0.0.1:{self.port}/api/{what}?{query}", timeout=10) as response:
            found: dict[str, Any] = json.load(response)["response"]
        return found

    def command(self, *arguments: str, task: str = "StoreComplaints") -> list[str]:
        """Return the command line of `luigi` under this luigid."""
        return ["luigi", "--module", "luigi_etl", task, *arguments]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def luigid(chain: Chain) -> Iterator[Luigid]:
    """Provide a luigid on a free port."""
    running = Luigid.at_a_free_port(chain)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def installation(tmp_path: Path) -> Chain:
    """Provide a folder like a checkout, with a name that shells and crontabs must quote."""
    folder = tmp_path / 'it\'s 100% "here"'
    folder.mkdir()
    shutil.copytree(PROJECT / "cron", folder / "cron")
    chain = Chain(folder)
    chain.environment["LUIGI_CONFIG_PATH"] = str(folder / "luigi.cfg")
    return chain


class UserCrontab:
    """The user's crontab, through the real program."""

    def read(self) -> bytes:
        """Return the spooled bytes: `crontab -l` shows a carriage return as two characters."""
        if subprocess.run([str(CRONTAB), "-l"], capture_output=True).returncode:
            return b""
        editor = {**os.environ, "VISUAL": "cat"}
        return subprocess.run(
            [str(CRONTAB), "-e"], env=editor, stdin=subprocess.DEVNULL, capture_output=True
        ).stdout

    def write(self, content: bytes) -> None:
        subprocess.run([str(CRONTAB), "-"], input=content, check=True)

    def clear(self) -> None:
        subprocess.run([str(CRONTAB), "-r"], capture_output=True)


@pytest.fixture
def crontab(tmp_path: Path) -> Iterator[UserCrontab]:
    """Provide the user's crontab, empty, and restore it afterwards.

    A lock lets one test at a time use it. A copy stays in the test's folder.
    """
    if not CRONTAB:
        pytest.skip("there is no program crontab: apt install cron")
    real = UserCrontab()
    lock = os.open("/tmp", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = subprocess.run(["crontab", "-l"], capture_output=True)
    if before.returncode and b"no crontab for" not in before.stderr:
        pytest.skip(f"this user may not use cron: {before.stderr!r}")
    content = real.read()
    (tmp_path / "crontab.before").write_bytes(content)
    try:
        real.clear()
        yield real
    finally:
        if before.returncode:
            real.clear()
        else:
            real.write(content)
        os.close(lock)


@pytest.fixture
def start_cron() -> Iterator[Callable[[], None]]:
    """Provide a function that starts a cron daemon if none runs."""
    daemon: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        if cron_daemons():
            return
        if os.getuid() != 0:
            pytest.skip("no cron daemon runs, and starting one takes root")
        REBOOTED.unlink(missing_ok=True)
        daemon.append(subprocess.Popen(["cron", "-f"]))

    yield start
    for process in daemon:
        process.terminate()
        process.wait(timeout=20)
        deadline = time.monotonic() + 20
        while cron_daemons():  # its children are called cron too and run until their jobs end
            assert time.monotonic() < deadline, "a process called cron still runs"
            time.sleep(0.05)


@pytest.fixture
def recorded() -> Path:
    """Provide the folder of recorded responses, which is not part of the project."""
    if not RECORDED.is_dir():
        pytest.skip("the recorded answers (../shared/data/recorded) are not here")
    return RECORDED


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    """Provide a PostgreSQL for all tests that leave it running."""
    with running_postgres(free_port()) as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """Provide a PostgreSQL that the test may stop and restart."""
    with running_postgres(free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def shared_database(shared_postgres: PostgresServer) -> Iterator[str]:
    """Provide a database that each test empties, which is faster than a new one."""
    with shared_postgres.new_database("test"):
        yield "test"


@pytest.fixture
def postgres_address(shared_postgres: PostgresServer, shared_database: str) -> str:
    """Provide the address of an empty PostgreSQL database."""
    shared_postgres.empty(shared_database)
    return shared_postgres.address(shared_database)


@pytest.fixture
def sqlite_address(tmp_path: Path) -> Path:
    """Provide the path of an SQLite file that does not exist."""
    return tmp_path / "complaints.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_address(request: pytest.FixtureRequest) -> str | Path:
    """Provide the address of an empty database of each kind, as a value for luigi.cfg."""
    address: str | Path = request.getfixturevalue(
        "sqlite_address" if request.param == "sqlite" else "postgres_address"
    )
    return address


@pytest.fixture
def database(database_address: str | Path) -> Database:
    """Provide an empty database of each kind."""
    return Database(database_address)


Beside = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def beside(database_address: str | Path) -> Beside:
    """Provide a function that runs a statement in the test's database like another program."""

    def run(statement: str) -> list[tuple[Any, ...]]:
        if isinstance(database_address, str):
            with psycopg.connect(database_address) as server:
                cursor = server.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []
        with sqlite3.connect(database_address) as file:
            return file.execute(statement).fetchall()

    return run


class Pipeline:
    """A folder and a database on which tasks run in this process, without a rate limit, with short waits."""

    def __init__(self, root: Path, address: str | Path) -> None:
        self.root = root
        self.database = Database(address)
        self._configuration = luigi.configuration.get_config()
        self.configure("storage", root=root, database=address)
        self.configure("ccdb", requests_per_minute=0, backoff=0.01, retry_delay=0.01)

    def configure(self, section: str, **settings: object) -> None:
        """Set settings, until the test ends."""
        for name, value in settings.items():
            self._configuration.set(section, name, str(value).replace("%", "%%"))

    def run(self, family: type[luigi.Task], **parameters: Any) -> bool:
        """Run a task without Luigi's cached tasks; return whether it succeeded."""
        Register.clear_instance_cache()
        task = family(**parameters)
        return bool(luigi.build([task], local_scheduler=True, no_lock=True, log_level="CRITICAL"))

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def files(self, suffix: str = "") -> list[Path]:
        """Return the files below the root whose names end with `suffix`, sorted."""
        return sorted(path for path in self.root.rglob(f"*{suffix}") if path.is_file())


@pytest.fixture
def pipeline(tmp_path: Path, database_address: str | Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Provide a pipeline on each kind of database."""
    before = copy.deepcopy(luigi.configuration.get_config())
    monkeypatch.setattr(type(before), "_instance", before)
    return Pipeline(tmp_path / "data", database_address)


def mount(*arguments: object) -> None:
    """Mount a file system; skip the test unless run by root."""
    if os.getuid() != 0:
        pytest.skip("mounting takes root")
    subprocess.run(["mount", *map(str, arguments)], check=True)


def unmount(folder: Path) -> None:
    """Unmount a folder, after a collection that closes files of failed connections."""
    gc.collect()
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Provide a disk of 64 kB."""
    with disk_of("64k", tmp_path / "disk") as disk:
        yield disk


@contextmanager
def disk_of(size: str, folder: Path) -> Iterator[Path]:
    """Mount a disk of a size at a new folder."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        unmount(folder)


@contextmanager
def without_rights() -> Iterator[None]:
    """Run as nobody where the tests run as root, because root may do everything."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only, even for root."""
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,ro,bind", folder)
        yield
    finally:
        unmount(folder)
