"""`luigi_etl.service.redo`, killed at any step and any number of times: no file and no merge is lost."""

import hashlib
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from luigi_etl.api.query import parse_query
from luigi_etl.common.files import atomic_write
from luigi_etl.database.observations import read_observations
from luigi_etl.service.redo import NothingToRedoError, check_not_merged, needs_merge, redo
from luigi_etl.snapshot.datapackage import SnapshotSpec, describe
from luigi_etl.snapshot.datapackage_reader import read_facts
from luigi_etl.snapshot.parse import Summary
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.store import create_document, publish, store
from tests.made import SLUG, record

MINUTE = datetime(2026, 11, 22, 9, 26)
STEPS = 40  # more than a redo's file operations
CHANGES_FILES = {"os.rename", "os.remove", "os.link", "open"}


def run_chain(files: SnapshotFiles, attempt: int, *, is_merged: bool) -> int:
    """Write the missing files of a snapshot as the chain does; each attempt parses another complaint."""
    if not files.document.exists():
        create_document(files.document, "")
    if not files.extracted.exists():
        with atomic_write(files.extracted) as stream:
            stream.write(b"pages")
    if not files.summary.exists():
        for path, content in (
            (files.parsed, b'{"complaint_id":"%d"}\n' % attempt),
            (files.rejected, b""),
            (files.summary, b"{}\n"),
        ):
            with atomic_write(path) as stream:
                stream.write(content)
    if not files.datapackage.exists():
        csv = store(files.document, files.parsed, files.complaints, 1, MINUTE)
        publish(files.complaints, files.latest)
        summary = Summary(address="https://x/", hits_total=1, hits=1, parsed=1)
        describe(files.datapackage, files.complaints, csv, summary, SnapshotSpec(parse_query(""), 10, MINUTE))
        record(files, "stored")
    if is_merged and not files.changes.exists():
        with atomic_write(files.changes) as stream:
            stream.write(hash_of(files.parsed))
        record(files, "merged", task="MergeComplaints")
    return 0


def hash_of(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Run an action in a process, killed before file operation `step`; return whether it was killed."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        left = step

        def kill(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in CHANGES_FILES and (event != "open" or int(str(arguments[2])) & os.O_CREAT):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def kill_redo(files: SnapshotFiles, stage: str, attempt: int, step: int, *, fails: bool = False) -> bool:
    """Redo a snapshot as the command does, and kill the process; `fails` lets the run itself fail."""
    is_merged = needs_merge(files)

    def run() -> int:
        if fails:
            run_chain(files, attempt, is_merged=False)
            record(files, "failed", task="MergeComplaints" if is_merged else "StoreComplaints")
            return 30
        return run_chain(files, attempt, is_merged=is_merged)

    return killed_at(step, lambda: redo(files, stage, run))


def check_whole(files: SnapshotFiles) -> None:
    """Check that all files come from one run of the chain."""
    facts = read_facts(files.datapackage, files.complaints)
    assert len(list(read_observations(files.parsed, facts.parsed_hash))) == 1
    assert files.latest.read_bytes() == files.complaints.read_bytes()
    if files.changes.exists():
        assert files.changes.read_bytes() == hash_of(files.parsed)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory if there is one: these tests sync thousands of files."""
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if in_memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def merged(memory: Path) -> SnapshotFiles:
    """Return a merged snapshot."""
    files = SnapshotFiles(memory, SLUG, MINUTE)
    run_chain(files, 0, is_merged=True)
    return files


def check_settled(files: SnapshotFiles, stage: str) -> None:
    """Check the files after a redo that fails, and after one that succeeds."""
    assert redo(files, stage, lambda: 30) == 30
    check_whole(files)
    assert needs_merge(files)
    with pytest.raises(NothingToRedoError):
        check_not_merged(files)
    assert redo(files, stage, lambda: run_chain(files, 99, is_merged=True)) == 0
    check_whole(files)
    assert files.changes.exists()
    assert not list(files.folder.glob("*.redo"))


@pytest.mark.parametrize("stage", ["create", "parse", "store", "merge"])
def test_redo_killed_twice_after_storing_still_merges(merged: SnapshotFiles, stage: str) -> None:
    killed = [kill_redo(merged, stage, attempt, step) for attempt, step in ((1, 24), (2, 12), (3, 24))]

    assert any(killed)
    check_settled(merged, "parse")


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("stage", ["create", "parse", "store", "merge"])
def test_redo_killed_at_each_step_loses_nothing(merged: SnapshotFiles, stage: str, fails: bool) -> None:
    for step in range(STEPS):
        was_killed = kill_redo(merged, stage, step, step, fails=fails)
        check_settled(merged, stage)
        if not was_killed:
            break
    assert step > 5


@pytest.mark.parametrize("seed", range(10))
def test_redos_killed_several_times_lose_nothing(merged: SnapshotFiles, seed: int) -> None:
    chosen = random.Random(seed)
    stages = ["create", "parse", "store", "merge"]
    for attempt in range(1, 6):
        step, fails = chosen.randrange(STEPS), chosen.random() < 0.3
        kill_redo(merged, chosen.choice(stages), attempt, step, fails=fails)
        assert needs_merge(merged)

    check_settled(merged, chosen.choice(stages))


@pytest.mark.parametrize("seed", range(5))
def test_killed_redos_of_a_failed_merge_still_merge(memory: Path, seed: int) -> None:
    chosen = random.Random(seed)
    files = SnapshotFiles(memory, SLUG, MINUTE)
    run_chain(files, 0, is_merged=False)
    record(files, "failed", task="MergeComplaints")
    for attempt in range(1, 5):
        stage, step = chosen.choice(["extract", "parse", "store", "merge"]), chosen.randrange(STEPS)
        kill_redo(files, stage, attempt, step, fails=chosen.random() < 0.3)
        assert needs_merge(files)

    assert redo(files, "store", lambda: 30) == 30
    check_whole(files)
    assert needs_merge(files)


@pytest.mark.parametrize("seed", range(5))
def test_killed_redos_of_a_snapshot_never_merged(memory: Path, seed: int) -> None:
    chosen = random.Random(seed)
    files = SnapshotFiles(memory, SLUG, MINUTE)
    run_chain(files, 0, is_merged=False)
    for attempt in range(1, 5):
        stage, step = chosen.choice(["create", "extract", "parse", "store"]), chosen.randrange(STEPS)
        kill_redo(files, stage, attempt, step, fails=chosen.random() < 0.3)

    assert redo(files, "store", lambda: 30) == 30
    check_whole(files)
    assert not needs_merge(files)
