"""Unattended runs as cron starts them: messages, logs, overlap and metrics."""

import re
import shlex
import stat
from datetime import datetime, timezone

import pytest

from tests.conftest import Chain, Serve
from tests.service.unattended_runs import MINUTE, NOWHERE, read_record, start_hanging, stored_minutes, sync

pytestmark = pytest.mark.slow


def test_success_is_silent_and_recorded(chain: Chain, served: Serve) -> None:
    run = chain.unattended(*MINUTE, url=served().url)
    assert (run.code, run.out, run.err) == (0, "", "")
    assert re.search(
        r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ \[\d+\] 10 complaints of 50 that match.*csv$",
        chain.log(),
        re.MULTILINE,
    )
    assert re.search(r"\] exit code 0 after \d+\.\d s$", chain.log(), re.MULTILINE)
    assert (read_record(chain)["outcome"], read_record(chain)["task"]) == ("stored", "StoreComplaints")
    assert 0 < read_record(chain)["seconds"] < 60


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
    assert read_record(chain)["error"].endswith(error.removeprefix("Broken: "))
    log = (chain.folder / "service/Broken.all-newest-10.log").read_text()
    assert "smtp" in log.lower()
    assert "secretsecret" not in log


def test_prune_is_silent_and_logs_the_freed_space(chain: Chain) -> None:
    run = chain.program("luigi-etl", "unattended", "PruneSnapshots")
    assert (run.code, run.out, run.err) == (0, "", "")
    log = (chain.folder / "service" / "PruneSnapshots.log").read_text()
    assert "older than 30 days: removed 0 snapshots and 0 temporary files, which freed 0 bytes" in log


# --- overlap --------------------------------------------------------------------------------------


def test_one_of_twelve_simultaneous_starts_runs(chain: Chain, served: Serve) -> None:
    server = served(50, "1:drip=0.02")
    processes = [chain.start(*chain.unattended_command(*MINUTE), url=server.url) for _ in range(12)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in processes]

    assert sorted(code for _, code in ended) == [0] + [10] * 11
    assert all(output == ("", "") for output, _ in ended)
    assert len(server.asked) == 1
    assert chain.log().count("skipped: another run is under way (process ") == 11
    assert read_record(chain)["outcome"] == "stored"


def test_skipped_minute_is_recorded_and_is_no_failure(chain: Chain, served: Serve) -> None:
    process, server = start_hanging(chain, asked=2, served=served)
    skipped = chain.unattended("--timestamp", "2026-11-22T0927", "--limit", "0", url=server.url)
    assert (skipped.code, skipped.out, skipped.err) == (10, "", "")
    assert process.wait(timeout=60) == 0
    on_record = read_record(chain, "20261122T0927Z")
    assert on_record["outcome"] == "skipped"
    assert re.match(r"another run is under way \(process \d+, begun at 20", on_record["error"])


def test_two_queries_run_at_the_same_time(chain: Chain, served: Serve) -> None:
    process, server = start_hanging(chain, asked=2, served=served)
    assert chain.unattended(*MINUTE, "--query", "state=CA", "--limit", "0", url=server.url).code == 0
    assert process.wait(timeout=60) == 0


# --- metrics --------------------------------------------------------------------------------------


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
    assert read_record(chain)["counts"] == {"new": 10, "changed": 0, "withdrawn": 0, "returned": 0}


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
