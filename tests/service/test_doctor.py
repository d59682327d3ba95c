"""`luigi-etl doctor`: each check where it is well and each way it is not, by the real program."""

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


def examined(chain: Chain, url: str = NOWHERE) -> list[Finding]:
    """Return what the program finds, after a look at what holds for whatever it finds."""
    ran = chain.program("luigi-etl", "doctor", "--json", url=url)
    assert ran.err == ""
    findings = [Finding(**fields) for fields in json.loads(ran.out)]
    assert ran.code == (0 if all(finding.well for finding in findings) else 1)
    assert list(dict.fromkeys(finding.check for finding in findings)) == list(report.CHECKS)
    for finding in findings:
        assert finding.message
        assert finding.message.isprintable()
    return findings


def of(check: str, findings: list[Finding]) -> list[tuple[bool, str]]:
    return [(finding.well, finding.message) for finding in findings if finding.check == check]


def found(chain: Chain, check: str, url: str = NOWHERE) -> list[tuple[bool, str]]:
    """Return what the program finds in one check: whether it is well, and the message."""
    return of(check, examined(chain, url))


def only_ill(chain: Chain, check: str, url: str = NOWHERE) -> str:
    """Return what is wrong, where one thing is."""
    (message,) = [message for well, message in found(chain, check, url) if not well]
    return message


Here = Callable[[str], list[tuple[bool, str]]]


@pytest.fixture
def here(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Give a function that makes one check in this process, in the chain's folder."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("core", "scheduler_port", str(free_port()))
    configuration.set("ccdb", "url", NOWHERE)
    configuration.set("ccdb", "requests_per_minute", "0")
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    monkeypatch.chdir(chain.folder)

    def check(name: str) -> list[tuple[bool, str]]:
        monkeypatch.setattr(report, "CHECKS", {name: report.CHECKS[name]})
        return of(name, list(examine()))

    return check


@pytest.fixture
def root(chain: Chain) -> Path:
    """Give the folder of the chain's snapshots."""
    return chain.folder / "data"


# --- as a whole ----------------------------------------------------------------------------------


def test_a_whole_installation_is_well_and_the_exit_code_is_0(
    crontab: UserCrontab, installation: Chain, served: Serve, start_cron: Callable[[], None]
) -> None:
    start_cron()
    installation.configure("ccdb", url=served().url)  # for cron, should a minute begin
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


def test_everything_that_is_wrong_is_told(chain: Chain) -> None:
    Luigid.at_a_free_port(chain)
    chain.configure("cdcb", page_size=1)
    chain.configure("storage", rot="x")
    chain.configure("service", notify="luigi")
    (chain.folder / "data").write_text("a file")
    chain.environment["PATH"] = str(PROGRAMS)
    ill = {finding.check for finding in examined(chain) if not finding.well}
    assert ill == set(report.CHECKS) - {"temporary files", "messages", "database"}


def test_the_text_has_a_line_for_each_finding(chain: Chain) -> None:
    chain.configure("cdcb", page_size=1)
    chain.configure("storage", rot="x")
    ran = chain.program("luigi-etl", "doctor", url=NOWHERE)
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    assert all(line.startswith(("ok    ", "FAIL  ")) for line in lines)
    checks = [line[6:21].strip() for line in lines]
    assert list(dict.fromkeys(checks)) == list(report.CHECKS)
    assert checks.count("config") == 2


def test_letters_the_terminal_has_not_are_escaped(chain: Chain) -> None:
    chain.configure("storage", root="caf\u00e9")
    chain.environment["PYTHONIOENCODING"] = "ascii"
    ran = chain.program("luigi-etl", "doctor", url=NOWHERE)
    assert (ran.code, ran.err) == (1, "")
    assert f"[storage] root, {chain.folder}/caf\\xe9: can be written" in ran.out


# --- the configuration ---------------------------------------------------------------------------


def test_a_configuration_that_is_all_read_is_well(chain: Chain) -> None:
    chain.configure("PruneSnapshots", keep_days=3)
    chain.configure("StoreComplaints", limit=3)
    chain.configure("retcode", task_failed=3)
    chain.configure("ccdb", **{"page-size": 100})
    assert found(chain, "config") == [(True, f"{chain.folder}/luigi.cfg, every setting of it known")]


def test_no_luigi_cfg_is_told_with_where_it_was_looked_for(chain: Chain) -> None:
    (chain.folder / "luigi.cfg").unlink()
    assert only_ill(chain, "config") == (
        f"{chain.folder}/luigi.cfg is not there: run this in the folder of luigi.cfg"
    )


@pytest.mark.parametrize(
    ("section", "setting", "told"),
    [
        ("ccdb", "page_sise", "[ccdb] page_sise"),
        ("core", "scheduler_prot", "[core] scheduler_prot"),
        ("PruneSnapshots", "keep_day", "[PruneSnapshots] keep_day"),
        ("strage", "root", "[strage]"),
    ],
)
def test_a_misspelt_setting_or_section_is_named(chain: Chain, section: str, setting: str, told: str) -> None:
    chain.configure(section, **{setting: 1})
    assert only_ill(chain, "config") == f"luigi.cfg: {told}, which nobody reads: correct or remove it"


@pytest.mark.parametrize(
    ("section", "setting", "value", "reason"),
    [
        ("ccdb", "page_size", "0", "page_size: 0 is not a whole number from 1 to 10000"),
        ("PruneSnapshots", "keep_days", "x", "keep_days: 'x' is not a whole number from 1 to 36500"),
        ("core", "scheduler_port", "abc", "invalid literal for int() with base 10: 'abc'"),
        ("storage", "root", "a%20b", "'%' must be followed by '%' or '('"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_and_stops_no_other_check(
    chain: Chain, section: str, setting: str, value: str, reason: str
) -> None:
    chain.configure(section, **{setting: value})
    assert (
        only_ill(chain, "config") == f"luigi.cfg: [{section}] {setting} can't be used ({reason}): correct it"
    )


def test_a_check_that_a_setting_stops_says_so(chain: Chain) -> None:
    chain.configure("storage", root="~nobody-of-this-name/data")
    reason = "Could not determine home directory."
    stopped = f"this can't be checked ({reason}): correct luigi.cfg or the environment"
    findings = examined(chain)
    for check in ("folders", "database", "runs", "temporary files"):
        assert of(check, findings) == [(False, stopped)]


@pytest.mark.parametrize("content", [b"root=data\n", b"[storage]\nroot\n", b"[storage]\nroot=caf\xe9\n"])
def test_a_luigi_cfg_that_cannot_be_read_is_one_line(chain: Chain, content: bytes) -> None:
    (chain.folder / "luigi.cfg").write_bytes(content)
    ran = chain.program("luigi-etl", "doctor", "--json")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("luigi_etl: error: luigi.cfg can't be read (")
    assert ran.err.endswith("): correct it\n")


# --- whom it tells -------------------------------------------------------------------------------


def test_without_notify_cron_mails(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sendmail").touch(mode=0o755)
    monkeypatch.setattr(messages, "SENDMAIL_FOLDERS", str(tmp_path))
    told = "[service] notify: not set, messages go to standard error, which cron mails"
    assert here("messages") == [(True, told)]


def test_without_notify_and_a_mailer_nobody_learns(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "SENDMAIL_FOLDERS", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    ((well, message),) = here("messages")
    assert (well, message.partition(": set it")[0]) == (
        False,
        "[service] notify: not set, and there is no sendmail by which cron could mail messages",
    )


def test_a_program_and_a_folder_that_are_there_are_well(chain: Chain) -> None:
    (chain.folder / "metrics").mkdir()
    chain.configure("service", notify="tee -a told.txt", metrics="metrics")
    assert found(chain, "messages") == [
        (True, "[service] notify: messages go to tee"),
        (True, f"[service] metrics: {chain.folder}/metrics"),
    ]


def test_a_program_and_a_folder_that_are_not_there_are_not(chain: Chain) -> None:
    chain.configure("service", notify="/no/such --message", metrics="nometrics")
    assert found(chain, "messages") == [
        (False, "[service] notify: there is no program '/no/such': correct it, or no outage is told there"),
        (
            False,
            f"[service] metrics: {chain.folder}/nometrics is not there: make it, or correct the setting",
        ),
    ]


# --- luigid --------------------------------------------------------------------------------------


def test_a_luigid_on_loopback_is_well(chain: Chain, luigid: Luigid) -> None:
    told = f"luigid answers at http://127.0.0.1:{luigid.port}, on loopback only"
    assert found(chain, "luigid") == [(True, told)]


def test_a_luigid_that_is_away_is_to_be_started(chain: Chain) -> None:
    port = Luigid.at_a_free_port(chain).port
    assert only_ill(chain, "luigid") == (
        f"luigid does not answer at http://127.0.0.1:{port}: start it with `luigi-etl luigid`; "
        "until then runs go without"
    )


def test_another_server_at_its_port_is_no_luigid(chain: Chain, served: Serve) -> None:
    port = served().url.split(":")[2].split("/")[0]
    chain.configure("core", scheduler_port=port)
    assert only_ill(chain, "luigid") == (
        f"what answers at http://127.0.0.1:{port} is not luigid (status 200): stop what listens there, "
        "or set [core] scheduler_port, then start it with `luigi-etl luigid`; until then runs go without"
    )


def test_a_luigid_of_another_user_is_ill(chain: Chain) -> None:
    with HostileLuigid.of_nobody() as hostile:
        chain.configure("core", scheduler_port=hostile.port)
        assert only_ill(chain, "luigid").startswith(
            f"another user's program (uid 65534) listens at http://127.0.0.1:{hostile.port}: stop what"
        )


def test_a_luigid_on_another_machine_is_named_as_such(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(luigid_check, "problem_of", lambda _: "")
    monkeypatch.setattr(luigid_check, "local_addresses", lambda *_: set())
    ((well, message),) = here("luigid")
    assert (well, message.partition(", ")[2]) == (True, "on another machine: whose it is can't be checked")


def test_a_port_there_is_none_of_is_told_too(chain: Chain) -> None:
    chain.configure("core", scheduler_port=99_999)
    assert "http://127.0.0.1:99999" in only_ill(chain, "luigid")


@contextlib.contextmanager
def plain_luigid(chain: Chain, *options: str) -> Iterator[Luigid]:
    """Start luigid as Luigi has it."""
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
def test_a_luigid_that_others_can_reach_is_told_as_open(chain: Chain, options: list[str]) -> None:
    with plain_luigid(chain, *options) as luigid:
        assert only_ill(chain, "luigid") == (
            f"luigid at port {luigid.port} lets other machines in (bound to every interface): "
            "stop it and start it with `luigi-etl luigid`"
        )


# --- cron ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def process_named(name: bytes, folder: Path) -> Iterator[None]:
    """Run a process that the kernel lists by such a name."""
    program = folder / os.fsdecode(name)
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "60"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_cron_daemon_is_known_by_its_name_and_odd_names_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No name a cron daemon has: other tests on this machine look for one too.
    monkeypatch.setattr(cron, "CRON_DAEMONS", {"test-crond", "fcron"})
    assert cron_daemons() == set()
    with process_named(b"test-crond", tmp_path), process_named(b"odd \xff\n", tmp_path):
        assert cron_daemons() == {"test-crond"}


def test_a_process_that_ends_while_it_is_looked_at_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Path) -> bytes:
        raise ProcessLookupError

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert cron_daemons() == set()


def test_no_cron_daemon_is_told_beside_what_else_is_wrong(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "cron_daemons", set)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "/nowhere/luigi.cfg")
    (_, first), (_, second) = here("cron")
    assert first == (
        "no cron daemon runs: install and start it (Debian: apt install cron; systemctl start cron)"
    )
    assert second.startswith("LUIGI_CONFIG_PATH: /nowhere is no checkout: ")


def of_the_crontab(chain: Chain) -> tuple[bool, str]:
    """Return what the program finds of the crontab, whether or not a daemon runs."""
    (finding,) = [one for one in found(chain, "cron") if not one[1].startswith("no cron daemon")]
    return finding


@pytest.mark.usefixtures("crontab")
def test_another_checkouts_crontab_is_not_approved(chain: Chain) -> None:
    """Luigi_etl was installed from elsewhere than the folder that is examined."""
    chain.environment.pop("LUIGI_CONFIG_PATH", None)
    well, message = of_the_crontab(chain)
    assert not well
    assert message.startswith("cron's lines are for /")
    assert f", not for {chain.folder}: run this there, " in message


@pytest.mark.usefixtures("crontab")
def test_an_installed_block_is_well(installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install", "--query", "state=CA", "--without-luigid")
    assert of_the_crontab(installation) == (True, f"your crontab runs {installation.folder}")


def test_a_crontab_without_the_block_is_told(crontab: UserCrontab, installation: Chain) -> None:
    crontab.write(b"# begin luigi_etl /elsewhere\n# end luigi_etl /elsewhere\n")
    told = f"your crontab holds nothing for {installation.folder}: run `luigi-etl crontab --install`"
    assert of_the_crontab(installation) == (False, told)


@pytest.mark.parametrize(
    ("before", "after"), [(b"bin/python", b"bin/other/python"), (b" unattended", b".99 unattended")]
)
def test_a_block_with_another_interpreter_is_told(
    crontab: UserCrontab, installation: Chain, before: bytes, after: bytes
) -> None:
    installation.program("luigi-etl", "crontab", "--install", "--without-luigid")
    crontab.write(crontab.read().replace(before, after))
    well, message = of_the_crontab(installation)
    assert not well
    assert message.startswith(f"your crontab runs {installation.folder} with another Python than /")
    assert "run `luigi-etl crontab --install`" in message


def test_a_block_whose_jobs_are_comments_runs_nothing(crontab: UserCrontab, installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install")
    lines = crontab.read().splitlines(keepends=True)
    crontab.write(b"".join(line if line.startswith(b"#") else b" #" + line for line in lines))
    well, message = of_the_crontab(installation)
    assert (well, "holds nothing for" in message) == (False, True)


def test_marks_that_do_not_pair_are_told(crontab: UserCrontab, installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install")
    crontab.write(crontab.read().replace(b"# end", b"#end"))
    well, message = of_the_crontab(installation)
    assert not well
    assert message.startswith("your crontab: line 1, ")
    assert message.endswith("put the marks right with `crontab -e`")


def test_without_the_program_crontab_it_is_told_what_to_install(chain: Chain) -> None:
    chain.environment["PATH"] = str(PROGRAMS)
    assert of_the_crontab(chain) == (
        False,
        "cannot run the program `crontab`: No such file or directory; "
        "install cron (Debian: apt install cron)",
    )


# --- the folders ---------------------------------------------------------------------------------


def test_folders_that_can_be_made_are_well_and_are_not_made(chain: Chain) -> None:
    first, second = found(chain, "folders")
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
def test_a_folder_that_cannot_be_written_is_told_and_the_other_is_well(
    chain: Chain, section: str, setting: str, folder: str, reason: str
) -> None:
    (chain.folder / "file").touch()
    (chain.folder / "link").symlink_to("/mnt/no/such/disk")
    chain.configure(section, **{setting: folder})
    assert only_ill(chain, "folders") == (
        f"[{section}] {setting}, {chain.folder / folder}: "
        f"can't be written ({reason}): give access to it, or set another"
    )


def test_little_room_is_told(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999_000_000))
    for well, message in here("folders"):
        assert not well
        assert message.endswith(": 999 MB free: make room, or lower [PruneSnapshots] keep_days")


@pytest.mark.parametrize(
    ("free", "total", "well"), [(99_999, 10**6, False), (100_000, 10**6, True), (0, 0, True)]
)
def test_room_for_few_files_is_told_where_files_are_counted(
    here: Here, monkeypatch: pytest.MonkeyPatch, free: int, total: int, well: bool
) -> None:
    room = {"f_frsize": 4096, "f_blocks": 10**9, "f_bfree": 10**9, "f_bavail": 10**9}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=total, f_favail=free, **room))
    findings = here("folders")
    assert [finding[0] for finding in findings] == [well, well]
    few = ": room for 99,999 files only: remove some, or lower [PruneSnapshots] keep_days"
    assert all(message.endswith(few) is not well for _, message in findings)


# --- the API and the clock -----------------------------------------------------------------------


def test_an_api_that_answers_is_well_after_one_request(chain: Chain, served: Serve) -> None:
    server = served()
    ((well, message),) = found(chain, "API and clock", server.url)
    assert (well, message) == (True, f"{server.url.split('/')[2]} answers")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("status=403", "blocked at the edge (403, reference 18.5d7a1002.1790000000.1a2b3c4d): set [ccdb]"),
        ("html", "the response is text/html, not JSON: is the address wrong? [ccdb] url must end"),
        ("status=302", "status 302 to 'https://elsewhere.example/', which is not followed: check"),
        ("status=429", "status 429: Request was throttled. "),
        ("status=503", "status 503: if it stays so, see to the network, and to [ccdb] url"),
        ("status=424", "the search engine did not answer (424: "),
        ("cut", "if it stays so, see to the network, and to [ccdb] url"),
        ("reset", "if it stays so, see to the network, and to [ccdb] url"),
    ],
)
def test_an_api_that_does_not_serve_is_told_after_one_request(
    chain: Chain, served: Serve, event: str, told: str
) -> None:
    server = served(50, f"every 1:{event}")
    assert told in only_ill(chain, "API and clock", server.url)
    assert len(server.asked) == 1


def test_an_api_that_is_away_is_told(chain: Chain) -> None:
    message = only_ill(chain, "API and clock")
    assert message.startswith("127.0.0.1:9: Failed to establish a new connection: ")
    assert message.endswith("Connection refused: if it stays so, see to the network, and to [ccdb] url")


def test_a_pace_that_cannot_be_kept_is_told(chain: Chain, served: Serve) -> None:
    chain.configure("ccdb", pace_file=chain.folder)
    server = served()
    assert "make room or give access there, or set [ccdb] pace_file to another file" in only_ill(
        chain, "API and clock", server.url
    )
    assert server.asked == []


@contextlib.contextmanager
def dated(date: str) -> Iterator[str]:
    """Serve an API that gives such a date, or none; give its address."""

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
def test_a_clock_that_is_off_is_told(chain: Chain, off: timedelta) -> None:
    with dated(http_date(off)) as url:
        message = only_ill(chain, "API and clock", url)
    ours, theirs = map(datetime.fromisoformat, re.findall(r"[0-9-]{10} [0-9:]{4}[0-9]", message))
    assert abs(theirs - ours - off) <= ONE
    assert message.endswith(": set it, and let NTP keep it")


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
    ids=["ahead", "behind", "of an unknown zone", "none", "no date", "of no zone"],
)
def test_a_clock_that_is_about_right_or_not_told_is_well(here: Here, date: Callable[[], str]) -> None:
    with dated(date()) as url:
        luigi.configuration.get_config().set("ccdb", "url", url)
        assert [well for well, _ in here("API and clock")] == [True]


# --- the database --------------------------------------------------------------------------------


def test_no_database_that_nobody_asked_for_is_well(chain: Chain) -> None:
    stored(chain.folder / "data", this_minute())
    assert found(chain, "database") == [(True, "data/complaints.db: none yet")]


def test_an_empty_database_of_a_server_is_none_yet(chain: Chain, postgres_address: str) -> None:
    chain.configure("storage", database=postgres_address)
    ((well, message),) = found(chain, "database")
    assert (well, message.endswith(": none yet")) == (True, True)


def test_a_database_is_told_with_what_it_holds_and_its_last_sync(
    chain: Chain, served: Serve, database_address: str | Path, beside: Beside
) -> None:
    chain.configure("storage", database=database_address)
    minute = this_minute() - ONE
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}")
    assert chain.luigi(*arguments, task="SyncComplaints", url=served(2000).url).code == 0
    ((held,),) = beside("SELECT count(*) FROM complaints")
    (well, message), (_, coverage) = found(chain, "database")
    assert well
    assert message == (
        f"{Database(database_address).name}: {held} complaints, the last sync of {minute:%Y-%m-%d %H:%M} UTC"
    )
    first = (minute - timedelta(days=90)).date()
    assert coverage == f"it covers all complaints from {first} on, as of {minute:%Y-%m-%d %H:%M} UTC"


def test_the_last_sync_is_the_last_that_ended_well(chain: Chain, served: Serve) -> None:
    url, minute = served().url, this_minute() - HOUR
    assert chain.luigi(task="MergeComplaints", url=url).code == 0
    synced(chain.folder / "data", minute)
    ended(chain.folder / "data", minute + ONE, "failed", slug="all~sync")
    ended(chain.folder / "data", minute + 2 * ONE, "skipped", slug="all~sync")
    told = f"data/complaints.db: 10 complaints, the last sync of {minute:%Y-%m-%d %H:%M} UTC"
    assert found(chain, "database")[0] == (True, told)


def test_a_database_without_a_sync_is_well(chain: Chain, served: Serve) -> None:
    assert chain.luigi(task="MergeComplaints", url=served().url).code == 0
    assert found(chain, "database")[0] == (True, "data/complaints.db: 10 complaints, no sync on record")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (0, ["it covers no query completely"]),
        (2, LISTED[:2]),
        (7, [*LISTED[:5], "and 2 more: see `luigi-etl status`"]),
    ],
)
def test_coverage_is_listed_in_a_few_lines(
    here: Here, sqlite_address: Path, states: int, expected: list[str]
) -> None:
    minute = datetime(2026, 11, 27, 9, 26)
    luigi.configuration.get_config().set("storage", "database", str(sqlite_address))
    with Database(sqlite_address).writing() as connection:
        for state in STATES[:states]:
            record_snapshot(connection, minute, parse_query(f"state={state}"), 0, is_whole=True)

    _, *findings = here("database")

    assert findings == [(True, line) for line in expected]


@pytest.mark.parametrize("make", [merged, synced])
def test_a_database_that_is_gone_after_a_run_is_told(
    here: Here, root: Path, make: Callable[[Path, datetime], SnapshotFiles]
) -> None:
    minute = this_minute() - ONE
    files = make(root, minute)
    outcome = "merged" if make is merged else "synced"
    assert here("database") == [
        (
            False,
            f"data/complaints.db: there is nothing, although there was {minute:%Y-%m-%d %H:%M} UTC of "
            f"{files.slug}, {outcome}: see to [storage] database, or let SyncComplaints fill it again",
        )
    ]


def test_a_database_that_was_given_up_days_ago_is_none_yet(here: Here, root: Path) -> None:
    synced(root, this_minute() - DAY - ONE)
    assert here("database") == [(True, "data/complaints.db: none yet")]


def test_a_file_that_is_no_database_is_told(chain: Chain) -> None:
    chain.configure("storage", database="notes.txt")
    (chain.folder / "notes.txt").write_text("notes " * 100)
    assert only_ill(chain, "database") == (
        "notes.txt can't be used as a database: file is not a database; give access to it, bring back a "
        "copy, or set [storage] database"
    )


def test_a_database_of_a_newer_version_is_told(
    chain: Chain, served: Serve, database_address: str | Path, beside: Beside
) -> None:
    chain.configure("storage", database=database_address)
    assert chain.luigi(task="MergeComplaints", url=served().url).code == 0
    beside("UPDATE schema_version SET version = 99")
    message = only_ill(chain, "database")
    assert message.startswith("the database's schema is of version 99; this luigi_etl knows up to ")
    assert message.endswith(": install a newer luigi_etl")


def test_a_server_that_is_away_is_told(here: Here) -> None:
    port = free_port()
    luigi.configuration.get_config().set("storage", "database", f"postgresql://me@127.0.0.1:{port}/ours")
    ((well, message),) = here("database")
    assert not well
    assert message.startswith(f"postgresql://me@127.0.0.1:{port}/ours: ")
    assert message.endswith(": if it stays so, see to it, or to [storage] database")


def test_a_database_on_a_server_is_told_without_its_password(here: Here) -> None:
    address = f"postgresql://127.0.0.1:{free_port()}/ours?sslpassword=sesame"
    luigi.configuration.get_config().set("storage", "database", address)
    ((_, message),) = here("database")
    assert "sesame" not in message


# --- the runs ------------------------------------------------------------------------------------


def runs(chain: Chain) -> list[tuple[bool, str]]:
    return found(chain, "runs")


def told(minute: datetime, outcome: str) -> str:
    return f"{minute:%Y-%m-%d %H:%M} UTC of {SLUG}, {outcome}"


def test_a_run_of_late_is_well(chain: Chain, root: Path) -> None:
    minute = this_minute() - 5 * ONE
    stored(root, minute)
    assert runs(chain) == [(True, f"the last run, {told(minute, 'stored')}")]


def test_no_runs_are_told_with_where_they_were_looked_for(chain: Chain, root: Path) -> None:
    assert runs(chain) == [(False, f"no run left anything in {root}: wait a minute, or see [storage] root")]


def test_an_old_run_is_told(chain: Chain, root: Path) -> None:
    minute = this_minute() - 12 * ONE
    stored(root, minute)
    assert runs(chain) == [
        (
            False,
            f"the last run, {told(minute, 'stored')}, is long ago: "
            f"check cron, and the logs in {chain.folder}/service",
        )
    ]


def test_a_run_in_the_future_is_told_as_of_the_clock(chain: Chain, root: Path) -> None:
    minute = this_minute() + 2 * HOUR
    stored(root, minute)

    ((is_well, message),) = runs(chain)

    assert not is_well
    assert message.startswith(
        f"the last run, {told(minute, 'stored')}: {minute:%Y-%m-%dT%H%M} is later than now, "
        "a clock was ahead; `luigi-etl forget --after 2"
    )


def test_a_newest_run_that_failed_is_told_with_its_error_in_a_line(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    stored(root, minute - ONE)
    ended(root, minute, "failed", "no\nluck\x1b[2J")
    assert runs(chain) == [
        (
            False,
            f"{told(minute, 'failed')}: no luck\\x1b[2J; the next run takes a new snapshot, "
            f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10` this one",
        )
    ]


def test_a_failure_that_a_later_run_made_good_is_well(chain: Chain, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - ONE, "failed")
    stored(root, minute)
    assert runs(chain) == [(True, f"the last run, {told(minute, 'stored')}")]


def test_a_failure_of_one_query_is_told_beside_another_that_is_well(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    stored(root, minute, slug="all")
    ended(root, minute - ONE, "failed")
    (well, _), (failed, message) = runs(chain)
    assert (well, failed) == (True, False)
    assert message.startswith(told(minute - ONE, "failed"))


def test_a_failure_is_told_while_later_minutes_are_only_skipped(here: Here, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - 6 * ONE, "failed")
    ended(root, minute - ONE, "skipped")
    ill = [message.split(";")[0] for well, message in here("runs") if not well]
    assert ill == [f"{told(minute - 6 * ONE, 'failed')}: no luck"]


def test_a_failure_of_a_query_given_up_days_ago_is_not_told_any_more(here: Here, root: Path) -> None:
    ended(root, this_minute() - DAY - ONE, "failed", slug="all")
    stored(root, this_minute())
    assert [well for well, _ in here("runs")] == [True]


def test_a_damaged_data_package_is_told(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    path = stored(root, minute).datapackage
    path.write_bytes(b"\0")
    ((well, message),) = runs(chain)
    assert not well
    assert message.startswith(f"{told(minute, 'damaged')}: {path.relative_to(chain.folder)} is damaged (")
    assert f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from store`" in message


def test_a_run_under_way_is_no_failure(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    ended(root, minute, "failed").run.unlink()
    assert runs(chain) == [(True, f"the last run, {told(minute, 'unfinished')}")]


def test_a_long_run_for_which_others_are_skipped_is_no_failure(here: Here, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - 3 * HOUR, "failed").run.unlink()
    ended(root, minute - ONE, "skipped")
    assert here("runs") == [(True, f"the last run, {told(minute - ONE, 'skipped')}")]


def test_a_run_that_was_killed_an_hour_ago_is_told_as_the_last(here: Here, root: Path) -> None:
    minute = this_minute() - HOUR
    ended(root, minute, "failed").run.unlink()
    (_, first), (_, second) = here("runs")
    assert "is long ago" in first
    assert second.startswith(f"{told(minute, 'unfinished')}: no end on record: killed, ")
    assert f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from store`" in second


@pytest.mark.parametrize("make", [merged, synced])
def test_a_run_that_reached_the_database_is_well(
    here: Here, root: Path, make: Callable[[Path, datetime], SnapshotFiles]
) -> None:
    files = make(root, this_minute())
    ((well, message),) = here("runs")
    assert (well, f" of {files.slug}, " in message) == (True, True)


def test_a_merge_that_failed_is_told_with_what_merges_it(here: Here, root: Path) -> None:
    minute = this_minute() - ONE
    record(stored(root, minute), "failed", "database away", task="MergeComplaints")
    assert here("runs") == [
        (
            False,
            f"{told(minute, 'failed')}: database away; "
            f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from merge` merges it",
        )
    ]


@pytest.mark.parametrize("content", ["failed", "damaged"])
def test_a_sync_that_failed_is_tried_again_by_the_next(here: Here, root: Path, content: str) -> None:
    files = ended(root, this_minute() - ONE, "failed", slug="all~sync")
    if content == "damaged":
        files.run.write_bytes(b"{")
    ((well, message),) = here("runs")
    assert not well
    assert f" of all~sync, {content}: " in message
    assert message.endswith("; the next run tries again")


QUERY = "product=Debt%20collection&state=CA"


@pytest.mark.parametrize("trouble", ["failed", "damaged", "killed", "merge"])
def test_the_command_of_a_remedy_works(chain: Chain, served: Serve, trouble: str) -> None:
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

    *_, last = [message for well, message in found(chain, "runs", url) if not well]
    (command,) = re.findall(r"`(luigi-etl redo .*?)`", last)
    redone = chain.program(*shlex.split(command), url=url)

    assert redone.code == 0, (command, redone)
    listed = json.loads(chain.program("luigi-etl", "runs", "--json").out)
    assert [run["outcome"] for run in listed] == ["merged" if trouble == "merge" else "stored"]


def test_the_log_of_a_failed_query_is_named_where_there_is_one(here: Here, chain: Chain, root: Path) -> None:
    ended(root, this_minute(), "failed", slug="state=CA")
    (chain.folder / "service").mkdir()
    for name in ("StoreComplaints.state=CA", "StoreComplaints.all"):
        (chain.folder / f"service/{name}.log").touch()

    (message,) = [message for well, message in here("runs") if not well]

    assert message.endswith(f"; if that fails too, see {chain.folder}/service/StoreComplaints.state=CA.log")


def failed_sync(chain: Chain, served: Serve, minute: datetime) -> None:
    """Let a sync fail in its one window."""
    url = served(2000, "2:status=400").url
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}")
    assert chain.unattended(*arguments, task="SyncComplaints", url=url).code == 30
    assert len(list(chain.folder.glob("data/syncs/all/snapshots/date_received_min=*/*"))) == 1


def test_a_sync_that_failed_in_a_window_is_told_once(chain: Chain, served: Serve) -> None:
    minute = this_minute() - ONE
    failed_sync(chain, served, minute)
    (message,) = [message for well, message in runs(chain) if not well]
    assert message.startswith(f"{minute:%Y-%m-%d %H:%M} UTC of all~sync, failed: ExtractWindow: ")


def test_a_window_of_a_sync_under_way_is_not_told(chain: Chain, served: Serve, root: Path) -> None:
    minute = this_minute()
    failed_sync(chain, served, minute - HOUR)
    next((root / "snapshots/all~sync").rglob("*.run.json")).unlink()
    ended(root, minute, "skipped", slug="all~sync")

    assert runs(chain) == [(True, f"the last run, {minute:%Y-%m-%d %H:%M} UTC of all~sync, skipped")]


@pytest.mark.parametrize("where", ["snapshots", f"snapshots/{SLUG}", f"snapshots/{SLUG}/2026-11-22"])
def test_a_folder_that_cannot_be_read_is_told(chain: Chain, root: Path, where: str) -> None:
    path = root / where
    path.parent.mkdir(parents=True)
    path.symlink_to(path)
    name = path.relative_to(chain.folder)
    assert runs(chain) == [(False, f"Too many levels of symbolic links ({name}): give access to it")]


def test_a_root_that_is_a_file_is_told(chain: Chain, root: Path) -> None:
    root.write_text("a file")
    assert runs(chain) == [(False, f"no run left anything in {root}: wait a minute, or see [storage] root")]


# --- temporary files -----------------------------------------------------------------------------


def left_behind(folder: Path, seconds: float) -> Path:
    """Make a temporary file that was last written so many seconds ago."""
    path = folder / f".{seconds:.0f}.0123abcd.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_young_temporary_files_are_well(chain: Chain, root: Path) -> None:
    left_behind(root / "latest", 10)
    left_behind(stored(root, this_minute()).folder, SECONDS_OF_A_DAY - 600)
    assert found(chain, "temporary files") == [(True, "no temporary file is older than a day")]


def test_killed_redo_is_reported_after_a_day(chain: Chain, root: Path) -> None:
    files = stored(root, this_minute())
    aside = files.run.rename(files.run.with_name(files.run.name + ".redo"))

    assert found(chain, "temporary files") == [(True, "no temporary file is older than a day")]
    assert [one.timestamp for one in killed_redos(root, time.time() + 1)] == [files.timestamp]
    assert aside.exists()


def test_old_temporary_files_are_counted_and_stay(chain: Chain, root: Path) -> None:
    old = [
        left_behind(folder, SECONDS_OF_A_DAY + 600)
        for folder in (root / "latest", stored(root, this_minute()).folder)
    ]
    assert found(chain, "temporary files") == [
        (
            False,
            "2 temporary files older than a day: "
            "run `luigi --module luigi_etl PruneSnapshots --local-scheduler`",
        )
    ]
    assert all(path.exists() for path in old)
