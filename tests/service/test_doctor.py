"""`luigi-etl doctor`: each check passes, and fails for each reason."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import luigi
import pytest

from luigi_etl.api.query import parse_query
from luigi_etl.common.minutes import as_file_name, this_minute
from luigi_etl.database.connection import Database
from luigi_etl.database.coverage import record_snapshot
from luigi_etl.service.doctor import cron, messages, report
from luigi_etl.service.doctor import luigid as luigid_check
from luigi_etl.service.doctor.cron import cron_daemons
from luigi_etl.service.doctor.finding import Finding
from luigi_etl.service.doctor.report import examine
from luigi_etl.snapshot.leftovers import killed_redos
from luigi_etl.snapshot.paths import SnapshotFiles
from tests.conftest import PROGRAMS, Beside, Chain, Luigid, Serve, UserCrontab, free_port
from tests.hostile_luigid import HostileLuigid
from tests.made import SLUG, ended, merged, record, stored, synced

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9/"
ONE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECONDS_OF_A_DAY = 86_400
STATES = ["AK", "AL", "AR", "AZ", "CA", "CO", "CT"]
LISTED = [f"it covers state={state}, as of 2026-11-27 09:26 UTC" for state in STATES]


def run_doctor(chain: Chain, url: str = NOWHERE) -> list[Finding]:
    """Return the findings of the program, and check the form of its output."""
    ran = chain.program("luigi-etl", "doctor", "--json", url=url)
    assert ran.err == ""
    findings = [Finding(**fields) for fields in json.loads(ran.out)]
    assert ran.code == (0 if all(finding.well for finding in findings) else 1)
    assert list(dict.fromkeys(finding.check for finding in findings)) == list(report.CHECKS)
    for finding in findings:
        assert finding.message
        assert finding.message.isprintable()
    return findings


def of_check(check: str, findings: list[Finding]) -> list[tuple[bool, str]]:
    return [(finding.well, finding.message) for finding in findings if finding.check == check]


def findings_of(chain: Chain, check: str, url: str = NOWHERE) -> list[tuple[bool, str]]:
    """Return the findings of one check by the program: whether it passed, and the message."""
    return of_check(check, run_doctor(chain, url))


def failure_of(chain: Chain, check: str, url: str = NOWHERE) -> str:
    """Return the message of the one finding that failed."""
    (message,) = [message for well, message in findings_of(chain, check, url) if not well]
    return message


RunCheck = Callable[[str], list[tuple[bool, str]]]


@pytest.fixture
def here(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> RunCheck:
    """Return a function that runs one check in this process, in the chain's folder."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("core", "scheduler_port", str(free_port()))
    configuration.set("ccdb", "url", NOWHERE)
    configuration.set("ccdb", "requests_per_minute", "0")
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    monkeypatch.chdir(chain.folder)

    def check(name: str) -> list[tuple[bool, str]]:
        monkeypatch.setattr(report, "CHECKS", {name: report.CHECKS[name]})
        return of_check(name, list(examine()))

    return check


@pytest.fixture
def root(chain: Chain) -> Path:
    """Return the folder of the chain's snapshots."""
    return chain.folder / "data"


# --- all checks ----------------------------------------------------------------------------------


def test_complete_installation_passes_with_exit_code_0(
    crontab: UserCrontab, installation: Chain, served: Serve, start_cron: Callable[[], None]
) -> None:
    start_cron()
    installation.configure("ccdb", url=served().url)  # cron may start a run
    installation.configure("service", notify="cat")
    luigid = Luigid.at_a_free_port(installation)
    luigid.start()
    try:
        assert installation.program("luigi-etl", "crontab", "--install").code == 0
        stored(installation.folder / "data", this_minute())
        ran = installation.program("luigi-etl", "doctor")
    finally:
        crontab.clear()
        luigid.stop()
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert {line[:4] for line in ran.out.splitlines()} == {"ok  "}
    for check in report.CHECKS:
        assert f"  {check} " in ran.out
    assert f"luigid answers at http://127.0.0.1:{luigid.port}, on loopback only\n" in ran.out
    assert f"your crontab runs {installation.folder}\n" in ran.out


def test_every_failed_check_is_reported(chain: Chain) -> None:
    Luigid.at_a_free_port(chain)
    chain.configure("cdcb", page_size=1)
    chain.configure("storage", rot="x")
    chain.configure("service", notify="luigi")
    (chain.folder / "data").write_text("a file")
    chain.environment["PATH"] = str(PROGRAMS)
    ill = {finding.check for finding in run_doctor(chain) if not finding.well}
    assert ill == set(report.CHECKS) - {"temporary files", "messages", "database"}


def test_text_has_a_line_for_each_finding(chain: Chain) -> None:
    chain.configure("cdcb", page_size=1)
    chain.configure("storage", rot="x")
    ran = chain.program("luigi-etl", "doctor", url=NOWHERE)
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    assert all(line.startswith(("ok    ", "FAIL  ")) for line in lines)
    checks = [line[6:21].strip() for line in lines]
    assert list(dict.fromkeys(checks)) == list(report.CHECKS)
    assert checks.count("config") == 2


def test_characters_missing_in_the_encoding_are_escaped(chain: Chain) -> None:
    chain.configure("storage", root="caf\u00e9")
    chain.environment["PYTHONIOENCODING"] = "ascii"
    ran = chain.program("luigi-etl", "doctor", url=NOWHERE)
    assert (ran.code, ran.err) == (1, "")
    assert f"[storage] root, {chain.folder}/caf\\xe9: can be written" in ran.out


# --- the configuration ---------------------------------------------------------------------------


def test_configuration_with_known_settings_passes(chain: Chain) -> None:
    chain.configure("PruneSnapshots", keep_days=3)
    chain.configure("StoreComplaints", limit=3)
    chain.configure("retcode", task_failed=3)
    chain.configure("ccdb", **{"page-size": 100})
    assert findings_of(chain, "config") == [(True, f"{chain.folder}/luigi.cfg: all settings are known")]


def test_missing_luigi_cfg_is_reported_with_its_path(chain: Chain) -> None:
    (chain.folder / "luigi.cfg").unlink()
    assert failure_of(chain, "config") == (
        f"{chain.folder}/luigi.cfg does not exist: run this command in the folder of luigi.cfg"
    )


@pytest.mark.parametrize(
    ("section", "setting", "name"),
    [
        ("ccdb", "page_sise", "[ccdb] page_sise"),
        ("core", "scheduler_prot", "[core] scheduler_prot"),
        ("PruneSnapshots", "keep_day", "[PruneSnapshots] keep_day"),
        ("strage", "root", "[strage]"),
    ],
)
def test_unknown_setting_or_section_is_named(chain: Chain, section: str, setting: str, name: str) -> None:
    chain.configure(section, **{setting: 1})
    assert failure_of(chain, "config") == f"luigi.cfg: {name} is unknown: correct or remove it"


@pytest.mark.parametrize(
    ("section", "setting", "value", "reason"),
    [
        ("ccdb", "page_size", "0", "page_size: 0 is not a whole number from 1 to 10000"),
        ("PruneSnapshots", "keep_days", "x", "keep_days: 'x' is not a whole number from 1 to 36500"),
        ("core", "scheduler_port", "abc", "invalid literal for int() with base 10: 'abc'"),
        ("storage", "root", "a%20b", "'%' must be followed by '%' or '('"),
    ],
)
def test_invalid_value_is_named_with_the_reason(
    chain: Chain, section: str, setting: str, value: str, reason: str
) -> None:
    chain.configure(section, **{setting: value})
    assert (
        failure_of(chain, "config")
        == f"luigi.cfg: [{section}] {setting} can't be used ({reason}): correct it"
    )


def test_check_stopped_by_a_setting_is_reported(chain: Chain) -> None:
    chain.configure("storage", root="~nobody-of-this-name/data")
    reason = "Could not determine home directory."
    stopped = f"this can't be checked ({reason}): correct luigi.cfg or the environment"
    findings = run_doctor(chain)
    for check in ("folders", "database", "runs", "temporary files"):
        assert of_check(check, findings) == [(False, stopped)]


@pytest.mark.parametrize("content", [b"root=data\n", b"[storage]\nroot\n", b"[storage]\nroot=caf\xe9\n"])
def test_unreadable_luigi_cfg_is_one_line(chain: Chain, content: bytes) -> None:
    (chain.folder / "luigi.cfg").write_bytes(content)
    ran = chain.program("luigi-etl", "doctor", "--json")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("luigi_etl: error: luigi.cfg can't be read (")
    assert ran.err.endswith("): correct it\n")


# --- messages and metrics ------------------------------------------------------------------------


def test_without_notify_cron_mails_messages(
    here: RunCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sendmail").touch(mode=0o755)
    monkeypatch.setattr(messages, "SENDMAIL_FOLDERS", str(tmp_path))
    message = "[service] notify: not set; messages go to standard error, and cron mails them"
    assert here("messages") == [(True, message)]


def test_missing_notify_and_sendmail_fail(
    here: RunCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "SENDMAIL_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    ((well, message),) = here("messages")
    assert (well, message.partition(": set it")[0]) == (
        False,
        "[service] notify: not set, and cron can't mail messages without sendmail",
    )


def test_existing_program_and_metrics_folder_pass(chain: Chain) -> None:
    (chain.folder / "metrics").mkdir()
    chain.configure("service", notify="tee -a messages.txt", metrics="metrics")
    assert findings_of(chain, "messages") == [
        (True, "[service] notify: messages go to tee"),
        (True, f"[service] metrics: {chain.folder}/metrics"),
    ]


def test_missing_program_and_metrics_folder_fail(chain: Chain) -> None:
    chain.configure("service", notify="/no/such --message", metrics="nometrics")
    assert findings_of(chain, "messages") == [
        (
            False,
            "[service] notify: the program '/no/such' does not exist: correct it; until then messages go to "
            "standard error",
        ),
        (
            False,
            f"[service] metrics: {chain.folder}/nometrics does not exist: create it, or correct the setting",
        ),
    ]


# --- luigid --------------------------------------------------------------------------------------


def test_luigid_on_loopback_passes(chain: Chain, luigid: Luigid) -> None:
    message = f"luigid answers at http://127.0.0.1:{luigid.port}, on loopback only"
    assert findings_of(chain, "luigid") == [(True, message)]


def test_stopped_luigid_fails_with_the_command(chain: Chain) -> None:
    port = Luigid.at_a_free_port(chain).port
    assert failure_of(chain, "luigid") == (
        f"luigid does not answer at http://127.0.0.1:{port}: start it with `luigi-etl luigid`; "
        "until then runs don't use luigid"
    )


def test_another_server_at_the_port_of_luigid_fails(chain: Chain, served: Serve) -> None:
    port = served().url.split(":")[2].split("/")[0]
    chain.configure("core", scheduler_port=port)
    assert failure_of(chain, "luigid") == (
        f"what answers at http://127.0.0.1:{port} is not luigid (status 200): stop what listens there, "
        "or set [core] scheduler_port, then start it with `luigi-etl luigid`; "
        "until then runs don't use luigid"
    )


def test_luigid_of_another_user_fails(chain: Chain) -> None:
    with HostileLuigid.of_nobody() as hostile:
        chain.configure("core", scheduler_port=hostile.port)
        assert failure_of(chain, "luigid").startswith(
            f"another user's program (uid 65534) listens at http://127.0.0.1:{hostile.port}: stop what"
        )


def test_luigid_on_another_machine_passes_unchecked(here: RunCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luigid_check, "problem_of", lambda _: "")
    monkeypatch.setattr(luigid_check, "local_addresses", lambda *_: set())
    ((well, message),) = here("luigid")
    assert (well, message.partition(", ")[2]) == (True, "on another machine: its owner can't be checked")


def test_port_out_of_range_fails(chain: Chain) -> None:
    chain.configure("core", scheduler_port=99_999)
    assert "http://127.0.0.1:99999" in failure_of(chain, "luigid")


@contextlib.contextmanager
def plain_luigid(chain: Chain, *options: str) -> Iterator[Luigid]:
    """Start Luigi's luigid, without our settings."""
    luigid = Luigid.at_a_free_port(chain)
    state = str(chain.folder / "state.pickle")
    command = ["luigid", *options, "--port", str(luigid.port), "--state-path", state]
    process = chain.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not luigid._answers():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield luigid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("options", [["--address", "0.0.0.0"], []])
def test_luigid_reachable_from_other_machines_fails(chain: Chain, options: list[str]) -> None:
    with plain_luigid(chain, *options) as luigid:
        assert failure_of(chain, "luigid") == (
            f"luigid at port {luigid.port} accepts connections from other machines "
            "(bound to every interface): stop it and start it with `luigi-etl luigid`"
        )


# --- cron ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def process_named(name: bytes, folder: Path) -> Iterator[None]:
    """Run a process with this name."""
    program = folder / os.fsdecode(name)
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "60"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_cron_daemon_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not the name of a real daemon: other tests look for these.
    monkeypatch.setattr(cron, "CRON_DAEMONS", {"test-crond", "fcron"})
    assert cron_daemons() == set()
    with process_named(b"test-crond", tmp_path), process_named(b"odd \xff\n", tmp_path):
        assert cron_daemons() == {"test-crond"}


def test_process_that_ends_during_the_check_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Path) -> bytes:
        raise ProcessLookupError

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert cron_daemons() == set()


def test_missing_cron_daemon_is_reported_with_other_failures(
    here: RunCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "cron_daemons", set)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "/nowhere/luigi.cfg")
    (_, first), (_, second) = here("cron")
    assert first == (
        "no cron daemon runs: install and start it (Debian: apt install cron; systemctl start cron)"
    )
    assert second.startswith("LUIGI_CONFIG_PATH: /nowhere is no checkout: ")


def check_crontab(chain: Chain) -> tuple[bool, str]:
    """Return the finding about the crontab, whether or not a daemon runs."""
    (finding,) = [one for one in findings_of(chain, "cron") if not one[1].startswith("no cron daemon")]
    return finding


@pytest.mark.usefixtures("crontab")
def test_crontab_of_another_checkout_fails(chain: Chain) -> None:
    """The package was installed from another folder than the current one."""
    chain.environment.pop("LUIGI_CONFIG_PATH", None)
    well, message = check_crontab(chain)
    assert not well
    assert message.startswith("the crontab's lines are for /")
    assert f", not for {chain.folder}: run this command there, " in message


@pytest.mark.usefixtures("crontab")
def test_installed_block_passes(installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install", "--query", "state=CA", "--without-luigid")
    assert check_crontab(installation) == (True, f"your crontab runs {installation.folder}")


def test_crontab_without_the_block_fails(crontab: UserCrontab, installation: Chain) -> None:
    crontab.write(b"# begin luigi_etl /elsewhere\n# end luigi_etl /elsewhere\n")
    message = f"your crontab has no lines for {installation.folder}: run `luigi-etl crontab --install`"
    assert check_crontab(installation) == (False, message)


@pytest.mark.parametrize(
    ("before", "after"), [(b"bin/python", b"bin/other/python"), (b" unattended", b".99 unattended")]
)
def test_block_with_another_interpreter_fails(
    crontab: UserCrontab, installation: Chain, before: bytes, after: bytes
) -> None:
    installation.program("luigi-etl", "crontab", "--install", "--without-luigid")
    crontab.write(crontab.read().replace(before, after))
    well, message = check_crontab(installation)
    assert not well
    assert message.startswith(f"your crontab runs {installation.folder} with another Python than /")
    assert "run `luigi-etl crontab --install`" in message


def test_block_with_commented_jobs_fails(crontab: UserCrontab, installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install")
    lines = crontab.read().splitlines(keepends=True)
    crontab.write(b"".join(line if line.startswith(b"#") else b" #" + line for line in lines))
    well, message = check_crontab(installation)
    assert (well, "has no lines for" in message) == (False, True)


def test_unpaired_marks_fail(crontab: UserCrontab, installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install")
    crontab.write(crontab.read().replace(b"# end", b"#end"))
    well, message = check_crontab(installation)
    assert not well
    assert message.startswith("your crontab: line 1, ")
    assert message.endswith("put the marks right with `crontab -e`")


def test_missing_program_crontab_fails(chain: Chain) -> None:
    chain.environment["PATH"] = str(PROGRAMS)
    assert check_crontab(chain) == (
        False,
        "cannot run the program `crontab`: No such file or directory; "
        "install cron (Debian: apt install cron)",
    )


# --- the folders ---------------------------------------------------------------------------------


def test_missing_folders_pass_and_are_not_created(chain: Chain) -> None:
    first, second = findings_of(chain, "folders")
    assert first[0]
    assert second[0]
    assert first[1].startswith(f"[storage] root, {chain.folder}/data: can be written, ")
    assert second[1].startswith(f"[service] folder, {chain.folder}/service: can be written, ")
    assert not (chain.folder / "data").exists()
    assert not (chain.folder / "service").exists()


@pytest.mark.parametrize(("section", "setting"), [("storage", "root"), ("service", "folder")])
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc/here", "No such file or directory"),
        ("link", "No such file or directory"),
    ],
)
def test_unwritable_folder_fails_and_the_other_passes(
    chain: Chain, section: str, setting: str, folder: str, reason: str
) -> None:
    (chain.folder / "file").touch()
    (chain.folder / "link").symlink_to("/mnt/no/such/disk")
    chain.configure(section, **{setting: folder})
    assert failure_of(chain, "folders") == (
        f"[{section}] {setting}, {chain.folder / folder}: "
        f"can't be written ({reason}): give access to it, or set another folder"
    )


def test_nearly_full_disk_fails(here: RunCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999_000_000))
    for well, message in here("folders"):
        assert not well
        assert message.endswith(": 999 MB free: make room, or lower [PruneSnapshots] keep_days")


@pytest.mark.parametrize(
    ("free", "total", "well"), [(99_999, 10**6, False), (100_000, 10**6, True), (0, 0, True)]
)
def test_few_free_inodes_fail_if_the_disk_counts_them(
    here: RunCheck, monkeypatch: pytest.MonkeyPatch, free: int, total: int, well: bool
) -> None:
    room = {"f_frsize": 4096, "f_blocks": 10**9, "f_bfree": 10**9, "f_bavail": 10**9}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=total, f_favail=free, **room))
    findings = here("folders")
    assert [finding[0] for finding in findings] == [well, well]
    few = ": room for only 99,999 files: remove some, or lower [PruneSnapshots] keep_days"
    assert all(message.endswith(few) is not well for _, message in findings)


# --- the API and the clock -----------------------------------------------------------------------


def test_answering_api_passes_after_one_request(chain: Chain, served: Serve) -> None:
    server = served()
    ((well, message),) = findings_of(chain, "API and clock", server.url)
    assert (well, message) == (True, f"{server.url.split('/')[2]} answers")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("status=403", "blocked at the edge (403, reference 18.5d7a1002.1790000000.1a2b3c4d): set [ccdb]"),
        ("html", "the response is text/html, not JSON: is the address wrong? [ccdb] url must end"),
        ("status=302", "status 302 to 'https://elsewhere.example/', which is not followed: check"),
        ("status=429", "status 429: Request was throttled. "),
        ("status=503", "status 503: if this persists, check the network and [ccdb] url"),
        ("status=424", "the search engine did not answer (424: "),
        ("cut", "if this persists, check the network and [ccdb] url"),
        ("reset", "if this persists, check the network and [ccdb] url"),
    ],
)
def test_failing_api_is_reported_after_one_request(
    chain: Chain, served: Serve, event: str, message: str
) -> None:
    server = served(50, f"every 1:{event}")
    assert message in failure_of(chain, "API and clock", server.url)
    assert len(server.asked) == 1


def test_unreachable_api_fails(chain: Chain) -> None:
    message = failure_of(chain, "API and clock")
    assert message.startswith("127.0.0.1:9: Failed to establish a new connection: ")
    assert message.endswith("Connection refused: if this persists, check the network and [ccdb] url")


def test_unusable_pace_file_fails_without_a_request(chain: Chain, served: Serve) -> None:
    chain.configure("ccdb", pace_file=chain.folder)
    server = served()
    assert "make room or give access there, or set [ccdb] pace_file to another file" in failure_of(
        chain, "API and clock", server.url
    )
    assert server.asked == []


@contextlib.contextmanager
def dated(date: str) -> Iterator[str]:
    """Serve an API with this Date header, or without one; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            if date:
                self.send_header("Date", date)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http_date(since_now: timedelta = timedelta()) -> str:
    return format_datetime(datetime.now(timezone.utc) + since_now, usegmt=True)


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_wrong_clock_fails(chain: Chain, off: timedelta) -> None:
    with dated(http_date(off)) as url:
        message = failure_of(chain, "API and clock", url)
    ours, theirs = map(datetime.fromisoformat, re.findall(r"[0-9-]{10} [0-9:]{4}[0-9]", message))
    assert abs(theirs - ours - off) <= ONE
    assert message.endswith(": set the clock, and keep it right with NTP")


@pytest.mark.parametrize(
    "date",
    [
        lambda: http_date(4 * ONE),
        lambda: http_date(-4 * ONE),
        lambda: http_date().replace("GMT", "-0000"),
        lambda: "",
        lambda: "soon",
        lambda: "Sun, 22 Nov 2026 09:26:00 +99999999999999999999",
    ],
    ids=["ahead", "behind", "unknown zone", "missing", "not a date", "invalid zone"],
)
def test_small_or_unknown_clock_skew_passes(here: RunCheck, date: Callable[[], str]) -> None:
    with dated(date()) as url:
        luigi.configuration.get_config().set("ccdb", "url", url)
        assert [well for well, _ in here("API and clock")] == [True]


# --- the database --------------------------------------------------------------------------------


def test_missing_database_without_merges_passes(chain: Chain) -> None:
    stored(chain.folder / "data", this_minute())
    assert findings_of(chain, "database") == [(True, "data/complaints.db: none yet")]


def test_empty_server_database_is_none_yet(chain: Chain, postgres_address: str) -> None:
    chain.configure("storage", database=postgres_address)
    ((well, message),) = findings_of(chain, "database")
    assert (well, message.endswith(": none yet")) == (True, True)


def test_database_is_listed_with_size_and_last_sync(
    chain: Chain, served: Serve, database_address: str | Path, beside: Beside
) -> None:
    chain.configure("storage", database=database_address)
    minute = this_minute() - ONE
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}")
    assert chain.luigi(*arguments, task="SyncComplaints", url=served(2000).url).code == 0
    ((held,),) = beside("SELECT count(*) FROM complaints")
    (well, message), (_, coverage) = findings_of(chain, "database")
    assert well
    assert message == (
        f"{Database(database_address).name}: {held} complaints, last sync {minute:%Y-%m-%d %H:%M} UTC"
    )
    first = (minute - timedelta(days=90)).date()
    assert coverage == f"it covers all complaints from {first} on, as of {minute:%Y-%m-%d %H:%M} UTC"


def test_failed_and_skipped_syncs_are_not_the_last_sync(chain: Chain, served: Serve) -> None:
    url, minute = served().url, this_minute() - HOUR
    assert chain.luigi(task="MergeComplaints", url=url).code == 0
    synced(chain.folder / "data", minute)
    ended(chain.folder / "data", minute + ONE, "failed", slug="all~sync")
    ended(chain.folder / "data", minute + 2 * ONE, "skipped", slug="all~sync")
    message = f"data/complaints.db: 10 complaints, last sync {minute:%Y-%m-%d %H:%M} UTC"
    assert findings_of(chain, "database")[0] == (True, message)


def test_database_without_a_sync_passes(chain: Chain, served: Serve) -> None:
    assert chain.luigi(task="MergeComplaints", url=served().url).code == 0
    assert findings_of(chain, "database")[0] == (True, "data/complaints.db: 10 complaints, no sync on record")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (0, ["it covers no query completely"]),
        (2, LISTED[:2]),
        (7, [*LISTED[:5], "and 2 more: see `luigi-etl status`"]),
    ],
)
def test_coverage_is_listed_in_at_most_six_lines(
    here: RunCheck, sqlite_address: Path, states: int, expected: list[str]
) -> None:
    minute = datetime(2026, 11, 27, 9, 26)
    luigi.configuration.get_config().set("storage", "database", str(sqlite_address))
    with Database(sqlite_address).writing() as connection:
        for state in STATES[:states]:
            record_snapshot(connection, minute, parse_query(f"state={state}"), 0, is_whole=True)

    _, *findings = here("database")

    assert findings == [(True, line) for line in expected]


@pytest.mark.parametrize("make", [merged, synced])
def test_database_missing_after_a_run_fails(
    here: RunCheck, root: Path, make: Callable[[Path, datetime], SnapshotFiles]
) -> None:
    minute = this_minute() - ONE
    files = make(root, minute)
    outcome = "merged" if make is merged else "synced"
    assert here("database") == [
        (
            False,
            f"data/complaints.db does not exist, although a run filled it ({minute:%Y-%m-%d %H:%M} UTC of "
            f"{files.slug}, {outcome}): correct [storage] database, or let SyncComplaints fill it again",
        )
    ]


def test_database_missing_for_days_is_none_yet(here: RunCheck, root: Path) -> None:
    synced(root, this_minute() - DAY - ONE)
    assert here("database") == [(True, "data/complaints.db: none yet")]


def test_file_that_is_not_a_database_fails(chain: Chain) -> None:
    chain.configure("storage", database="notes.txt")
    (chain.folder / "notes.txt").write_text("notes " * 100)
    assert failure_of(chain, "database") == (
        "notes.txt can't be used as a database: file is not a database; give access to it, bring back a "
        "copy, or set [storage] database"
    )


def test_database_of_a_newer_version_fails(
    chain: Chain, served: Serve, database_address: str | Path, beside: Beside
) -> None:
    chain.configure("storage", database=database_address)
    assert chain.luigi(task="MergeComplaints", url=served().url).code == 0
    beside("UPDATE schema_version SET version = 99")
    message = failure_of(chain, "database")
    assert message.startswith("the database's schema is of version 99; this luigi_etl knows up to ")
    assert message.endswith(": install a newer luigi_etl")


def test_unreachable_database_server_fails(here: RunCheck) -> None:
    port = free_port()
    luigi.configuration.get_config().set("storage", "database", f"postgresql://me@127.0.0.1:{port}/ours")
    ((well, message),) = here("database")
    assert not well
    assert message.startswith(f"postgresql://me@127.0.0.1:{port}/ours: ")
    assert message.endswith(": if this persists, check the server and [storage] database")


def test_database_message_hides_the_password(here: RunCheck) -> None:
    address = f"postgresql://127.0.0.1:{free_port()}/ours?sslpassword=sesame"
    luigi.configuration.get_config().set("storage", "database", address)
    ((_, message),) = here("database")
    assert "sesame" not in message


# --- the runs ------------------------------------------------------------------------------------


def runs(chain: Chain) -> list[tuple[bool, str]]:
    return findings_of(chain, "runs")


def describe(minute: datetime, outcome: str) -> str:
    return f"{minute:%Y-%m-%d %H:%M} UTC of {SLUG}, {outcome}"


def test_recent_run_passes(chain: Chain, root: Path) -> None:
    minute = this_minute() - 5 * ONE
    stored(root, minute)
    assert runs(chain) == [(True, f"the last run, {describe(minute, 'stored')}")]


def test_missing_runs_are_reported_with_the_folder(chain: Chain, root: Path) -> None:
    assert runs(chain) == [
        (False, f"no run has left a file in {root}: wait a minute, or correct [storage] root")
    ]


def test_old_last_run_fails(chain: Chain, root: Path) -> None:
    minute = this_minute() - 12 * ONE
    stored(root, minute)
    assert runs(chain) == [
        (
            False,
            f"the last run, {describe(minute, 'stored')}, is more than ten minutes old: "
            f"check cron, and the logs in {chain.folder}/service",
        )
    ]


def test_run_in_the_future_fails(chain: Chain, root: Path) -> None:
    minute = this_minute() + 2 * HOUR
    stored(root, minute)

    ((is_well, message),) = runs(chain)

    assert not is_well
    assert message.startswith(
        f"the last run, {describe(minute, 'stored')}: {minute:%Y-%m-%dT%H%M} is later than now, "
        "a clock was ahead; `luigi-etl forget --after 2"
    )


def test_failed_run_is_reported_with_its_error_in_a_line(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    stored(root, minute - ONE)
    ended(root, minute, "failed", "no\nluck\x1b[2J")
    assert runs(chain) == [
        (
            False,
            f"{describe(minute, 'failed')}: no luck\\x1b[2J; the next run takes a new snapshot; "
            f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10` repeats this one",
        )
    ]


def test_failure_before_a_successful_run_passes(chain: Chain, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - ONE, "failed")
    stored(root, minute)
    assert runs(chain) == [(True, f"the last run, {describe(minute, 'stored')}")]


def test_failure_of_one_query_is_reported_beside_another(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    stored(root, minute, slug="all")
    ended(root, minute - ONE, "failed")
    (well, _), (failed, message) = runs(chain)
    assert (well, failed) == (True, False)
    assert message.startswith(describe(minute - ONE, "failed"))


def test_failure_before_skipped_minutes_is_reported(here: RunCheck, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - 6 * ONE, "failed")
    ended(root, minute - ONE, "skipped")
    ill = [message.split(";")[0] for well, message in here("runs") if not well]
    assert ill == [f"{describe(minute - 6 * ONE, 'failed')}: no luck"]


def test_failure_of_more_than_a_day_ago_is_ignored(here: RunCheck, root: Path) -> None:
    ended(root, this_minute() - DAY - ONE, "failed", slug="all")
    stored(root, this_minute())
    assert [well for well, _ in here("runs")] == [True]


def test_damaged_data_package_fails(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    path = stored(root, minute).datapackage
    path.write_bytes(b"\0")
    ((well, message),) = runs(chain)
    assert not well
    assert message.startswith(f"{describe(minute, 'damaged')}: {path.relative_to(chain.folder)} is damaged (")
    assert f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from store`" in message


def test_run_under_way_passes(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    ended(root, minute, "failed").run.unlink()
    assert runs(chain) == [(True, f"the last run, {describe(minute, 'unfinished')}")]


def test_long_run_with_skipped_minutes_passes(here: RunCheck, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - 3 * HOUR, "failed").run.unlink()
    ended(root, minute - ONE, "skipped")
    assert here("runs") == [(True, f"the last run, {describe(minute - ONE, 'skipped')}")]


def test_run_killed_an_hour_ago_fails(here: RunCheck, root: Path) -> None:
    minute = this_minute() - HOUR
    ended(root, minute, "failed").run.unlink()
    (_, first), (_, second) = here("runs")
    assert "is more than ten minutes old" in first
    assert second.startswith(f"{describe(minute, 'unfinished')}: no end on record: killed, ")
    assert f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from store`" in second


@pytest.mark.parametrize("make", [merged, synced])
def test_merged_or_synced_run_passes(
    here: RunCheck, root: Path, make: Callable[[Path, datetime], SnapshotFiles]
) -> None:
    files = make(root, this_minute())
    ((well, message),) = here("runs")
    assert (well, f" of {files.slug}, " in message) == (True, True)


def test_failed_merge_is_reported_with_the_command(here: RunCheck, root: Path) -> None:
    minute = this_minute() - ONE
    record(stored(root, minute), "failed", "database away", task="MergeComplaints")
    assert here("runs") == [
        (
            False,
            f"{describe(minute, 'failed')}: database away; "
            f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from merge` merges it",
        )
    ]


@pytest.mark.parametrize("content", ["failed", "damaged"])
def test_failed_sync_is_retried_by_the_next_run(here: RunCheck, root: Path, content: str) -> None:
    files = ended(root, this_minute() - ONE, "failed", slug="all~sync")
    if content == "damaged":
        files.run.write_bytes(b"{")
    ((well, message),) = here("runs")
    assert not well
    assert f" of all~sync, {content}: " in message
    assert message.endswith("; the next run tries again")


QUERY = "product=Debt%20collection&state=CA"


@pytest.mark.parametrize("trouble", ["failed", "damaged", "killed", "merge"])
def test_command_of_a_remedy_works(chain: Chain, served: Serve, trouble: str) -> None:
    url, minute = served(500).url, this_minute()
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}", "--query", QUERY, "--limit", "7")
    task = "MergeComplaints" if trouble == "merge" else "StoreComplaints"
    if trouble == "merge":
        (chain.folder / "data").mkdir()
        (chain.folder / "data/complaints.db").write_bytes(b"no database" * 100)
    failing = ("--ccdb-retries", "0") if trouble == "failed" else ()
    chain.unattended(*arguments, *failing, task=task, url=NOWHERE if trouble == "failed" else url)
    if trouble == "damaged":
        chain.file("datapackage.json").write_bytes(b"{")
    if trouble == "killed":
        for ending in ("datapackage.json", "run.json"):
            chain.file(ending).unlink()
        hour = minute - HOUR
        for path in chain.files():
            if path.name.startswith(as_file_name(minute)):
                folder = path.parents[1] / f"{hour:%Y-%m-%d}"
                folder.mkdir(exist_ok=True)
                path.rename(folder / path.name.replace(as_file_name(minute), as_file_name(hour)))
    chain.configure("ccdb", requests_per_minute=0)
    (chain.folder / "data/complaints.db").unlink(missing_ok=True)

    *_, last = [message for well, message in findings_of(chain, "runs", url) if not well]
    (command,) = re.findall(r"`(luigi-etl redo .*?)`", last)
    redone = chain.program(*shlex.split(command), url=url)

    assert redone.code == 0, (command, redone)
    listed = json.loads(chain.program("luigi-etl", "runs", "--json").out)
    assert [run["outcome"] for run in listed] == ["merged" if trouble == "merge" else "stored"]


def test_log_of_a_failed_query_is_named(here: RunCheck, chain: Chain, root: Path) -> None:
    ended(root, this_minute(), "failed", slug="state=CA")
    (chain.folder / "service").mkdir()
    for name in ("StoreComplaints.state=CA", "StoreComplaints.all"):
        (chain.folder / f"service/{name}.log").touch()

    (message,) = [message for well, message in here("runs") if not well]

    assert message.endswith(f"; if that fails too, see {chain.folder}/service/StoreComplaints.state=CA.log")


def fail_sync(chain: Chain, served: Serve, minute: datetime) -> None:
    """Run a sync that fails in its one window."""
    url = served(2000, "2:status=400").url
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}")
    assert chain.unattended(*arguments, task="SyncComplaints", url=url).code == 30
    assert len(list(chain.folder.glob("data/syncs/all/snapshots/date_received_min=*/*"))) == 1


def test_sync_that_failed_in_a_window_is_reported_once(chain: Chain, served: Serve) -> None:
    minute = this_minute() - ONE
    fail_sync(chain, served, minute)
    (message,) = [message for well, message in runs(chain) if not well]
    assert message.startswith(f"{minute:%Y-%m-%d %H:%M} UTC of all~sync, failed: ExtractWindow: ")


def test_window_of_a_sync_under_way_is_ignored(chain: Chain, served: Serve, root: Path) -> None:
    minute = this_minute()
    fail_sync(chain, served, minute - HOUR)
    next((root / "snapshots/all~sync").rglob("*.run.json")).unlink()
    ended(root, minute, "skipped", slug="all~sync")

    assert runs(chain) == [(True, f"the last run, {minute:%Y-%m-%d %H:%M} UTC of all~sync, skipped")]


@pytest.mark.parametrize("where", ["snapshots", f"snapshots/{SLUG}", f"snapshots/{SLUG}/2026-11-22"])
def test_unreadable_folder_fails(chain: Chain, root: Path, where: str) -> None:
    path = root / where
    path.parent.mkdir(parents=True)
    path.symlink_to(path)
    name = path.relative_to(chain.folder)
    assert runs(chain) == [(False, f"Too many levels of symbolic links ({name}): give access to it")]


def test_root_that_is_a_file_fails(chain: Chain, root: Path) -> None:
    root.write_text("a file")
    assert runs(chain) == [
        (False, f"no run has left a file in {root}: wait a minute, or correct [storage] root")
    ]


# --- temporary files -----------------------------------------------------------------------------


def leave_temporary_file(folder: Path, seconds: float) -> Path:
    """Create a temporary file that was last written `seconds` ago."""
    path = folder / f".{seconds:.0f}.0123abcd.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_young_temporary_files_pass(chain: Chain, root: Path) -> None:
    leave_temporary_file(root / "latest", 10)
    leave_temporary_file(stored(root, this_minute()).folder, SECONDS_OF_A_DAY - 600)
    assert findings_of(chain, "temporary files") == [(True, "no temporary file is older than a day")]


def test_killed_redo_is_reported_after_a_day(chain: Chain, root: Path) -> None:
    files = stored(root, this_minute())
    aside = files.run.rename(files.run.with_name(files.run.name + ".redo"))

    assert findings_of(chain, "temporary files") == [(True, "no temporary file is older than a day")]
    assert [one.timestamp for one in killed_redos(root, time.time() + 1)] == [files.timestamp]
    assert aside.exists()


def test_old_temporary_files_are_counted_and_kept(chain: Chain, root: Path) -> None:
    old = [
        leave_temporary_file(folder, SECONDS_OF_A_DAY + 600)
        for folder in (root / "latest", stored(root, this_minute()).folder)
    ]
    assert findings_of(chain, "temporary files") == [
        (
            False,
            "2 temporary files older than a day: "
            "run `luigi --module luigi_etl PruneSnapshots --local-scheduler`",
        )
    ]
    assert all(path.exists() for path in old)
