"""A private PostgreSQL server for the tests, in a temporary folder."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

ACCOUNT = "postgres"  # PostgreSQL refuses to run as root
USER = "tests"
PASSWORD = "sesame street"


class PostgresServer:
    """A server at a Unix socket without a password, and at a port of 127.0.0.1 with one."""

    def __init__(self, folder: Path, port: int, settings: str = "") -> None:
        self.folder = folder
        self.port = port
        self._settings = f"-c fsync=off {settings}"  # the last one of a name counts
        self._programs = _programs()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.getuid() == 0:
            shutil.chown(folder, ACCOUNT)
            shutil.chown(secret, ACCOUNT)
        self._run("initdb", "--username", USER, "--pwfile", secret, *_INITIAL)

    def start(self) -> None:
        """Start it and wait until it responds."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 {self._settings}"
        self._run("pg_ctl", "start", "--wait", "--silent", "--log", self.folder / "log", "--options", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it and wait for its end: `fast` ends transactions, `immediate` is a crash."""
        self._run("pg_ctl", "stop", "--wait", "--silent", "--mode", mode)

    @property
    def runs(self) -> bool:
        """Return whether it runs."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def address(self, name: str, user: str = USER) -> str:
        """Return the address of a database at the socket."""
        return f"postgresql://{user}@/{name}?host={self.folder}&port={self.port}"

    def guarded_address(self, name: str, user: str = USER) -> str:
        """Return the address of a database at the port, which requires the password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    @contextmanager
    def new_database(self, name: str) -> Iterator[str]:
        """Create an empty database, yield its address, and drop it."""
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.address(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def empty(self, name: str) -> None:
        """Empty a database and end its connections."""
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        self.execute(f"SELECT pg_terminate_backend(pid) {others}", name)
        self.execute(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC", name
        )

    @contextmanager
    def pooled(self, name: str) -> Iterator[str]:
        """Yield the address of a database behind pgbouncer, which changes the session per transaction."""
        with tempfile.TemporaryDirectory(prefix="luigi_etl.pgbouncer.") as folder:
            settings = Path(folder) / "pgbouncer.ini"
            settings.write_text(
                f"[databases]\n{name} = host={self.folder} port={self.port} user={USER}\n"
                f"[pgbouncer]\nunix_socket_dir = {folder}\nlisten_port = {self.port}\nauth_type = any\n"
                f"pool_mode = transaction\ndefault_pool_size = 2\nlogfile = {folder}/log\n"
            )
            if os.getuid() == 0:
                shutil.chown(folder, ACCOUNT)
            pooler = subprocess.Popen(["pgbouncer", "--quiet", settings], **self._account)
            try:
                _wait_for(Path(folder) / f".s.PGSQL.{self.port}")
                yield f"postgresql://{USER}@/{name}?host={folder}&port={self.port}"
            finally:
                pooler.kill()
                pooler.wait(timeout=20)

    def execute(self, statement: str, name: str = "postgres") -> None:
        """Run a statement in one of its databases."""
        with psycopg.connect(self.address(name), autocommit=True) as connection:
            connection.execute(statement.encode())

    @property
    def _account(self) -> dict[str, Any]:
        return {"user": ACCOUNT, "group": ACCOUNT} if os.getuid() == 0 else {}

    def _run(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs on the server's data, as its account."""
        command = [self._programs / program, "--pgdata", self.folder / "data", *arguments]
        with tempfile.TemporaryFile() as output:  # the server would keep a pipe open
            run = subprocess.run(
                list(map(str, command)), cwd=self.folder, stdout=output, stderr=output, **self._account
            )
            output.seek(0)
            assert run.returncode == 0, output.read().decode()


_INITIAL = "--no-locale --encoding UTF8 --auth-local trust --auth-host scram-sha-256".split()


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs, which Debian keeps out of PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    found = shutil.which("initdb") or (installed and installed[-1])
    if not found:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    return Path(found).resolve().parent


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not exist"
        time.sleep(0.02)


def _version(program: Path) -> float:
    return float(program.parts[-3])


@contextmanager
def running_postgres(port: int, settings: str = "") -> Iterator[PostgresServer]:
    """Start a new server with these options; stop it and remove its folder at the end."""
    if os.getuid() == 0 and ACCOUNT not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip(f"under root PostgreSQL needs a user {ACCOUNT}: apt install postgresql")
    with tempfile.TemporaryDirectory(prefix="luigi_etl.postgres.") as folder:
        server = PostgresServer(Path(folder), port, settings)
        server.start()
        try:
            yield server
        finally:
            if server.runs:
                server.stop("immediate")
