"""Odd inputs and outputs end a command with one line and the right exit code."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from luigi_etl import StoreComplaints
from luigi_etl.api.rate_limit import Pace
from luigi_etl.common.errors import DamagedFileError, StorageError
from luigi_etl.common.job_state import Job
from luigi_etl.database.observations import read_observations, read_rejected_ids
from luigi_etl.service.run_history import list_runs
from luigi_etl.snapshot.parse import read_summary
from luigi_etl.snapshot.run_record import read_record
from tests.conftest import Chain, Run, Serve
from tests.made import ended

NESTED = b"[" * 100_000
MINUTE = datetime(2026, 11, 22, 9, 26)


def on_full_output(chain: Chain, *command: str, url: str = "") -> Run:
    """Run a program with /dev/full as standard output, which fails when the buffer is flushed."""
    chain.environment.pop("PYTHONUNBUFFERED", None)
    with Path("/dev/full").open("w") as full:
        return chain.program(*command, url=url, stdout=full)


@pytest.mark.slow
def test_stored_run_that_cannot_print_is_a_success(chain: Chain, served: Serve) -> None:
    run = on_full_output(chain, *chain.luigi_command(), url=served(50).url)

    assert (run.code, run.err) == (
        0,
        "luigi_etl: cannot print the result: No space left on device; the run is not affected\n",
    )
    assert chain.files("Z.datapackage.json")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["runs", "doctor", "--help"])
def test_command_that_cannot_print_fails(chain: Chain, command: str) -> None:
    run = on_full_output(chain, "luigi-etl", command)

    assert (run.code, run.err.count("\n")) == (1, 1)
    assert "No space left on device" in run.err


@pytest.mark.slow
def test_mistyped_task_is_one_line(chain: Chain) -> None:
    run = chain.luigi(task="StoreComplaint")

    assert (run.code, run.out, run.err.count("\n")) == (2, "", 1)
    assert run.err.startswith("luigi: error: No task StoreComplaint. Did you mean: StoreComplaints")


@pytest.mark.slow
def test_percent_sign_in_luigi_cfg_is_one_line(chain: Chain) -> None:
    chain.configure("PruneSnapshots", keep_days="50%")

    run = chain.luigi(task="PruneSnapshots")

    assert (run.out, run.err.count("\n")) == ("", 1)
    assert run.code != 0
    assert "luigi.cfg can't be used ('%' must be followed by" in run.err


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_interrupted_run_shows_no_traceback(chain: Chain, served: Serve, workers: str) -> None:
    server = served(50, "1:hang")
    process: subprocess.Popen[str] = chain.start(
        *chain.luigi_command("--workers", workers), url=server.url, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not server.asked:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode != 0
    assert "Traceback" not in err


READERS: dict[str, Callable[[Path], object]] = {
    "record": read_record,
    "summary": read_summary,
    "parsed": lambda path: list(read_observations(path, "")),
    "rejected": lambda path: list(read_rejected_ids(path)),
    "pace": lambda path: Pace(path, "host", 20).take_turn(),
}


@pytest.mark.parametrize("name", READERS)
def test_deeply_nested_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(NESTED)

    with pytest.raises((DamagedFileError, StorageError)) as caught:
        READERS[name](path)
    assert str(path) in str(caught.value)


def test_deeply_nested_record_is_a_damaged_run(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed").run.write_bytes(NESTED)

    assert [run.outcome for run in list_runs(tmp_path, datetime.min)] == ["damaged"]


def test_deeply_nested_state_of_a_job_is_empty(tmp_path: Path) -> None:
    (tmp_path / "job.state").write_bytes(NESTED)

    assert Job("job", tmp_path).read_state().failures == 0


@pytest.mark.parametrize("year", [1, 999])
def test_minute_before_the_year_1000_is_refused(year: int) -> None:
    with pytest.raises(ValueError, match="is not a minute of the year 1000 or later"):
        StoreComplaints(timestamp=datetime(year, 1, 1))


def test_minute_before_the_year_1000_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        StoreComplaints.timestamp.parse("0999-12-31T2359")

    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
