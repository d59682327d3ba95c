import logging
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import luigi
import pytest
from luigi.rpc import RPCError
from luigi.task_register import Register

from luigi_etl.common.errors import QueryError, StorageError
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.run_record import read_record
from luigi_etl.tasks.base import Recorded, Snapshot
from luigi_etl.tasks.chain import StoreComplaints
from luigi_etl.tasks.merge import MergeComplaints
from luigi_etl.tasks.sync import SyncComplaints
from tests.made import merged, stored, synced

MINUTE = datetime(2026, 11, 22, 9, 26)


@pytest.fixture(autouse=True)
def reported() -> Iterator[None]:
    """Let Luigi's log reach the test: runs of other tests in this process set it to silence."""
    logger = logging.getLogger("luigi-interface")
    before = logger.propagate, logger.disabled, logger.level
    logger.propagate, logger.disabled = True, False
    logger.setLevel(logging.NOTSET)
    yield
    logger.propagate, logger.disabled = before[:2]
    logger.setLevel(before[2])


def test_the_files_of_a_snapshot_share_a_prefix() -> None:
    files = SnapshotFiles(Path("data"), "all-newest-10", MINUTE)
    prefix = "data/snapshots/all-newest-10/2026-11-22/20261122T0926Z"
    assert list(map(str, (files.document, files.extracted, files.parsed, files.rejected, files.summary))) == [
        f"{prefix}.document.csv",
        f"{prefix}.extracted.jsonl.gz",
        f"{prefix}.parsed.jsonl",
        f"{prefix}.rejected.jsonl",
        f"{prefix}.summary.json",
    ]
    assert (str(files.complaints), str(files.datapackage)) == (
        f"{prefix}.complaints.csv",
        f"{prefix}.datapackage.json",
    )
    assert str(files.latest) == "data/latest/all-newest-10.csv"


@pytest.mark.parametrize(
    ("query", "limit", "slug"),
    [
        ("", 10, "all-newest-10"),
        ("", 0, "all"),
        ("state=CA", 0, "state=CA"),
        ("state=CA", 10, "state=CA-newest-10"),
        ("company=../../x", 0, "company=..%2F..%2Fx"),
    ],
)
def test_query_and_limit_are_the_folder(query: str, limit: int, slug: str) -> None:
    assert Snapshot(timestamp=MINUTE, query=query, limit=limit).files.slug == slug


def test_the_longest_query_stays_inside_the_root() -> None:
    query = "&".join(f"company={letter * 200}" for letter in "abcdef")
    files = Snapshot(timestamp=MINUTE, query=query).files
    assert len(files.latest.name) < 200
    assert files.latest.parent == Path("data/latest")


def test_messages_are_escaped_for_luigid(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    task = Snapshot(timestamp=MINUTE)
    monkeypatch.setattr(task, "set_status_message", said.append)
    task.set_status('<script src="x">')
    assert said == ["&lt;script src=&quot;x&quot;&gt;"]


def test_a_luigid_that_went_away_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise RPCError("luigid is away")

    monkeypatch.setattr("luigi_etl.tasks.base.STATUS_PAUSE", 0.0)  # a pause would last into other tests
    task = Snapshot(timestamp=MINUTE)
    monkeypatch.setattr(task, "set_status_message", away)
    monkeypatch.setattr(task, "set_progress_percentage", away)
    task.set_status("hello")
    task.show_progress(1, 2)


def test_how_far_a_task_is_is_told_at_most_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    task = Snapshot(timestamp=MINUTE, limit=4)
    monkeypatch.setattr(task, "set_progress_percentage", told.append)
    monkeypatch.setattr("luigi_etl.tasks.base.PROGRESS_INTERVAL", 0.2)
    task.show_progress(1, 4)
    task.show_progress(2, 4)
    time.sleep(0.25)
    task.show_progress(3, 4)
    assert told == [25, 75]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StorageError("cannot write <x>"), "cannot write <x>"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
    ],
)
def test_luigid_gets_a_failure_in_one_line(error: Exception, line: str) -> None:
    """luigid's page escapes it."""
    assert Snapshot(timestamp=MINUTE).on_failure(error) == line


def test_an_html_mail_gets_a_failure_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("email", "format", "html")
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)

    assert Snapshot(timestamp=MINUTE).on_failure(StorageError("<x>")) == "&lt;x&gt;"


@pytest.mark.parametrize(("error", "lines"), [(QueryError("100 % wrong"), 1), (ZeroDivisionError("oops"), 5)])
def test_only_bugs_are_logged_with_a_traceback(
    caplog: pytest.LogCaptureFixture, error: Exception, lines: int
) -> None:
    logger = logging.getLogger("luigi-interface")
    try:
        raise error
    except (QueryError, ZeroDivisionError):
        logger.exception("[pid %s] Worker %s failed    %s", 1, "w", Snapshot(timestamp=MINUTE))
    assert len(caplog.text.splitlines()) >= lines
    assert ("Traceback" in caplog.text) == (lines > 1)
    assert str(error) in caplog.text


def test_the_reason_of_a_bug_comes_first_and_its_trace_has_no_rows(caplog: pytest.LogCaptureFixture) -> None:
    first, second = ValueError("first\n[SQL: secret]"), KeyError("second")
    second.__cause__ = first
    arguments = (1, "Worker(salt=1)", Snapshot(timestamp=MINUTE))

    logging.getLogger("luigi-interface").error("[%s] Worker %s failed  %s", *arguments, exc_info=second)

    assert caplog.text.splitlines()[0].endswith("Snapshot: KeyError: 'second'")
    assert re.findall(r"^\w+Error: .*", caplog.text, re.MULTILINE) == [
        "ValueError: first",
        "KeyError: 'second'",
    ]
    assert "secret" not in caplog.text
    assert "salt" not in caplog.text


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the storage root; forget the tasks that were created for it."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "root", str(tmp_path))
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    Register.clear_instance_cache()
    yield tmp_path
    Register.clear_instance_cache()


def outcome(root: Path, family: type[Recorded]) -> tuple[str, str]:
    """Record late that the run of a minute failed; return what is then on record of it."""
    task = family(timestamp=MINUTE + timedelta(minutes=5))
    task.record_earlier(MINUTE, "no room")
    found = read_record(SnapshotFiles(root, task.slug, MINUTE).run)
    return found.outcome, found.task


@pytest.mark.parametrize("family", [StoreComplaints, MergeComplaints, SyncComplaints])
def test_a_failure_can_be_recorded_late(root: Path, family: type[Recorded]) -> None:
    assert outcome(root, family) == ("failed", family.__name__)


def test_a_merge_that_failed_after_the_snapshot_was_stored_is_recorded_late(root: Path) -> None:
    stored(root, MINUTE)

    assert outcome(root, MergeComplaints) == ("failed", "MergeComplaints")


def test_what_ended_well_since_is_not_recorded_as_failed(root: Path) -> None:
    merged(root, MINUTE)
    synced(root, MINUTE)

    assert outcome(root, StoreComplaints)[0] == "merged"
    assert outcome(root, MergeComplaints)[0] == "merged"
    assert outcome(root, SyncComplaints)[0] == "synced"
