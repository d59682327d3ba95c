"""Outages of unattended runs: full disks, read-only folders, a network that is away."""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import Chain, Run, Serve, mount, read_only
from tests.service.unattended_runs import MINUTE, NOWHERE, list_runs, serve_error

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scheduler", ["luigid", "local"])
@pytest.mark.usefixtures("luigid")
def test_outage_has_eleven_attempts_per_run_and_two_messages(
    chain: Chain, served: Serve, scheduler: str
) -> None:
    messages = chain.folder / "messages.txt"
    chain.configure("service", notify=f"tee -a {shlex.quote(str(messages))}")
    local = ("--local-scheduler",) if scheduler == "local" else ()
    for minute, delay in (("2026-11-22T0926", "0.5"), ("2026-11-22T0927", "0"), ("2026-11-22T0928", "0")):
        run = chain.unattended("--timestamp", minute, "--ccdb-retry-delay", delay, *local, url=NOWHERE)
        assert (run.code, run.out, run.err) == (30, "", "")
    attempts = attempts_of(chain.log())
    assert [number for _, number in attempts] == list(range(1, 12)) * 3
    assert 4 <= attempts[10][0] - attempts[0][0] <= 10  # ten gaps of half a second, logged in whole seconds
    (failure,) = messages.read_text().splitlines()
    assert re.fullmatch(
        r"luigi_etl on \S+: StoreComplaints\.all-newest-10 of .* UTC failed \(exit code 30\): "
        r"ExtractComplaints: attempt 11 of 11: 127\.0\.0\.1:9: .*; gave up; "
        r"its log is /.*/StoreComplaints\.all-newest-10\.log; "
        r"the next message comes when it works again, or after a day",
        failure,
    )
    for minute in ("2026-11-22T0929", "2026-11-22T0930"):
        assert chain.unattended("--timestamp", minute, *local, url=served().url).code == 0
    _, recovery = messages.read_text().splitlines()
    assert re.search(r"works again since .* UTC, after \d+ seconds: 3 runs failed, the first of", recovery)
    assert [run["outcome"] for run in map(json.loads, record_lines(chain))] == ["failed"] * 3 + ["stored"] * 2


def attempts_of(log: str) -> list[tuple[float, int]]:
    """Return the time of each logged attempt, in seconds, and its number in its run."""
    found = re.findall(r"^(\S+)Z \[\d+\] (?!alert: ).*?attempt (\d+) of 11", log, re.MULTILINE)
    return [(datetime.fromisoformat(at).timestamp(), int(number)) for at, number in found]


def record_lines(chain: Chain) -> list[str]:
    return [path.read_text() for path in chain.files(".run.json")]


def test_without_notify_the_message_goes_to_stderr(chain: Chain, served: Serve) -> None:
    failing = ("--ccdb-retries", "0")
    first = chain.unattended("--timestamp", "2026-11-22T0926", *failing, url=NOWHERE)

    assert len(first.err.splitlines()) == 1
    assert chain.unattended("--timestamp", "2026-11-22T0927", *failing, url=NOWHERE).err == ""
    assert "works again" in chain.unattended("--timestamp", "2026-11-22T0928", url=served().url).err


@pytest.mark.parametrize(
    ("notify", "why"), [("false", "(exit code 1)"), ("/no/such/command", "No such file or directory")]
)
def test_undelivered_message_goes_to_stderr(chain: Chain, notify: str, why: str) -> None:
    chain.configure("service", notify=notify)
    run = chain.unattended(*MINUTE, "--ccdb-retries", "0", url=NOWHERE)
    message, problem = run.err.splitlines()

    assert " UTC failed (exit code 30): " in message
    assert problem.startswith(f"luigi_etl: [service] notify, '{notify}', failed")
    assert why in problem


def test_text_of_the_api_does_not_reach_a_shell(chain: Chain) -> None:
    messages = chain.folder / "messages.txt"
    chain.configure("service", notify=f"tee {messages}")
    with serve_error("$(touch pwned); touch pwned & `touch pwned`\n\x1b[31m") as url:
        assert chain.unattended(*MINUTE, url=url).code == 30

    assert "$(touch pwned); touch pwned & `touch pwned` \\x1b[31m" in messages.read_text()
    assert not list(chain.folder.rglob("pwned"))


def test_notify_may_leave_a_process_running(chain: Chain) -> None:
    chain.configure("service", notify="sh -c 'cat >message.txt; sleep 100 & echo $! >pid'")
    began = time.monotonic()
    run = chain.unattended(*MINUTE, "--ccdb-retries", "0", url=NOWHERE)
    assert (run.code, run.err) == (30, "")
    assert time.monotonic() - began < 60  # the process that it leaves runs for 100 s
    os.kill(int((chain.folder / "pid").read_text()), signal.SIGTERM)


def test_full_disk_is_reported_once_until_it_has_room(chain: Chain, served: Serve, small_disk: Path) -> None:
    chain.configure("storage", root=small_disk)
    every = ("--limit", "0", "--timestamp")
    url = served(200).url
    runs = [chain.unattended(*every, f"2026-11-22T092{minute}", url=url) for minute in (6, 7, 8)]
    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0), (30, 0)]
    assert re.search(r"cannot write \S+: No space left on device; make room", runs[0].err)
    mount("-o", "remount,size=10m", small_disk)
    assert "works again" in chain.unattended(*every, "2026-11-22T0929", url=url).err


def test_full_disk_is_one_message_for_all_jobs(chain: Chain, served: Serve, small_disk: Path) -> None:
    chain.configure("storage", root=small_disk)
    url = served(400).url
    queries = ("", "state=CA", "state=TX", "submitted_via=Web")
    (small_disk / "other").write_bytes(b"x" * 60_000)

    def minute(at: int) -> list[Run]:
        ended = []
        every = ("--timestamp", f"2026-11-22T092{at}", "--limit", "0", "--query")
        started = [chain.start(*chain.unattended_command(*every, query), url=url) for query in queries]
        for process in started:
            out, err = process.communicate(timeout=60)
            ended.append(Run(process.returncode, out, err))
        return ended

    failed = [*minute(1), *minute(2)]
    mount("-o", "remount,size=10m", small_disk)
    stored = [*minute(3), *minute(4)]

    assert {run.code for run in failed} == {30}
    assert {run.code for run in stored} == {0}
    (failure,) = [run.err for run in failed if run.err]
    (recovery,) = [run.err for run in stored if run.err]
    assert "No space left on device" in failure
    assert "8 runs of 4 jobs failed" in recovery


def test_failures_on_a_full_disk_are_listed_later(chain: Chain, served: Serve, small_disk: Path) -> None:
    chain.configure("storage", root=small_disk)
    url = served().url
    with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
        while True:
            other.write(b"x" * 4096)
    for minute in ("0926", "0927", "0929"):
        assert chain.unattended("--timestamp", f"2026-11-22T{minute}", url=url).code == 30
    meanwhile = list_runs(chain)
    (small_disk / "other").unlink()
    assert chain.unattended("--timestamp", "2026-11-22T0930", url=url).code == 0
    shutil.rmtree(chain.folder / "service")

    after = list_runs(chain)

    outcomes = [("09:26", "failed"), ("09:27", "failed"), ("09:29", "failed")]
    assert [run[:2] for run in meanwhile] == outcomes
    assert [run[:2] for run in after] == [*outcomes, ("09:30", "stored")]
    assert all("No space left on device" in error for _, _, error in (*meanwhile, *after[:3]))


def test_run_that_waits_for_an_attempt_is_listed_as_running(chain: Chain) -> None:
    commands = [
        chain.unattended_command(*MINUTE, "--ccdb-retry-delay", "60", task=task)
        for task in ("StoreComplaints", "SyncComplaints")
    ]
    processes = [chain.start(*command, url=NOWHERE) for command in commands]
    deadline = time.monotonic() + 30

    while (lines := chain.program("luigi-etl", "runs", "--since", "2026-11-22").out).count("attempt 2") < 2:
        assert time.monotonic() < deadline, lines
    for process in processes:
        process.terminate()
        process.communicate(timeout=30)

    cells = [re.split(r"  +", line) for line in lines.splitlines()[1:]]

    assert sorted(cells) == [
        ["2026-11-22T09:26Z", "''", limit, "running (attempt 2 of 11)"] for limit in ("10", "sync")
    ]
    assert {outcome for _, outcome, _ in list_runs(chain)} == {"failed"}


@pytest.mark.parametrize("busy", [False, True])
def test_full_service_folder_fails_no_run(chain: Chain, served: Serve, small_disk: Path, busy: bool) -> None:
    """Neither a run nor a skipped minute can write the log."""
    chain.configure("service", folder=small_disk)
    url = served().url
    assert chain.unattended("--timestamp", "2026-11-22T0925", url=url).code == 0
    fill(small_disk)

    with (small_disk / "StoreComplaints.all-newest-10.lock").open() as lock:
        if busy:
            fcntl.flock(lock, fcntl.LOCK_EX)
        runs = [chain.unattended("--timestamp", f"2026-11-22T092{minute}", url=url) for minute in (7, 8)]

    assert [(run.code, run.out, run.err) for run in runs] == [(10 if busy else 0, "", "")] * 2


def fill(disk: Path) -> None:
    """Fill a disk, including the last blocks of existing logs."""
    for log in disk.rglob("*.log"):
        with log.open("ab") as file:
            file.write(b"x" * (-file.tell() % 4096))
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def test_full_disk_of_data_and_service_is_reported_once(
    chain: Chain, served: Serve, small_disk: Path
) -> None:
    """Both folders are on the full disk."""
    url = served(200).url
    chain.configure("service", folder=small_disk / "service")
    chain.configure("storage", root=small_disk / "data")
    assert chain.unattended("--timestamp", "2026-11-22T0925", url=url).code == 0
    fill(small_disk)

    runs = [chain.unattended("--timestamp", f"2026-11-22T092{minute}", url=url) for minute in (6, 7, 8)]

    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0), (30, 0)]
    assert re.search(rf"cannot write {small_disk}/data/\S+: No space left on device; make room", runs[0].err)


def test_read_only_root_is_reported_once_and_loses_nothing(chain: Chain, served: Serve) -> None:
    url = served().url
    assert chain.unattended("--timestamp", "2026-11-22T0926", url=url).code == 0
    before = {path: path.read_bytes() for path in chain.files()}
    with read_only(chain.folder / "data"):
        runs = [chain.unattended("--timestamp", f"2026-11-22T092{minute}", url=url) for minute in (7, 8)]
    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0)]
    assert re.search(r"cannot write data/\S+: Read-only file system; make room or give access", runs[0].err)
    assert {path: path.read_bytes() for path in chain.files()} == before
    assert "works again" in chain.unattended("--timestamp", "2026-11-22T0929", url=url).err


def test_failure_is_reported_once_without_a_service_folder(chain: Chain) -> None:
    (chain.folder / "service").write_text("in the way")
    (chain.folder / "tmp").mkdir()
    chain.environment["TMPDIR"] = str(chain.folder / "tmp")
    failing = ("--ccdb-retries", "0")
    first = chain.unattended(*MINUTE, *failing, url=NOWHERE).err

    assert len(first.splitlines()) == 1
    assert "its log is" not in first  # the log does not exist
    assert chain.unattended(*MINUTE, *failing, url=NOWHERE).err == ""
