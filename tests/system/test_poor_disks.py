"""File systems without locks, hard links or fsync on folders: runs work or end with one line."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Chain, Serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc: apt install gcc"),
]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library that makes system calls fail."""
    library = tmp_path_factory.mktemp("library") / "poor_disk.so"
    source = Path(__file__).with_name("poor_disk.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def without(chain: Chain, library: Path, calls: str, below: str = "") -> Chain:
    """Let calls such as `flock` fail below a folder of the chain."""
    chain.environment.update(LD_PRELOAD=str(library), NOT=calls, BELOW=str(chain.folder / below))
    return chain


def test_runs_work_without_hard_links_and_folder_fsync(chain: Chain, served: Serve, library: Path) -> None:
    without(chain, library, "fsync link")

    run = chain.luigi(task="MergeComplaints", url=served(50).url)

    assert (run.code, run.err) == (0, "")
    latest = chain.folder / "data/latest/all-newest-10.csv"
    assert latest.read_bytes() == chain.file(".complaints.csv").read_bytes()
    assert latest.stat().st_nlink == 1


@pytest.mark.parametrize(
    ("task", "file"),
    [("StoreComplaints", ".partial"), ("SyncComplaints", ".lock")],
)
def test_root_without_locks_names_the_setting(
    chain: Chain, served: Serve, library: Path, task: str, file: str
) -> None:
    without(chain, library, "flock", "data")

    run = chain.luigi(task=task, url=served(50).url)

    assert run.code == 30
    assert run.err.count("\n") == 1
    assert f"{file}: No locks available; set [storage] root to a folder on a local disk" in run.err


def test_newest_csv_without_locks_names_the_setting(chain: Chain, served: Serve, library: Path) -> None:
    without(chain, library, "flock", "data/latest")

    run = chain.luigi(url=served(50).url)

    assert run.code == 30
    assert run.err.endswith(".csv.lock: No locks available; set [storage] root to a folder on a local disk\n")
    assert run.err.count("\n") == 1


def test_pace_file_without_locks_names_the_setting(chain: Chain, served: Serve, library: Path) -> None:
    without(chain, library, "flock", "cache")

    run = chain.luigi("--ccdb-requests-per-minute", "20", url=served(50).url)

    assert run.code == 30
    assert run.err.endswith("pace.json: No locks available; set [ccdb] pace_file to a file on a local disk\n")
    assert run.err.count("\n") == 1


def test_service_folder_may_lack_locks(chain: Chain, served: Serve, library: Path) -> None:
    chain.environment["TMPDIR"] = str(chain.folder)
    without(chain, library, "flock", "service")
    server = served(50, "1:hang")

    first = chain.start(*chain.unattended_command("--ccdb-read-timeout", "8"), url=server.url)
    while not server.asked:
        assert first.poll() is None
    second = chain.unattended(url=server.url)
    out, err = first.communicate(timeout=60)

    assert (second.code, second.out, second.err) == (10, "", "")
    assert (first.returncode, out, err) == (0, "", "")


def test_no_folder_with_locks_is_one_line(chain: Chain, served: Serve, library: Path) -> None:
    chain.environment["TMPDIR"] = str(chain.folder)
    without(chain, library, "flock")

    run = chain.unattended(url=served(50).url)

    assert (run.code, run.out) == (1, "")
    assert run.err == (
        "luigi-etl: error: cannot lock service/StoreComplaints.all-newest-10.lock: No locks available; "
        "set [service] folder to one on a local disk\n"
    )
