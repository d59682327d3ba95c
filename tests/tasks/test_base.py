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
def luigi_log() -> Iterator[None]:
    """Let the test see Luigi's log, which other tests in this process have silenced."""
    logger = logging.getLogger("luigi-interface")
    before = logger.propagate, logger.disabled, logger.level
    logger.propagate, logger.disabled = True, False
    logger.setLevel(logging.NOTSET)
    yield
    logger.propagate, logger.disabled = before[:2]
    logger.setLevel(before[2])


def test_files_of_a_snapshot_share_a_prefix() -> None:
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
def test_query_and_limit_name_the_folder(query: str, limit: int, slug: str) -> None:
    assert Snapshot(timestamp=MINUTE, query=query, limit=limit).files.slug == slug


def test_longest_query_stays_inside_the_root() -> None:
    query = "&".join(f"company={letter * 200}" for letter in "abcdef")
    files = Snapshot(timestamp=MINUTE, query=query).files

    assert len(files.latest.name) < 200
    assert files.latest.parent == Path("data/latest")


def test_messages_are_escaped_for_luigid(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    task = Snapshot(timestamp=MINUTE)
    monkeypatch.setattr(task, "set_status_message", messages.append)

    task.set_status('<script src="x">')

    assert messages == ["&lt;script src=&quot;x&quot;&gt;"]


def test_unreachable_luigid_does_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RPCError("luigid is away")

    monkeypatch.setattr("luigi_etl.tasks.base.STATUS_PAUSE", 0.0)  # a pause would last into other tests
    task = Snapshot(timestamp=MINUTE)
    monkeypatch.setattr(task, "set_status_message", fail)
    monkeypatch.setattr(task, "set_progress_percentage", fail)
    task.set_status("hello")
    task.show_progress(1, 2)


def test_progress_is_sent_at_most_once_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    task = Snapshot(timestamp=MINUTE, limit=4)
    monkeypatch.setattr(task, "set_progress_percentage", sent.append)
    monkeypatch.setattr("luigi_etl.tasks.base.PROGRESS_INTERVAL", 0.2)
    task.show_progress(1, 4)
    task.show_progress(2, 4)
    time.sleep(0.25)
    task.show_progress(3, 4)

    assert sent == [25, 75]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StorageError("cannot write <x>"), "cannot write <x>"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
    ],
)
def test_luigid_gets_a_failure_in_one_line(error: Exception, line: str) -> None:
    """luigid escapes it in its page."""
    assert Snapshot(timestamp=MINUTE).on_failure(error) == line


def test_failure_in_an_html_mail_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_log_of_a_bug_begins_with_its_reason_and_has_no_rows(caplog: pytest.LogCaptureFixture) -> None:
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


def record_late(root: Path, family: type[Recorded]) -> tuple[str, str]:
    """Record the failure of an earlier minute; return the outcome and the task on record."""
    task = family(timestamp=MINUTE + timedelta(minutes=5))
    task.record_earlier(MINUTE, "no room")
    found = read_record(SnapshotFiles(root, task.slug, MINUTE).run)
    return found.outcome, found.task


@pytest.mark.parametrize("family", [StoreComplaints, MergeComplaints, SyncComplaints])
def test_failure_is_recorded_late(root: Path, family: type[Recorded]) -> None:
    assert record_late(root, family) == ("failed", family.__name__)


def test_failed_merge_of_a_stored_snapshot_is_recorded_late(root: Path) -> None:
    stored(root, MINUTE)

    assert record_late(root, MergeComplaints) == ("failed", "MergeComplaints")


def test_success_is_not_recorded_as_failed_later(root: Path) -> None:
    merged(root, MINUTE)
    synced(root, MINUTE)

    assert record_late(root, StoreComplaints)[0] == "merged"
    assert record_late(root, MergeComplaints)[0] == "merged"
    assert record_late(root, SyncComplaints)[0] == "synced"
