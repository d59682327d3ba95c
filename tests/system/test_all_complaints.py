"""The six commands of docs/all-complaints.md as written, against the sandbox and a real PostgreSQL."""

import os
import re
import shutil
import sysconfig
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from luigi_etl.database.connection import Database
from luigi_etl.sandbox.archive import archive_files
from luigi_etl.sandbox.editions import NARRATIVE
from luigi_etl.sandbox.index import Index
from tests.conftest import PROJECT, Chain, Run, Serve, Served, UserCrontab
from tests.postgres import USER, PostgresServer
from tests.system.ledger import FIELDS, Values, truth_of
from tests.system.simulated_days import held_complaints
from tests.system.test_docs import blocks, page

pytestmark = pytest.mark.slow

PAGE = page("all-complaints")
INSTALL, *FILL, CRON = blocks(PAGE, "sh")
CREATE = FILL[0]
INSTALLED = ("luigi_etl", "cron", "luigi.cfg", "pyproject.toml", "README.md", "LICENSE")
NAME = "complaints"
COMPLAINTS = 2000


class Newcomer(NamedTuple):
    """A person with a new checkout, a PostgreSQL server, and the sandbox in place of the CFPB."""

    shell: Chain
    server: Served

    def run(self, command: str) -> Run:
        """Run a command as written; it must succeed."""
        done = self.shell.program("bash", "-c", command, url=self.server.url)
        assert done.code == 0, (command, done.out, done.err)
        return done


@pytest.fixture
def newcomer(chain: Chain, served: Serve, shared_postgres: PostgresServer) -> Iterator[Newcomer]:
    """Provide a newcomer who uses a PostgreSQL without the database."""
    place = {"PGHOST": str(shared_postgres.folder), "PGPORT": str(shared_postgres.port), "PGUSER": USER}
    chain.environment.update(place)
    yield Newcomer(chain, served(COMPLAINTS, days=2000))
    shared_postgres.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


def copy_checkout(shell: Chain) -> None:
    for name in INSTALLED:
        path = PROJECT / name
        if path.is_dir():
            shutil.copytree(path, shell.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, shell.folder)


def install_offline(shell: Chain) -> None:
    """Set the environment so that pip finds the libraries that are installed here, without an index."""
    environment = shell.environment
    found = [sysconfig.get_path("purelib"), environment.get("PYTHONPATH", "")]
    shell.environment = {
        **environment,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one's value the other way round
        "PIP_NO_INDEX": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, found)),
    }


def narratives_of(index: Index) -> dict[str, str]:
    """Return the narratives of the sandbox's archive by id."""
    files = archive_files(index).values()
    rows = [row for file in files for row in file.with_narratives(file.rows)]
    return {row.identifier: str(row.value(NARRATIVE)) for row in rows if row.value(NARRATIVE)}


def expected_complaints(index: Index) -> dict[str, Values]:
    """Return the complaints of the sandbox with the narratives of its archive."""
    narratives = narratives_of(index)
    empty: Values = dict.fromkeys(FIELDS)
    return {
        one: {**empty, **values, NARRATIVE: narratives.get(one), "has_narrative": None}
        for one, values in truth_of(index).items()
    }


def stored_complaints(server: PostgresServer) -> dict[str, Values]:
    with Database(server.address(NAME)).reading() as connection:
        held = held_complaints(connection)
    return {one: {**values, "has_narrative": None} for one, values in held.items()}


def query_of_page(server: PostgresServer) -> list[tuple[Any, ...]]:
    (query,) = blocks(PAGE, "sql")
    with psycopg.connect(server.address(NAME)) as connection:
        return connection.execute(query.encode()).fetchall()


def without_numbers(line: str) -> str:
    """Return a line without its numbers, and without the hash of an address."""
    return re.sub(r"\d[\d,]*", "0", re.sub("~[0-9a-f]+/", "~/", line))


def test_page_has_six_commands_of_one_line() -> None:
    commands = blocks(PAGE, "sh")

    assert len(commands) == 6
    assert [command.count("\n") for command in commands] == [1] * 6
    steps = re.findall(r"^## (\d)\. ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert steps == ["1", "2", "3", "4", "5", "6"]


def test_first_command_installs_the_extra(chain: Chain) -> None:
    copy_checkout(chain)
    install_offline(chain)

    done = chain.program("bash", "-c", INSTALL)

    assert done.code == 0, (done.out, done.err)
    assert re.search(r"^Successfully installed luigi[_-]etl", done.out, re.MULTILINE)
    assert "Requirement already satisfied: psycopg[binary]" in done.out
    assert (chain.folder / ".venv/bin/luigi-etl").exists()


def test_commands_fill_the_database(newcomer: Newcomer, shared_postgres: PostgresServer) -> None:
    printed = [newcomer.run(command).out for command in FILL]

    index = newcomer.server.sandbox.index
    expected = expected_complaints(index)
    narratives = sum(values[NARRATIVE] is not None for values in expected.values())
    assert stored_complaints(shared_postgres) == expected
    assert query_of_page(shared_postgres) == [(COMPLAINTS, narratives)]
    assert narratives > COMPLAINTS / 5
    assert printed[:2] == ["", ""]
    for shown, line in zip(blocks(PAGE, "text")[1:3], printed[2:], strict=True):
        assert without_numbers(line).endswith(without_numbers(shown))
    check_repetition(newcomer, shared_postgres, expected)


def check_repetition(newcomer: Newcomer, server: PostgresServer, expected: dict[str, Values]) -> None:
    """Run the commands again: they change nothing."""
    configuration = newcomer.shell.folder / "luigi.cfg"
    before = configuration.read_bytes()

    create = newcomer.shell.program("bash", "-c", CREATE)
    printed = [newcomer.run(command).out for command in FILL[1:]]

    assert "already exists" in create.err
    assert configuration.read_bytes() == before
    assert printed[1].startswith("up to date")
    assert "already imported" in printed[2]
    assert stored_complaints(server) == expected


def test_last_command_installs_the_lines(installation: Chain, crontab: UserCrontab) -> None:
    printed = [installation.program("bash", "-c", CRON).out for _ in range(2)]

    lines = crontab.read().decode()
    for task in ("SyncComplaints", "ReconcileComplaints", "PruneSnapshots"):
        assert len(re.findall(rf"^[^#].* unattended {task}\b", lines, re.MULTILINE)) == 1
    assert "now in your crontab" in printed[0]
    assert "already in your crontab" in printed[1]
