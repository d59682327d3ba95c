"""A job: one run at a time, and a state that survives outages."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from luigi_etl.common.errors import StorageError
from luigi_etl.common.job_state import BusyError, Job, JobState, find_jobs
from luigi_etl.common.reason import LONGEST_REASON
from tests.conftest import read_only

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
FAILING = JobState(failures=3, failing_since=NOON, first_error="no network", rows=10)


@pytest.fixture(autouse=True)
def _private_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("chain", tmp_path / "service")


def read_state(job: Job) -> JobState:
    """Return the state of the job without its number of writes."""
    return msgspec.structs.replace(job.read_state(), written=0)


def test_state_is_read_as_written(job: Job) -> None:
    assert read_state(job) == JobState()
    job.write_state(FAILING)
    assert read_state(job) == FAILING


def test_shorter_state_replaces_a_longer_one(job: Job) -> None:
    job.write_state(JobState(first_error='\\"' * (LONGEST_REASON // 2), failures=10**9, failing_since=NOON))
    job.write_state(JobState())

    assert read_state(job) == JobState()


def test_damaged_state_is_empty(job: Job) -> None:
    job.write_state(FAILING)
    (job.folder / "chain.state").write_bytes(b"\0" * 4096)

    assert read_state(job) == JobState()


def test_second_run_is_refused_and_names_the_first(job: Job) -> None:
    with job.exclusive():
        message = rf"another run is under way \(process {os.getpid()}, begun at 20\d\d-.* UTC\)"
        with pytest.raises(BusyError, match=message), job.exclusive():
            pass
    with job.exclusive():
        pass


def test_jobs_with_different_names_run_together(job: Job) -> None:
    with job.exclusive(), Job("other", job.folder).exclusive():
        pass


@pytest.mark.slow
def test_forked_process_of_a_killed_run_keeps_the_lock(job: Job) -> None:
    script = (
        "import os, sys, time; from pathlib import Path; from luigi_etl.common.job_state import Job\n"
        "with Job('chain', Path(sys.argv[1])).exclusive():\n"
        "    if os.fork(): print('begun', flush=True); time.sleep(60)\n"
        "    else: time.sleep(2); os._exit(0)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(job.folder)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline()
    process.kill()
    process.wait()
    with pytest.raises(BusyError), job.exclusive():
        pass
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with job.exclusive():
                break
        except BusyError:
            time.sleep(0.1)
    else:
        pytest.fail("the lock is still held")


def test_state_is_overwritten_in_place_on_a_full_disk(small_disk: Path) -> None:
    job = Job("chain", small_disk)
    job.write_state(JobState())
    with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
        while True:
            other.write(b"x" * 4096)
    job.write_state(JobState(failures=4))

    assert json.loads((small_disk / "chain.state").read_bytes())["failures"] == 4
    assert not replacements(job)


def replacements(job: Job) -> list[Path]:
    return list((job.folder.parent / "tmp").rglob("*.state"))


def test_newest_state_is_read_after_a_folder_was_read_only(job: Job) -> None:
    with job.exclusive(), read_only(job.folder):
        job.write_state(FAILING)
        assert read_state(job) == FAILING

    assert read_state(job) == FAILING


def test_replacement_is_removed_when_the_folder_is_back(unusable: Job) -> None:
    unusable.write_state(FAILING)
    assert replacements(unusable)
    unusable.folder.unlink()
    unusable.write_state(JobState())
    assert not replacements(unusable)


@pytest.fixture
def unusable(job: Job) -> Job:
    """Return a job whose folder can't be created, because a file has its name."""
    job.folder.write_text("in the way")
    return job


def test_temporary_folder_replaces_an_unusable_folder(unusable: Job) -> None:
    with unusable.exclusive():
        unusable.write_state(FAILING)
        assert read_state(unusable) == FAILING
        with pytest.raises(BusyError), unusable.exclusive():
            pass


def test_state_of_the_replacement_is_read_later(unusable: Job) -> None:
    unusable.write_state(FAILING)
    unusable.folder.unlink()
    assert read_state(unusable) == FAILING
    unusable.write_state(JobState(rows=8))
    assert read_state(unusable) == JobState(rows=8)


def test_replacement_that_others_can_write_is_not_used(unusable: Job) -> None:
    open_to_all = unusable.folder.parent / "tmp" / f"luigi_etl-{os.getuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    unusable.write_state(FAILING)

    assert read_state(unusable) == JobState()
    with (
        pytest.raises(StorageError, match=r"cannot write .*service.*set \[service\] folder"),
        unusable.exclusive(),
    ):
        pass
    assert list(open_to_all.iterdir()) == []


def test_two_folders_have_separate_replacements(tmp_path: Path, unusable: Job) -> None:
    other = Job("chain", tmp_path / "other" / "service")
    (tmp_path / "other").write_text("in the way")
    unusable.write_state(FAILING)

    assert read_state(other) == JobState()


def test_minutes_without_a_record_are_stored_as_ranges() -> None:
    minutes = [NOON + minute * timedelta(minutes=1) for minute in range(5000)]

    state = JobState().with_unrecorded(minutes, "x" * 1000)

    assert state.unrecorded_minutes == minutes
    assert len(msgspec.json.encode(state)) < 1000


def test_largest_state_fits_a_block() -> None:
    odd = [NOON + minute * timedelta(minutes=2) for minute in range(100)]
    state = JobState(
        written=10**9,
        process=10**7,
        failures=10**6,
        failing_since=NOON,
        first_error="\u00e9" * LONGEST_REASON,
        cause="0" * 16,
        last_success=NOON,
        counts={"new": 10**8, "changed": 10**8, "withdrawn": 10**8, "returned": 10**8},
        minute=NOON,
        slug="x" * 190,
    ).with_unrecorded(odd, "\u00e9" * 1000)

    assert state.unrecorded_minutes == odd[-40:]
    assert len(msgspec.json.encode(state)) < 4096


def test_lock_that_is_only_tested_does_not_block_a_run(job: Job) -> None:
    with job.exclusive():
        pass
    descriptor = os.open(job.folder / "chain.lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    threading.Timer(0.01, os.close, [descriptor]).start()

    with job.exclusive():
        pass


def test_jobs_of_the_replacement_are_known(unusable: Job) -> None:
    assert find_jobs(unusable.folder) == []

    with unusable.exclusive():
        (found,) = find_jobs(unusable.folder)
        assert found.is_under_way()

    assert found == unusable
    assert not found.is_under_way()
