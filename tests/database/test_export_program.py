"""`luigi-etl export` as a program: signals, closed pipes, memory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from luigi_etl.database.connection import Database
from tests.conftest import Chain, Run, with_peak_memory
from tests.database.test_export import cover, generate, insert
from tests.postgres import PostgresServer
from tests.snapshot.test_store import HEADER

pytestmark = [pytest.mark.libraries, pytest.mark.slow]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def large_address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path | str]:
    """Give the address of a database of 20,000 complaints, which tests only read."""
    with ExitStack() as databases:
        address: Path | str = tmp_path_factory.mktemp("large") / "complaints.db"
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("shared_postgres")
            address = databases.enter_context(server.new_database("large"))
        insert(cover(Database(address)), *generate(20_000))
        yield address


@pytest.fixture
def large(large_address: Path | str, chain: Chain) -> Chain:
    """Give a folder to run programs in, with a database of 20,000 complaints."""
    chain.configure("storage", database=large_address)
    return chain


def test_closed_pipe_ends_an_export_silently(large: Chain) -> None:
    found = large.program("bash", "-c", "luigi-etl export | head -n 1; echo ${PIPESTATUS[0]}")
    assert (found.out, found.err) == (f"{HEADER}0\n", "")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (">/dev/full", "[Errno 28] No space left on device"),
        (">&-", "[Errno 9] standard output is closed"),
    ],
)
def test_unwritable_output_is_reported_in_one_line(large: Chain, out: str, message: str) -> None:
    found = large.program("bash", "-c", f"luigi-etl export {out}")
    assert (found.code, found.err) == (1, f"luigi-etl: error: {message}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("name", ["complaints.csv", "complaints.parquet"])
def test_interrupted_export_keeps_the_old_file(
    large: Chain, folder: Path, name: str, number: signal.Signals
) -> None:
    (folder / name).write_bytes(b"before")
    process = large.start("luigi-etl", "export", str(folder / name))
    assert signalled(process, folder, number) == Run(130, "", "")
    assert (os.listdir(folder), (folder / name).read_bytes()) == ([name], b"before")


def test_export_under_nohup_survives_the_terminal(large: Chain, folder: Path) -> None:
    path = folder / "complaints.csv"
    path.touch()
    process = large.start("nohup", "luigi-etl", "export", str(path), stdin=subprocess.DEVNULL)
    assert signalled(process, folder, signal.SIGHUP) == Run(0, f"20,000 complaints: {path}\n", "")


def signalled(process: subprocess.Popen[str], folder: Path, number: signal.Signals) -> Run:
    """Send a signal to an export once its temporary file exists; return its result."""
    while len(os.listdir(folder)) == 1:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    return Run(process.returncode, out, err)


def test_memory_does_not_grow_with_the_table(
    database: Database, database_address: Path | str, chain: Chain
) -> None:
    chain.configure("storage", database=database_address)
    insert(cover(database), *generate(60_000, issue="Improper use of your report, " * 100))
    for name in ("complaints.csv", "complaints.parquet"):
        nothing = megabytes(chain, name, "--query", "state=CA")
        assert megabytes(chain, name) - nothing < 150, name  # the texts alone take 170


def megabytes(chain: Chain, *arguments: str) -> float:
    """Return the peak memory of an export."""
    found = chain.program(*with_peak_memory(sys.executable, "-m", "luigi_etl", "export", *arguments))
    assert found.code == 0, found.err
    return int(found.err) / 1024
