"""Unattended runs as cron starts them, with real programs, a real luigid and real signals."""

import contextlib
import fcntl
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Chain, Luigid, Run, Serve, Served, mount, read_only
from tests.hostile_luigid import HostileLuigid, turn_to_nonsense
from tests.made import stored
from tests.postgres import PostgresServer
from tests.raw import handling

pytestmark = pytest.mark.slow

MINUTE = ("--timestamp", "2026-11-22T0926")
NOWHERE = "http://127.0.0.1:9/"


def record(chain: Chain, minute: str = "20261122T0926Z") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(chain.file(f"{minute}.run.json").read_text())
    return found


def stored_minutes(chain: Chain) -> list[str]:
    """Return the minutes that have a Data Package: their chain is complete."""
    return [path.name.split(".")[0] for path in chain.files(".datapackage.json")]


# --- silence, and the log ------------------------------------------------------------------------


def test_success_is_silent_and_recorded(chain: Chain, served: Serve) -> None:
    run = chain.unattended(*MINUTE, url=served().url)
    assert (run.code, run.out, run.err) == (0, "", "")
    assert re.search(
        r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ \[\d+\] 10 complaints of 50 that match.*csv$",
        chain.log(),
        re.MULTILINE,
    )
    assert re.search(r"\] exit code 0 after \d+\.\d s$", chain.log(), re.MULTILINE)
    assert (record(chain)["outcome"], record(chain)["task"]) == ("stored", "StoreComplaints")
    assert 0 < record(chain)["seconds"] < 60


def test_unwritable_record_does_not_fail_a_stored_run(chain: Chain, served: Serve) -> None:
    in_its_place = chain.folder / "data/snapshots/all-newest-10/2026-11-22/20261122T0926Z.run.json"
    in_its_place.mkdir(parents=True)
    assert chain.unattended(*MINUTE, url=served().url).code == 0
    assert stored_minutes(chain) == ["20261122T0926Z"]


def test_log_is_bounded(chain: Chain, served: Serve) -> None:
    url = served().url
    (chain.folder / "service").mkdir()
    log = chain.folder / "service" / "StoreComplaints.all-newest-10.log"
    for _ in range(4):
        log.write_text("x" * 999_999 + "\n")
        assert chain.unattended(*MINUTE, url=url).code == 0
    logs = sorted((chain.folder / "service").glob("*.log*"))
    assert [path.name.partition(".log")[2] for path in logs] == ["", ".1", ".2"]
    assert all(path.stat().st_size <= 1_000_000 for path in logs)


@pytest.mark.parametrize("umask", ["000", "077"])
def test_files_of_a_run_are_private(chain: Chain, served: Serve, umask: str) -> None:
    chain.configure("service", metrics="metrics")
    (chain.folder / "metrics").mkdir()
    command = shlex.join(chain.unattended_command(*MINUTE))
    run = chain.program("sh", "-c", f"umask {umask}; exec {command}", url=served().url)
    assert (run.code, run.err) == (0, "")
    service = chain.folder / "service"
    assert stat.S_IMODE(service.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in service.iterdir()} == {0o600}
    (metrics,) = (chain.folder / "metrics").iterdir()
    assert stat.S_IMODE(metrics.stat().st_mode) == 0o644


def test_invalid_parameter_is_one_message(chain: Chain) -> None:
    run = chain.unattended("--query", "stat=CA")
    assert run.code == 2
    assert len(run.err.splitlines()) == 1
    assert ": StoreComplaints of 20" in run.err
    assert "failed (exit code 2): query: the API knows no filter 'stat'; did you mean 'state'?" in run.err
    assert chain.unattended("--query", "stat=CA").err == ""
    assert "'XX' is not a value" in chain.unattended("--query", "state=XX").err


def test_invalid_ccdb_url_is_one_message(chain: Chain) -> None:
    run = chain.unattended(url="nonsense")
    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert "failed (exit code 2): CCDB_URL in the environment, for [ccdb] url: 'nonsense' is not" in run.err


def test_each_outage_by_an_invalid_setting_is_reported(chain: Chain, served: Serve) -> None:
    url = served().url
    chain.configure("service", metrics="metrics")
    (chain.folder / "metrics").mkdir()
    errors = []
    for retries in ("many", "many", 1, 1, "many", 1):
        chain.configure("ccdb", retries=retries)
        errors.append(chain.unattended(*MINUTE, url=url).err)
    assert [len(message.splitlines()) for message in errors] == [1, 0, 1, 0, 1, 1]
    assert "StoreComplaints of 20" in errors[0]
    assert "retries: 'many' is not a whole number" in errors[0]
    assert "StoreComplaints works again since 20" in errors[2]
    assert [path.name for path in (chain.folder / "metrics").iterdir()] == [
        "luigi_etl.StoreComplaints.all-newest-10.prom"
    ]


@pytest.mark.parametrize(
    ("section", "setting", "value", "error"),
    [
        ("core", "scheduler_port", "http", "'scheduler_port' (luigi.cfg: invalid literal for int()"),
        ("service", "notify", "curl http://x/a%20b", "'notify' (luigi.cfg: '%' must be followed by"),
    ],
)
def test_invalid_setting_of_the_service_is_one_line(
    chain: Chain, section: str, setting: str, value: str, error: str
) -> None:
    chain.configure(section, **{setting: value})
    run = chain.unattended(*MINUTE)
    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert error in run.err


@pytest.mark.parametrize("text", ["[ccdb]\nretries=1\nretries=2\n", "no section=1\n"])
def test_unreadable_luigi_cfg_is_one_line(chain: Chain, text: str) -> None:
    (chain.folder / "luigi.cfg").write_text(text)
    run = chain.unattended(*MINUTE)
    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert run.err.startswith("luigi_etl: error: luigi.cfg can't be read (")


SECRET = "curl -H 'Authorization: Bearer s3cret' https://me:s3cret@ntfy.example.org/?token=s3cret"


def test_messages_and_logs_have_no_secret_of_notify(chain: Chain) -> None:
    chain.configure("service", notify=f"{SECRET} --max-time 1 --proxy http://127.0.0.1:9")
    run = chain.unattended(*MINUTE, "--ccdb-retries", "0", url=NOWHERE)
    problem = run.err.splitlines()[-1]
    assert problem.startswith("luigi_etl: [service] notify, 'curl', failed")
    assert "s3cret" not in run.err + chain.log()


@pytest.mark.parametrize("wrong", ["'", " a%20b", " %(x)s", " ${NO_SUCH_VARIABLE}"])
def test_error_about_invalid_notify_has_no_secret(chain: Chain, wrong: str) -> None:
    for notify in (f"{SECRET}{wrong}", f"curl{wrong} {SECRET}"):
        chain.configure("service", notify=notify)
        run = chain.unattended(*MINUTE)
        assert (run.code, run.err.count("\n")) == (2, 1)
        assert "notify" in run.err
        assert "s3cret" not in run.err


def test_mistyped_task_is_one_message_with_a_suggestion(chain: Chain) -> None:
    run = chain.program("luigi-etl", "unattended", "StoreComplaint")
    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert ": No task StoreComplaint. Did you mean: StoreComplaints; its log is " in run.err
    (log,) = (chain.folder / "service").glob("StoreComplaint~*.log")
    assert "Traceback" not in log.read_text()


def test_bug_is_one_message_with_its_last_line(chain: Chain) -> None:
    (chain.folder / "mine.py").write_text("1 / 0\n")
    chain.environment["PYTHONPATH"] = str(chain.folder)
    run = chain.program("luigi-etl", "unattended", "StoreComplaints", "--module", "mine")
    assert run.code != 0
    assert len(run.err.splitlines()) == 1
    assert "ZeroDivisionError: division by zero; its log is " in run.err


BROKEN = """
from luigi_etl import StoreComplaints
class Broken(StoreComplaints):
    def requires(self):
        return []
    def {method}(self):
        from sqlalchemy import create_engine, text
        with create_engine("sqlite://").begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (:x)"), [{{"x": "secret" * 5000}}] * 100)
"""


@pytest.mark.parametrize("method", ["run", "complete", "requires"])
def test_exception_is_one_bounded_message_without_rows(chain: Chain, method: str) -> None:
    (chain.folder / "mine.py").write_text(BROKEN.format(method=method))
    chain.environment["PYTHONPATH"] = str(chain.folder)
    chain.configure("email", receiver="me@example.org")
    chain.configure("smtp", host="127.0.0.1", port="9")

    run = chain.program("luigi-etl", "unattended", "Broken", "--module", "mine", *MINUTE)

    error = "Broken: OperationalError: (sqlite3.OperationalError) no such table: t"
    assert run.code == (30 if method == "run" else 35)
    assert f"(exit code {run.code}): {error}; its log is" in run.err
    assert len(run.err.splitlines()) == 1
    assert record(chain)["error"].endswith(error.removeprefix("Broken: "))
    log = (chain.folder / "service/Broken.all-newest-10.log").read_text()
    assert "smtp" in log.lower()
    assert "secretsecret" not in log


def test_prune_is_silent_and_logs_the_freed_space(chain: Chain) -> None:
    run = chain.program("luigi-etl", "unattended", "PruneSnapshots")
    assert (run.code, run.out, run.err) == (0, "", "")
    log = (chain.folder / "service" / "PruneSnapshots.log").read_text()
    assert "older than 30 days: removed 0 snapshots and 0 temporary files, which freed 0 bytes" in log


# --- luigid --------------------------------------------------------------------------------------


def test_without_luigid_the_local_scheduler_is_used(chain: Chain, served: Serve) -> None:
    began = time.monotonic()
    run = chain.unattended(*MINUTE, url=served().url)
    assert time.monotonic() - began < 5
    assert (run.code, run.err) == (0, "")
    assert "luigid does not answer at http://127.0.0.1:8082; the run continues without luigid" in chain.log()


def test_other_program_at_its_port_is_not_used(chain: Chain, served: Serve) -> None:
    server = served()
    chain.configure("core", scheduler_port=server.url.split(":")[2].split("/")[0])
    assert chain.unattended(*MINUTE, url=server.url).code == 0
    assert "is not luigid (status 200); the run continues without luigid" in chain.log()


def make_old_snapshots(chain: Chain) -> list[Path]:
    """Create two snapshots of last year; return the paths of their records."""
    return [stored(chain.folder / "data", datetime(2025, 11, day)).run for day in (1, 2)]


def test_program_of_another_user_is_not_used(chain: Chain, served: Serve) -> None:
    """Each worker that asks for work gets a task that removes snapshots older than a day."""
    old = make_old_snapshots(chain)
    with HostileLuigid.of_nobody() as hostile:
        chain.configure("core", scheduler_port=hostile.port)

        run = chain.unattended(url=served().url)

    assert (run.code, run.err) == (0, "")
    assert (
        f"another user's program (uid 65534) listens at http://127.0.0.1:{hostile.port}; the run"
        in chain.log()
    )
    assert all(path.exists() for path in old)


def test_program_that_replaces_luigid_mid_run_is_not_used(
    chain: Chain, served: Serve, luigid: Luigid
) -> None:
    """luigid ends during the run."""
    old = make_old_snapshots(chain)
    chain.configure("core", rpc_retry_attempts=2)
    process, _ = under_way(chain, asked=5, served=served)
    luigid.kill()
    with HostileLuigid.of_nobody(luigid.port):
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "", "")
    assert "20261122T0926Z" in stored_minutes(chain)
    assert all(path.exists() for path in old)
    luigid.start()


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"<html>", b"{}", b"[" * 100_000, b'{"response": 5}', b'{"response": {"a": 1}}', b"\xff"],
)
def test_run_survives_invalid_responses_of_luigid(chain: Chain, served: Serve, nonsense: bytes) -> None:
    with HostileLuigid.answering(turn_to_nonsense(nonsense)) as hostile:
        chain.configure("core", scheduler_port=hostile.port, rpc_retry_attempts=1)

        run = chain.unattended(*MINUTE, url=served().url)

    assert (run.code, run.err) == (0, "")
    assert stored_minutes(chain) == ["20261122T0926Z"]
    assert "continues without luigid" in chain.log()


def test_run_uses_luigid(chain: Chain, served: Serve, luigid: Luigid) -> None:
    assert chain.unattended(*MINUTE, url=served().url).code == 0
    assert {task["name"] for task in luigid.tasks("DONE").values()} == {
        "CreateDocument",
        "ExtractComplaints",
        "ParseComplaints",
        "StoreComplaints",
    }
    assert "without luigid" not in chain.log()


def under_way(chain: Chain, *arguments: str, asked: int, served: Serve) -> tuple[subprocess.Popen[str], Any]:
    """Start a run with pages of 10; return it when it hangs at request `asked`."""
    server = served(100, f"{asked}:hang")
    walk = ("--limit", "0", "--ccdb-page-size", "10", "--ccdb-read-timeout", "3")
    process = chain.start(*chain.unattended_command(*MINUTE, *walk, *arguments), url=server.url)
    wait_until_asked(server, asked)
    return process, server


def wait_until_asked(server: Served, times: int) -> None:
    deadline = time.monotonic() + 30
    while len(server.asked) < times:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_run_survives_a_restart_of_luigid(chain: Chain, served: Serve, luigid: Luigid) -> None:
    process, server = under_way(chain, asked=5, served=served)
    luigid.stop()
    luigid.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert len(server.asked) == 11
    assert "without luigid" not in chain.log("all")
    assert len(luigid.tasks("DONE")) == 4


def test_run_survives_luigid_killed_and_restarted(chain: Chain, served: Serve, luigid: Luigid) -> None:
    process, server = under_way(chain, asked=5, served=served)
    luigid.kill()
    luigid.start()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert stored_minutes(chain) == ["20261122T0926Z"]
    assert len(server.asked) == 11


def test_run_survives_luigid_that_stays_away(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.configure("core", rpc_retry_attempts=3)
    process, _ = under_way(chain, asked=5, served=served)
    luigid.stop()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert stored_minutes(chain) == ["20261122T0926Z"]
    assert "went away or lost the run; the run continues without luigid" in chain.log("all")


# --- outages -------------------------------------------------------------------------------------


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


@contextlib.contextmanager
def serve_error(text: str, status: int = 400) -> Iterator[str]:
    """Serve an API that returns an error with a text for each query."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            body = json.dumps({"detail": text}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with handling(Handler) as port:
        yield f"http://127.0.0.1:{port}/"


def test_notify_may_leave_a_process_running(chain: Chain) -> None:
    chain.configure("service", notify="sh -c 'cat >message.txt; sleep 100 & echo $! >pid'")
    began = time.monotonic()
    run = chain.unattended(*MINUTE, "--ccdb-retries", "0", url=NOWHERE)
    assert (run.code, run.err) == (30, "")
    assert time.monotonic() - began < 30
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


def listed(chain: Chain) -> list[tuple[str, str, str]]:
    """Return the minute, outcome and error of each run, oldest first."""
    runs = json.loads(chain.program("luigi-etl", "runs", "--json", "--since", "2026-11-22").out)
    return [(run["minute"][11:16], run["outcome"], run["error"] or "") for run in reversed(runs)]


def test_failures_on_a_full_disk_are_listed_later(chain: Chain, served: Serve, small_disk: Path) -> None:
    chain.configure("storage", root=small_disk)
    url = served().url
    with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
        while True:
            other.write(b"x" * 4096)
    for minute in ("0926", "0927", "0929"):
        assert chain.unattended("--timestamp", f"2026-11-22T{minute}", url=url).code == 30
    meanwhile = listed(chain)
    (small_disk / "other").unlink()
    assert chain.unattended("--timestamp", "2026-11-22T0930", url=url).code == 0
    shutil.rmtree(chain.folder / "service")

    after = listed(chain)

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
    assert {outcome for _, outcome, _ in listed(chain)} == {"failed"}


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


# --- overlap -------------------------------------------------------------------------------------


def test_one_of_twelve_simultaneous_starts_runs(chain: Chain, served: Serve) -> None:
    server = served(50, "1:drip=0.02")
    processes = [chain.start(*chain.unattended_command(*MINUTE), url=server.url) for _ in range(12)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in processes]
    assert sorted(code for _, code in ended) == [0] + [10] * 11
    assert all(output == ("", "") for output, _ in ended)
    assert len(server.asked) == 1
    assert chain.log().count("skipped: another run is under way (process ") == 11
    assert record(chain)["outcome"] == "stored"


def test_skipped_minute_is_recorded_and_is_no_failure(chain: Chain, served: Serve) -> None:
    process, server = under_way(chain, asked=2, served=served)
    skipped = chain.unattended("--timestamp", "2026-11-22T0927", "--limit", "0", url=server.url)
    assert (skipped.code, skipped.out, skipped.err) == (10, "", "")
    assert process.wait(timeout=60) == 0
    on_record = record(chain, "20261122T0927Z")
    assert on_record["outcome"] == "skipped"
    assert re.match(r"another run is under way \(process \d+, begun at 20", on_record["error"])


def test_two_queries_run_at_the_same_time(chain: Chain, served: Serve) -> None:
    process, server = under_way(chain, asked=2, served=served)
    assert chain.unattended(*MINUTE, "--query", "state=CA", "--limit", "0", url=server.url).code == 0
    assert process.wait(timeout=60) == 0


# --- the database --------------------------------------------------------------------------------


def sync(chain: Chain, minute: str, *arguments: str, url: str) -> Run:
    return chain.unattended("--timestamp", minute, *arguments, task="SyncComplaints", url=url)


def held(chain: Chain) -> int:
    with contextlib.closing(sqlite3.connect(chain.folder / "data/complaints.db")) as connection:
        number: int = connection.execute("SELECT count(*) FROM complaints").fetchone()[0]
        return number


def test_sync_is_silent_recorded_and_logged(chain: Chain, served: Serve) -> None:
    run = sync(chain, "2026-11-22T0926", url=served(2000).url)
    assert (run.code, run.out, run.err) == (0, "", "")
    assert held(chain) > 0
    assert (record(chain)["outcome"], record(chain)["task"]) == ("synced", "SyncComplaints")
    log = chain.log("all~sync", task="SyncComplaints")
    assert (
        f"] {held(chain):,} new, 0 changed, 0 withdrawn, 0 returned, among complaints received since" in log
    )


def test_sync_without_changes_is_silent_and_recorded(chain: Chain, served: Serve) -> None:
    server = served(2000)
    sync(chain, "2026-11-22T0926", url=server.url)
    before = len(server.asked)
    run = sync(chain, "2026-11-22T0927", url=server.url)
    assert (run.code, run.out, run.err) == (0, "", "")
    assert len(server.asked) == before + 1
    assert record(chain, "20261122T0927Z")["outcome"] == "synced"
    assert "] up to date: nothing changed since the last sync" in chain.log("all~sync", task="SyncComplaints")


def test_sync_of_a_query_has_its_own_log(chain: Chain, served: Serve) -> None:
    assert sync(chain, "2026-11-22T0926", "--query", "state=CA", url=served(2000).url).code == 0
    assert "exit code 0" in chain.log("state=CA~sync", task="SyncComplaints")


def test_sync_beside_another_sync_is_skipped_and_recorded(chain: Chain, served: Serve) -> None:
    server = served(2000, "2:hang")
    command = chain.unattended_command(
        "--timestamp", "2026-11-22T0926", "--ccdb-read-timeout", "3", task="SyncComplaints"
    )
    process = chain.start(*command, url=server.url)
    wait_until_asked(server, 2)
    skipped = sync(chain, "2026-11-22T0927", url=server.url)
    assert (skipped.code, skipped.out, skipped.err) == (10, "", "")
    assert record(chain, "20261122T0927Z")["outcome"] == "skipped"
    assert process.wait(timeout=60) == 0


def test_sync_beside_the_chain_of_its_query_is_not_skipped(chain: Chain, served: Serve) -> None:
    process, server = under_way(chain, asked=2, served=served)
    assert sync(chain, "2026-11-22T0927", url=server.url).code == 0
    assert process.wait(timeout=60) == 0


def test_syncs_without_network_are_reported_once(chain: Chain, served: Serve) -> None:
    failing = ("--ccdb-retries", "0")
    first, second = (sync(chain, f"2026-11-22T092{minute}", *failing, url=NOWHERE) for minute in (6, 7))
    assert [(run.code, len(run.err.splitlines())) for run in (first, second)] == [(30, 1), (30, 0)]
    assert "SyncComplaints.all~sync of 20" in first.err
    assert record(chain)["outcome"] == "failed"
    well = sync(chain, "2026-11-22T0928", url=served(2000).url)
    assert (well.code, "SyncComplaints.all~sync works again since" in well.err) == (0, True)


def test_failed_window_fails_the_sync(chain: Chain, served: Serve) -> None:
    run = sync(chain, "2026-11-22T0926", url=served(2000, "2:status=400").url)
    assert run.code == 30
    assert "(exit code 30): ExtractWindow: " in run.err
    (on_record,) = (chain.folder / "data/snapshots/all~sync").rglob("*.run.json")
    assert json.loads(on_record.read_text())["outcome"] == "failed"


def test_next_sync_continues_where_a_window_failed(chain: Chain, served: Serve, luigid: Luigid) -> None:
    server = served(2000, "2:status=400")
    assert sync(chain, "2026-11-22T0926", url=server.url).code == 30
    assert sync(chain, "2026-11-22T0927", url=server.url).code == 0
    assert held(chain) > 0
    assert {task["name"] for task in luigid.tasks("DONE").values()} >= {"SyncComplaints", "MergeWindow"}


def test_locked_database_is_reported_once_until_it_is_free(chain: Chain, served: Serve) -> None:
    url = served(2000).url
    failing = ("--ccdb-retries", "0")
    (chain.folder / "data").mkdir()
    with contextlib.closing(sqlite3.connect(chain.folder / "data/complaints.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        runs = [sync(chain, f"2026-11-22T092{minute}", *failing, url=url) for minute in (6, 7)]
    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0)]
    assert "complaints.db: locked by another process for more than 10 s" in runs[0].err
    assert "works again" in sync(chain, "2026-11-22T0928", url=url).err


def test_stopped_server_is_reported_once_until_it_is_back(
    chain: Chain, served: Serve, own_postgres: PostgresServer
) -> None:
    chain.configure("storage", database=own_postgres.address("postgres"))
    url = served(2000).url
    failing = ("--ccdb-retries", "0")
    own_postgres.stop()
    runs = [sync(chain, f"2026-11-22T092{minute}", *failing, url=url) for minute in (6, 7)]
    assert [(run.code, len(run.err.splitlines())) for run in runs] == [(30, 1), (30, 0)]
    own_postgres.start()
    assert "works again" in sync(chain, "2026-11-22T0928", url=url).err


def test_failed_merge_is_reported_and_keeps_the_snapshot(chain: Chain, served: Serve) -> None:
    (chain.folder / "data").mkdir()
    (chain.folder / "data/complaints.db").write_bytes(b"no database" * 100)
    run = chain.unattended(*MINUTE, task="MergeComplaints", url=served().url)
    assert (run.code, len(run.err.splitlines())) == (30, 1)
    assert "MergeComplaints: data/complaints.db can't be used as a database" in run.err
    assert (record(chain)["outcome"], record(chain)["task"]) == ("failed", "MergeComplaints")
    assert stored_minutes(chain) == ["20261122T0926Z"]


def test_worker_killed_while_merging_is_recorded(chain: Chain, served: Serve) -> None:
    (chain.folder / "data").mkdir()
    with contextlib.closing(sqlite3.connect(chain.folder / "data/complaints.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        command = chain.unattended_command(*MINUTE, task="MergeComplaints")
        process = chain.start(*command, url=served().url)
        deadline = time.monotonic() + 30
        while not (chain.files(".run.json") and record(chain)["outcome"] == "stored"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(worker_of(process), signal.SIGKILL)
        process.communicate(timeout=30)
    assert (record(chain)["task"], record(chain)["error"]) == (
        "MergeComplaints",
        "killed by signal 9 (Killed)",
    )


# --- killed --------------------------------------------------------------------------------------


def worker_of(process: subprocess.Popen[str]) -> int:
    """Return the id of the process that runs Luigi for an unattended run."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise TimeoutError("no worker")


def test_killed_worker_is_reported_and_recorded(chain: Chain, served: Serve) -> None:
    process, _ = under_way(chain, asked=3, served=served)
    os.kill(worker_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL
    assert "(exit code 137): killed by signal 9 (Killed)" in err
    assert (record(chain)["outcome"], record(chain)["error"]) == ("failed", "killed by signal 9 (Killed)")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_run_ended_by_a_signal_is_reported_and_recorded(chain: Chain, served: Serve, number: int) -> None:
    process, server = under_way(chain, asked=3, served=served)
    worker = worker_of(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert f"(exit code {128 + number}): killed by signal {number} ({signal.strsignal(number)})" in err
    assert not Path(f"/proc/{worker}").exists()
    assert record(chain)["error"].startswith("killed by signal ")
    again = chain.unattended("--timestamp", "2026-11-22T0927", "--limit", "0", url=server.url)
    assert (again.code, "works again" in again.err) == (0, True)


def is_alive(pid: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_signal_ends_all_workers_of_a_run(chain: Chain, served: Serve) -> None:
    process, _ = under_way(chain, "--workers", "2", asked=3, served=served)
    worker = worker_of(process)
    others = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    assert others
    process.terminate()
    process.communicate(timeout=30)
    assert not [pid for pid in others if is_alive(pid)]


def test_ignored_signal_stays_ignored(chain: Chain, served: Serve) -> None:
    """nohup ignores SIGHUP; a shell in the background ignores SIGINT."""
    server = served(100, "3:hang")
    walk = ("--limit", "0", "--ccdb-page-size", "10", "--ccdb-read-timeout", "3")
    command = shlex.join(chain.unattended_command(*MINUTE, *walk))
    process = chain.start("sh", "-c", f"trap '' HUP INT; exec {command}", url=server.url)
    wait_until_asked(server, 3)
    for pid in (process.pid, worker_of(process)):
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGINT)
    assert (process.communicate(timeout=60), process.returncode) == (("", ""), 0)


def test_signal_before_the_worker_starts_ends_the_run(chain: Chain) -> None:
    """The signal comes during the probe of luigid."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        chain.configure("core", scheduler_port=silent.getsockname()[1])
        process = chain.start(*chain.unattended_command(*MINUTE), url=NOWHERE)
        silent.accept()
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "killed by signal 15 (Terminated)" in err
    assert record(chain)["outcome"] == "failed"


def test_worker_without_parent_releases_the_lock(chain: Chain) -> None:
    """The worker writes more than a pipe holds, and nobody reads it: writes must fail, not block."""
    with serve_error("x" * 490, status=503) as url:
        process = chain.start(*chain.unattended_command(*MINUTE, "--ccdb-retries", "120"), url=url)
        worker = worker_of(process)
        process.kill()
        process.communicate()
        deadline = time.monotonic() + 90
        while Path(f"/proc/{worker}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert chain.unattended("--timestamp", "2026-11-22T0927", "--ccdb-retries", "0", url=NOWHERE).code == 30


def test_runs_after_twenty_random_kills_are_complete(chain: Chain, served: Serve, luigid: Luigid) -> None:
    """Kill in turn luigid, the whole run, and its parent process alone."""
    server = served(60)
    walk = ("--limit", "0", "--ccdb-page-size", "10")
    generator = random.Random(3)
    for turn in range(20):
        process = chain.start(
            *chain.unattended_command("--timestamp", f"2026-11-22T10{turn:02}", *walk),
            url=server.url,
            start_new_session=True,
        )
        time.sleep(generator.uniform(0.2, 1.0))
        if turn % 3 == 0:
            luigid.kill()
            luigid.start()
        elif process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if turn % 3 == 1 else os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        minute = ("--timestamp", f"2026-11-22T11{turn:02}")
        while (run := chain.unattended(*minute, *walk, url=server.url)).code == 10:
            time.sleep(0.1)  # the worker of a killed run still holds the lock
        assert run.code == 0, (turn, run.err)
    assert [minute for minute in stored_minutes(chain) if "T11" in minute] == [
        f"20261122T11{turn:02}Z" for turn in range(20)
    ]
    assert {path.read_bytes() for path in chain.files("Z.complaints.csv")} == {
        chain.files("Z.complaints.csv")[0].read_bytes()
    }


# --- metrics -------------------------------------------------------------------------------------


def test_metrics_of_a_failed_run_keep_the_last_success(chain: Chain, served: Serve) -> None:
    chain.configure("service", metrics="metrics")
    (chain.folder / "metrics").mkdir()
    assert chain.unattended("--timestamp", "2026-11-22T0926", url=served().url).code == 0
    before = metrics(chain)
    assert (before["rows"], before["failures_in_a_row"]) == (10, 0)
    assert abs(before["last_success_timestamp_seconds"] - datetime.now(timezone.utc).timestamp()) < 60
    for minute in ("2026-11-22T0927", "2026-11-22T0928"):
        chain.unattended("--timestamp", minute, "--ccdb-retries", "0", url=NOWHERE)
    after = metrics(chain)
    assert (after["rows"], after["failures_in_a_row"]) == (10, 2)
    assert after["last_success_timestamp_seconds"] == before["last_success_timestamp_seconds"]
    assert after["last_run_timestamp_seconds"] > before["last_run_timestamp_seconds"]


def metrics(chain: Chain) -> dict[str, float]:
    text = (chain.folder / "metrics" / "luigi_etl.StoreComplaints.all-newest-10.prom").read_text()
    return {
        name: float(value) for name, value in re.findall(r"^luigi_etl_(\w+)\{.*\} (.*)$", text, re.MULTILINE)
    }


def test_metrics_of_a_sync_have_its_name_and_no_rows(chain: Chain, served: Serve) -> None:
    chain.configure("service", metrics="metrics")
    (chain.folder / "metrics").mkdir()
    assert sync(chain, "2026-11-22T0926", url=served(2000).url).code == 0
    text = (chain.folder / "metrics" / "luigi_etl.SyncComplaints.all~sync.prom").read_text()
    assert 'luigi_etl_rows{run="SyncComplaints.all~sync"} 0\n' in text
    assert 'luigi_etl_failures_in_a_row{run="SyncComplaints.all~sync"} 0\n' in text


def test_metrics_of_a_merge_count_the_changes(chain: Chain, served: Serve) -> None:
    chain.configure("service", metrics="metrics")
    (chain.folder / "metrics").mkdir()
    assert chain.unattended(*MINUTE, task="MergeComplaints", url=served().url).code == 0
    text = (chain.folder / "metrics" / "luigi_etl.MergeComplaints.all-newest-10.prom").read_text()
    assert 'luigi_etl_changes{run="MergeComplaints.all-newest-10",change="new"} 10\n' in text
    assert record(chain)["counts"] == {"new": 10, "changed": 0, "withdrawn": 0, "returned": 0}


def test_unwritable_metrics_do_not_fail_the_run(chain: Chain, served: Serve) -> None:
    chain.configure("service", metrics="luigi.cfg")
    run = chain.unattended(*MINUTE, url=served().url)
    assert (run.code, run.err) == (0, "")
    assert "/luigi.cfg is not a folder; make it, or correct [service] metrics" in chain.log()


def test_clock_set_back_repeats_a_minute_and_loses_nothing(chain: Chain, served: Serve) -> None:
    server = served()
    for minute in ("2026-11-22T0930", "2026-11-22T0931", "2026-11-22T0930"):
        assert chain.unattended("--timestamp", minute, url=server.url).code == 0
    assert stored_minutes(chain) == ["20261122T0930Z", "20261122T0931Z"]
    assert len(server.asked) == 2
    assert "already stored: " in chain.log()
