"""A job: one run at a time, and a memory that outlives what it is about."""

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
from luigi_etl.common.job_state import BusyError, Job, JobState, known_jobs
from luigi_etl.common.reason import LONGEST_REASON
from tests.conftest import read_only

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
ILL = JobState(failures=3, failing_since=NOON, first_error="no network", rows=10)


@pytest.fixture(autouse=True)
def _own_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("chain", tmp_path / "service")


def recalled(job: Job) -> JobState:
    """Return what the job remembers, but for how often it was written."""
    return msgspec.structs.replace(job.read_state(), written=0)


def test_what_is_remembered_is_recalled(job: Job) -> None:
    assert recalled(job) == JobState()
    job.write_state(ILL)
    assert recalled(job) == ILL


def test_a_shorter_memory_replaces_a_longer_one(job: Job) -> None:
    job.write_state(JobState(first_error='\\"' * (LONGEST_REASON // 2), failures=10**9, failing_since=NOON))
    job.write_state(JobState())
    assert recalled(job) == JobState()


def test_damaged_memory_is_none(job: Job) -> None:
    job.write_state(ILL)
    (job.folder / "chain.state").write_bytes(b"\0" * 4096)
    assert recalled(job) == JobState()


def test_a_second_run_is_kept_out_and_told_which_is_under_way(job: Job) -> None:
    with job.exclusive():
        told = rf"another run is under way \(process {os.getpid()}, begun at 20\d\d-.* UTC\)"
        with pytest.raises(BusyError, match=told), job.exclusive():
            pass
    with job.exclusive():
        pass


def test_jobs_of_other_names_do_not_wait_for_each_other(job: Job) -> None:
    with job.exclusive(), Job("other", job.folder).exclusive():
        pass


@pytest.mark.slow
def test_a_process_forked_by_a_killed_run_still_keeps_others_out(job: Job) -> None:
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
        pytest.fail("still kept out")


def test_what_is_remembered_changes_in_place_however_full_the_disk(small_disk: Path) -> None:
    job = Job("chain", small_disk)
    job.write_state(JobState())
    with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
        while True:
            other.write(b"x" * 4096)
    job.write_state(JobState(failures=4))
    assert json.loads((small_disk / "chain.state").read_bytes())["failures"] == 4
    assert not stand_ins(job)


def stand_ins(job: Job) -> list[Path]:
    return list((job.folder.parent / "tmp").rglob("*.state"))


def test_a_folder_that_becomes_read_only_within_a_run_does_not_bring_older_memories_back(job: Job) -> None:
    with job.exclusive(), read_only(job.folder):
        job.write_state(ILL)
        assert recalled(job) == ILL
    assert recalled(job) == ILL


def test_back_in_its_folder_a_job_leaves_nothing_among_the_temporary_files(unusable: Job) -> None:
    unusable.write_state(ILL)
    assert stand_ins(unusable)
    unusable.folder.unlink()
    unusable.write_state(JobState())
    assert not stand_ins(unusable)


@pytest.fixture
def unusable(job: Job) -> Job:
    """Give a job whose folder can't be made: a file has its name."""
    job.folder.write_text("in the way")
    return job


def test_where_the_folder_cannot_be_written_the_temporary_files_stand_in(unusable: Job) -> None:
    with unusable.exclusive():
        unusable.write_state(ILL)
        assert recalled(unusable) == ILL
        with pytest.raises(BusyError), unusable.exclusive():
            pass


def test_an_outage_remembered_there_is_known_when_the_folder_is_back(unusable: Job) -> None:
    unusable.write_state(ILL)
    unusable.folder.unlink()
    assert recalled(unusable) == ILL
    unusable.write_state(JobState(rows=8))
    assert recalled(unusable) == JobState(rows=8)


def test_a_folder_among_the_temporary_files_that_others_can_write_is_not_used(unusable: Job) -> None:
    open_to_all = unusable.folder.parent / "tmp" / f"luigi_etl-{os.getuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    unusable.write_state(ILL)
    assert recalled(unusable) == JobState()
    with (
        pytest.raises(StorageError, match=r"cannot write .*service.*set \[service\] folder"),
        unusable.exclusive(),
    ):
        pass
    assert list(open_to_all.iterdir()) == []


def test_the_stand_ins_of_two_folders_are_two(tmp_path: Path, unusable: Job) -> None:
    other = Job("chain", tmp_path / "other" / "service")
    (tmp_path / "other").write_text("in the way")
    unusable.write_state(ILL)
    assert recalled(other) == JobState()


def test_minutes_without_a_record_are_kept_as_ranges() -> None:
    minutes = [NOON + minute * timedelta(minutes=1) for minute in range(5000)]

    memory = JobState().with_unrecorded(minutes, "x" * 1000)

    assert memory.unrecorded_minutes == minutes
    assert len(msgspec.json.encode(memory)) < 1000


def test_the_most_that_is_remembered_fits_a_block() -> None:
    odd = [NOON + minute * timedelta(minutes=2) for minute in range(100)]
    memory = JobState(
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

    assert memory.unrecorded_minutes == odd[-40:]
    assert len(msgspec.json.encode(memory)) < 4096


def test_a_look_at_the_lock_keeps_no_run_out(job: Job) -> None:
    with job.exclusive():
        pass
    descriptor = os.open(job.folder / "chain.lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    threading.Timer(0.01, os.close, [descriptor]).start()

    with job.exclusive():
        pass


def test_jobs_are_known_also_where_the_temporary_files_stand_in(unusable: Job) -> None:
    assert known_jobs(unusable.folder) == []

    with unusable.exclusive():
        (found,) = known_jobs(unusable.folder)
        assert found.is_under_way()

    assert found == unusable
    assert not found.is_under_way()
