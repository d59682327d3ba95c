"""The tasks in Luigi: parameters, targets, and status in a real luigid."""

import csv
import json
import re
import time
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import luigi
import pytest
from luigi.task_register import Register

from luigi_etl import (
    CreateDocument,
    ExtractComplaints,
    MergeComplaints,
    ParseComplaints,
    PruneSnapshots,
    StoreComplaints,
    SyncComplaints,
)
from luigi_etl.tasks.base import Snapshot, targets
from tests.conftest import Chain, Luigid, Serve
from tests.made import stored

MINUTE = datetime(2026, 11, 22, 9, 26)


def test_tasks_of_a_chain_share_their_parameters() -> None:
    store = StoreComplaints(timestamp=MINUTE, query="state=CA", limit=5)
    required = store.requires()
    assert required == {
        "document": CreateDocument(timestamp=MINUTE, query="state=CA", limit=5),
        "complaints": ParseComplaints(timestamp=MINUTE, query="state=CA", limit=5),
    }
    parse = ParseComplaints(timestamp=MINUTE, query="state=CA", limit=5)
    assert parse.requires() == ExtractComplaints(timestamp=MINUTE, query="state=CA", limit=5)
    assert ExtractComplaints(timestamp=MINUTE).requires() == []


def test_parameters_have_the_defaults_of_the_tutorial() -> None:
    task = StoreComplaints()

    assert (task.query, task.limit) == ("", 10)
    assert abs((datetime.now(timezone.utc).replace(tzinfo=None) - task.timestamp).total_seconds()) < 24 * 3600
    assert (task.timestamp.second, task.timestamp.tzinfo) == (0, None)


@pytest.mark.parametrize(
    ("family", "endings"),
    [
        (CreateDocument, {"document": "document.csv"}),
        (ExtractComplaints, {"extracted": "extracted.jsonl.gz"}),
        (
            ParseComplaints,
            {"parsed": "parsed.jsonl", "rejected": "rejected.jsonl", "summary": "summary.json"},
        ),
        (StoreComplaints, {"complaints": "complaints.csv", "datapackage": "datapackage.json"}),
        (MergeComplaints, {"changes": "changes.csv"}),
    ],
)
def test_targets_have_names(family: type[Snapshot], endings: dict[str, str]) -> None:
    targets = family(timestamp=MINUTE).output()

    assert {name: Path(one.path).name.partition(".")[2] for name, one in targets.items()} == endings


def test_task_is_complete_once_all_its_targets_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = StoreComplaints(timestamp=MINUTE)
    complaints, datapackage = task.output().values()

    complaints.makedirs()
    Path(complaints.path).touch()
    assert not task.complete()
    Path(datapackage.path).touch()
    assert task.complete()


def test_targets_are_read_as_written(tmp_path: Path) -> None:
    """In any locale, with unchanged line ends within cells."""
    text, compressed = tmp_path / "a.csv", tmp_path / "a.jsonl.gz"
    text.write_bytes('é,"a\r\nb"\r\n'.encode())
    compressed.write_bytes(b"\x1f\x8b")
    found = targets(text=text, compressed=compressed)

    with found["text"].open() as stream:
        assert list(csv.reader(stream)) == [["é", "a\r\nb"]]
    with found["compressed"].open() as stream:
        assert stream.read() == b"\x1f\x8b"


def test_tasks_of_different_storage_roots_have_different_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """luigid runs each id once, even if two folders schedule it."""
    configuration = luigi.configuration.LuigiConfigParser()
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    ids = []
    for root in ("a", "a", "b"):
        configuration.set("storage", "root", str(tmp_path / root))
        Register.clear_instance_cache()
        tasks = [StoreComplaints(timestamp=MINUTE), SyncComplaints(timestamp=MINUTE), PruneSnapshots()]
        ids.append([task.task_id for task in tasks])

    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])


@pytest.mark.slow
def test_checkouts_under_one_luigid_lose_no_run(
    chain: Chain, served: Serve, luigid: Luigid, tmp_path: Path
) -> None:
    """Both run each minute, at the same time."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = Chain(folder)
    other.configure("core", scheduler_port=luigid.port)
    url = served(600).url
    arguments = ("--limit", "0", "--ccdb-requests-per-minute", "0", "--ccdb-page-size", "100", "--timestamp")
    for minute in ("2026-11-22T0926", "2026-11-22T0927", "2026-11-22T0928"):
        started = [one.start(*luigid.command(*arguments, minute), url=url) for one in (chain, other)]
        for process in started:
            process.communicate(timeout=60)
        assert [process.returncode for process in started] == [0, 0]

    assert [len(one.files(".datapackage.json")) for one in (chain, other)] == [3, 3]


@pytest.mark.slow
def test_luigid_shows_all_four_tasks_done(chain: Chain, served: Serve, luigid: Luigid) -> None:
    run = chain.program(*luigid.command(), url=served().url)
    assert (run.code, run.err) == (0, "")
    done = luigid.tasks("DONE")
    assert {task["name"] for task in done.values()} == {
        "CreateDocument",
        "ExtractComplaints",
        "ParseComplaints",
        "StoreComplaints",
    }


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["luigid", "local"])
def test_ten_retries_wait_for_the_delay_under_each_scheduler(
    chain: Chain, luigid: Luigid, scheduler: str
) -> None:
    arguments = ["--ccdb-retry-delay", "0.5", "--ccdb-backoff", "0", "--ccdb-requests-per-minute", "0"]
    command = luigid.command(*arguments, *(["--local-scheduler"] if scheduler == "local" else []))
    process = chain.start(*command, url="http://127.0.0.1:9/")
    assert process.stderr
    lines = [(time.monotonic(), line) for line in process.stderr]
    assert process.wait(timeout=30) == 30
    assert [re.search(r"attempt (\d+) of 11", line)[1] for _, line in lines] == list(map(str, range(1, 12)))  # type: ignore[index]
    gaps = [after - before for (before, _), (after, _) in pairwise(lines)]
    assert all(0.45 <= gap <= 1.5 for gap in gaps)


@pytest.mark.slow
def test_luigid_shows_the_next_attempt_and_the_reason(chain: Chain, luigid: Luigid) -> None:
    arguments = ("--ccdb-retry-delay", "600", "--ccdb-backoff", "0", "--ccdb-requests-per-minute", "0")
    process = chain.start(*luigid.command(*arguments), url="http://127.0.0.1:9/")

    try:
        message = ""
        deadline = time.monotonic() + 30
        while not message and time.monotonic() < deadline:
            time.sleep(0.2)
            waiting = [name for name in luigid.tasks("RUNNING") if name.startswith("ExtractComplaints")]
            message = luigid.message(waiting[0]) if waiting else ""
    finally:
        process.kill()
        process.communicate()

    assert re.match(
        r"next attempt 2 of 11 at \d\d:\d\d:\d\d UTC: 127\.0\.0\.1:9: Failed to establish a new connection",
        message,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "waiting_task"), [("StoreComplaints", "ExtractComplaints"), ("SyncComplaints", "SyncComplaints")]
)
def test_luigid_shows_the_time_of_the_next_request(
    chain: Chain, served: Serve, luigid: Luigid, task: str, waiting_task: str
) -> None:
    arguments = ("--ccdb-page-size", "5", "--ccdb-requests-per-minute", "1")
    process = chain.start(*luigid.command(*arguments, task=task), url=served().url)

    try:
        message = ""
        deadline = time.monotonic() + 30
        while "next request" not in message and time.monotonic() < deadline:
            time.sleep(0.2)
            waiting = [name for name in luigid.tasks("RUNNING") if name.startswith(waiting_task)]
            message = luigid.message(waiting[0]) if waiting else ""
    finally:
        process.kill()
        _, errors = process.communicate()

    assert re.fullmatch(
        r"next request at \d\d:\d\d:\d\d UTC, in 6[01] s: "
        r"127\.0\.0\.1:\d+: the limit of 1 requests per minute is reached",
        message,
    )
    assert errors == ""


@pytest.mark.slow
def test_luigid_shows_the_progress_of_a_long_run(chain: Chain, served: Serve, luigid: Luigid) -> None:
    server = served(100, "2:hang")
    arguments = ("--limit", "0", "--ccdb-page-size", "25", "--ccdb-requests-per-minute", "0")
    process = chain.start(*luigid.command(*arguments), url=server.url)
    try:
        deadline = time.monotonic() + 30
        while len(server.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        (task_id,) = [name for name in luigid.tasks("RUNNING") if name.startswith("ExtractComplaints")]
        assert luigid.message(task_id) == "25 of 100 complaints, 1 page"
        assert luigid.told("get_task_progress_percentage", task_id=task_id)["progressPercentage"] == 25
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_luigid_gets_a_failure_as_one_unescaped_line(chain: Chain, served: Serve, luigid: Luigid) -> None:
    run = chain.program(
        *luigid.command("--ccdb-requests-per-minute", "0"), url=served(50, "1:status=400").url
    )
    assert run.code == 30
    (task_id,) = luigid.tasks("FAILED")
    error = json.loads(luigid.told("fetch_error", task_id=task_id)["error"])
    assert re.fullmatch(
        r'127\.0\.0\.1:\d+: the API refuses the query \(400: state: "ZZ" is not a valid choice\.\)',
        error,
    )


@pytest.mark.slow
def test_failed_minute_can_be_run_again_at_once(chain: Chain, served: Serve, luigid: Luigid) -> None:
    server = served(50, "1:status=400")
    arguments = ("--timestamp", "2026-11-22T0926", "--ccdb-requests-per-minute", "0")

    assert chain.program(*luigid.command(*arguments), url=server.url).code == 30

    assert chain.program(*luigid.command(*arguments), url=server.url).code == 0


@pytest.mark.slow
def test_unreachable_luigid_is_one_line(chain: Chain) -> None:
    chain.configure("core", rpc_retry_attempts=2)
    run = chain.program("luigi", "--module", "luigi_etl", "StoreComplaints", "--scheduler-port", "9")
    assert run.code == 40
    lines = [line for line in run.err.splitlines() if line != "WARNING: Failed pinging scheduler"]
    assert lines == [
        "ERROR: luigid: Errors (2 attempts) when connecting to remote scheduler 'http://127.0.0.1:9'; "
        "start it (luigi-etl luigid) or add --local-scheduler"
    ]


@pytest.mark.slow
def test_pruning_runs_each_time_and_luigid_shows_its_result(chain: Chain, luigid: Luigid) -> None:
    for age in (0, 31, 32):
        stored(chain.folder / "data", datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=age))
    for removed in (2, 0):
        run = chain.program(*luigid.command(task="PruneSnapshots"))
        assert (run.code, run.err) == (0, "")
        (task_id,) = luigid.tasks("DONE")
        assert luigid.message(task_id) == run.out.rstrip()
        assert run.out.startswith(f"older than 30 days: removed {removed} snapshots and 0 temporary files")
