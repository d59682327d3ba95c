"""luigid with the settings of luigi.cfg, started by `luigi-etl luigid`."""

import contextlib
import os
import re
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import luigi
import pytest

from luigi_etl.service.listeners import find_foreign_listener
from luigi_etl.service.luigid import Address, find_problem, is_usable, read_address
from tests.conftest import Chain, Luigid, Serve

pytestmark = pytest.mark.slow

MINUTE = ("--timestamp", "2026-11-22T0926")


def listening_at(port: int) -> set[str]:
    """Return the addresses of the port's listeners, in the kernel's notation."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {fields[1] for fields in lines if fields[3] == "0A" and int(fields[1][9:], 16) == port}


def test_luigid_listens_on_loopback_only(luigid: Luigid) -> None:
    assert listening_at(luigid.port) == {f"0100007F:{luigid.port:04X}"}
    assert is_usable(Address("127.0.0.1", luigid.port))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_address_that_others_can_reach_is_refused(chain: Chain, host: str) -> None:
    chain.configure("core", scheduler_host=host)
    run = chain.program("luigi-etl", "luigid")

    assert run.code == 2
    assert run.err.startswith(
        f"luigi-etl: error: [core] scheduler_host: '{host}' can be reached from other machines"
    )
    assert len(run.err.splitlines()) == 1


def test_second_luigid_is_refused_or_silent_with_the_option(chain: Chain, luigid: Luigid) -> None:
    second = chain.program("luigi-etl", "luigid")
    assert second.code == 2
    assert re.fullmatch(
        rf"luigi-etl: error: luigid can't listen at http://127\.0\.0\.1:{luigid.port}: "
        r"Address already in use; luigid runs there already: stop it, or set \[core\] scheduler_port\n",
        second.err,
    )
    unless_running = chain.program("luigi-etl", "luigid", "--unless-running")
    assert (unless_running.code, unless_running.out, unless_running.err) == (0, "", "")


def test_tasks_are_shown_after_a_restart(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.program(*luigid.command(*MINUTE), url=served().url)
    before = {name: luigid.message(name) for name in luigid.tasks("DONE")}
    luigid.stop()
    luigid.start()

    assert {name: luigid.message(name) for name in luigid.tasks("DONE")} == before
    assert len(before) == 4


def test_tasks_stay_for_a_day_and_pause_is_disabled(luigid: Luigid, chain: Chain) -> None:
    settings = (chain.folder / "luigi.cfg").read_text()
    assert "remove_delay=86400" in settings
    assert luigid.told("is_pause_enabled") == {"enabled": False}


def test_luigid_sends_no_message_to_a_worker(luigid: Luigid) -> None:
    response = luigid.told("send_scheduler_message", worker="worker", task="task", content="stop")
    assert response == {"message_id": None}


def test_each_task_shows_its_result(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.program(*luigid.command(*MINUTE, "--limit", "0"), url=served(50).url)
    name, folder = "20261122T0926Z", " (in data/snapshots/all/2026-11-22)"
    size = chain.file(".complaints.csv").stat().st_size

    assert {name.split("_")[0]: luigid.message(name) for name in luigid.tasks("DONE")} == {
        "CreateDocument": f"{name}.document.csv: 18 columns{folder}",
        "ExtractComplaints": f"{name}.extracted.jsonl.gz: 50 complaints, 1 page{folder}",
        "ParseComplaints": f"{name}.parsed.jsonl: 50 complaints, 0 rejected{folder}",
        "StoreComplaints": f"{name}.complaints.csv: 50 rows, {size:,} bytes{folder}",
    }


def test_luigid_prints_its_address_and_bounds_its_log(chain: Chain) -> None:
    (chain.folder / "service").mkdir()
    log = chain.folder / "service" / "luigid.log"
    log.write_text("x" * 999_999 + "\n")
    luigid = Luigid.at_a_free_port(chain)
    luigid.start()
    assert luigid.process
    luigid.process.send_signal(signal.SIGTERM)
    out, err = luigid.process.communicate(timeout=20)
    assert (out, err) == (
        f"starting luigid at http://127.0.0.1:{luigid.port}; its log is service/luigid.log\n",
        "",
    )
    assert "Saved state in" in log.read_text()
    assert log.stat().st_size < 10_000
    assert log.with_name("luigid.log.1").stat().st_size == 1_000_000


def test_state_is_private(luigid: Luigid, chain: Chain) -> None:
    luigid.stop()
    assert stat.S_IMODE((chain.folder / "service/luigid.pickle").stat().st_mode) == 0o600
    luigid.start()


@pytest.mark.parametrize("umask", ["000", "077"])
def test_files_of_luigid_are_private(chain: Chain, umask: str) -> None:
    port = Luigid.at_a_free_port(chain).port
    process = chain.start("sh", "-c", f"umask {umask}; exec luigi-etl luigid", start_new_session=True)
    deadline = time.monotonic() + 30
    while not is_usable(Address("127.0.0.1", port)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=20)

    service = chain.folder / "service"

    assert stat.S_IMODE(service.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in service.iterdir()} == {
        "luigid.log": 0o600,
        "luigid.pickle": 0o600,
    }


@pytest.mark.parametrize("loose", ["service", "service/luigid.pickle"])
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_state_that_others_can_write_is_refused(chain: Chain, loose: str, mode: int) -> None:
    """The state is a pickle: anyone who can write it can run code."""
    code = b"cos\nsystem\n(S'touch pwned'\ntR."
    Luigid.at_a_free_port(chain)
    (chain.folder / "service").mkdir(mode=0o700)
    (chain.folder / "service/luigid.pickle").write_bytes(code)
    (chain.folder / loose).chmod(mode)

    run = chain.program("luigi-etl", "luigid")

    assert (run.code, run.err.count("\n")) == (2, 1)
    assert f"error: {chain.folder}/{loose}: others can write it, and run code here" in run.err
    assert not (chain.folder / "pwned").exists()


def test_unusable_service_folder_names_its_setting(chain: Chain) -> None:
    (chain.folder / "service").write_text("in the way")
    run = chain.program("luigi-etl", "luigid")

    assert (run.code, run.err.count("\n")) == (1, 1)
    assert "cannot write service: " in run.err
    assert run.err.endswith("or set [service] folder\n")


def test_foreign_program_at_its_port_is_reported_once(chain: Chain, served: Serve) -> None:
    """Cron tries every ten minutes and mails each output."""
    messages = chain.folder / "messages"
    chain.configure("service", notify=f"tee -a {messages}")
    chain.configure("core", scheduler_port=served().url.split(":")[2].split("/")[0])

    runs = [chain.program("luigi-etl", "luigid", "--unless-running") for _ in range(3)]

    assert [(run.code, run.err) for run in runs] == [(2, "")] * 3
    (message,) = messages.read_text().splitlines()
    assert (
        "Address already in use; stop the program that listens there, or set [core] scheduler_port; until"
        in message
    )
    assert (chain.folder / "service/luigid.log").read_text().count("can't listen") == 3


def test_failure_is_reported_again_after_luigid_answered(chain: Chain, served: Serve, luigid: Luigid) -> None:
    foreign = served().url.split(":")[2].split("/")[0]
    errors = []
    for port in (foreign, luigid.port, foreign):
        chain.configure("core", scheduler_port=port)
        errors.append(chain.program("luigi-etl", "luigid", "--unless-running").err)

    assert [len(message.splitlines()) for message in errors] == [1, 0, 1]


def test_luigid_serves_metrics_with_the_extra(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.program(*luigid.command(*MINUTE), url=served().url)
    with urlopen(f"http://127.0.0.1:{luigid.port}/metrics", timeout=10) as response:
        assert 'luigi_task_done_total{family="StoreComplaints"} 1.0' in response.read().decode()


def test_probe_ends_quickly_without_a_response() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        assert not is_usable(Address("127.0.0.1", silent.getsockname()[1]))
        assert time.monotonic() - began < 30


def drip(connection: socket.socket) -> None:
    """Send a byte each tenth of a second, for ever."""
    with contextlib.suppress(OSError), connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"a")
            time.sleep(0.1)


def test_probe_ends_quickly_while_a_response_drips() -> None:
    with socket.socket() as slow:
        slow.bind(("127.0.0.1", 0))
        slow.listen()
        thread = threading.Thread(target=lambda: drip(slow.accept()[0]))
        thread.start()
        began = time.monotonic()
        assert not is_usable(Address("127.0.0.1", slow.getsockname()[1]))
        assert time.monotonic() - began < 30
        thread.join()


# --- the owner -----------------------------------------------------------------------------------

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LOOPBACK, OTHER_ADDRESS, EVERY = b"\x7f\0\0\1", b"\xc0\0\2\1", bytes(4)
IPV6_LOOPBACK, MAPPED = bytes(15) + b"\1", bytes(10) + b"\xff\xff" + LOOPBACK


def words(address: bytes) -> str:
    """Return an address in the kernel's notation."""
    parts = [address[at : at + 4] for at in range(0, len(address), 4)]
    return "".join(f"{int.from_bytes(part, sys.byteorder):08X}" for part in parts)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that writes the kernel's list of sockets: their addresses, states and users."""

    def lists(*sockets: tuple[bytes, str, int]) -> None:
        tables = {4: [HEAD], 16: [HEAD]}
        for place, state, uid in sockets:
            rest = f"00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 12345 1 0"
            tables[len(place)].append(f"   0: {words(place)}:1F92 {rest}\n")
        for length, name in ((4, "tcp"), (16, "tcp6")):
            (tmp_path / name).write_text("".join(tables[length]))
        monkeypatch.setattr("luigi_etl.service.listeners.TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))

    return lists


@pytest.mark.parametrize(
    ("address", "state", "uid", "is_foreign"),
    [
        (LOOPBACK, "0A", 4711, True),
        (EVERY, "0A", 4711, True),
        (bytes(16), "0A", 4711, True),
        (MAPPED, "0A", 4711, True),
        (LOOPBACK, "0A", 0, False),
        (LOOPBACK, "0A", os.geteuid(), False),
        (LOOPBACK, "01", 4711, False),
        (OTHER_ADDRESS, "0A", 4711, False),
        (IPV6_LOOPBACK, "0A", 4711, False),
    ],
)
def test_listener_of_another_user_is_foreign(
    kernel: Callable[..., None], address: bytes, state: str, uid: int, is_foreign: bool
) -> None:
    kernel((LOOPBACK, "0A", os.geteuid()), (address, state, uid))
    assert (find_foreign_listener("127.0.0.1", 8082) is not None) == is_foreign
    assert find_foreign_listener("127.0.0.1", 8083) is None


def test_owner_on_another_machine_is_not_checked(kernel: Callable[..., None]) -> None:
    kernel((EVERY, "0A", 4711))
    assert find_foreign_listener("192.0.2.1", 8082) is None


def test_luigid_with_unknown_owner_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luigi_etl.service.listeners.TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
    problem = (
        f"the owner of luigid at http://127.0.0.1:8082 is unknown ({tmp_path}/tcp: No such file or directory)"
    )

    assert find_problem(Address("127.0.0.1", 8082)) == problem


# --- the address ---------------------------------------------------------------------------------


def test_run_finds_luigid_by_scheduler_url(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.configure("core", scheduler_port=9, default_scheduler_url=f"http://127.0.0.1:{luigid.port}/")
    assert chain.unattended(*MINUTE, url=served().url).code == 0
    assert len(luigid.tasks("DONE")) == 4


@pytest.mark.parametrize("url", ["http+unix://%%2Frun%%2Fluigid", "https://", "127.0.0.1:8082", "http://h:x"])
def test_invalid_scheduler_url_is_one_line(chain: Chain, url: str) -> None:
    chain.configure("core", default_scheduler_url=url)
    run = chain.unattended(*MINUTE)

    assert (run.code, run.err.count("\n")) == (2, 1)
    assert "error: [core] scheduler_url (or default_scheduler_url): it is not an address such as" in run.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@example.org/luigi/", "https://example.org:443/luigi"),
        ("http://[::1]:8083", "http://[::1]:8083"),
        ("http://example.org", "http://example.org:80"),
    ],
)
def test_address_is_shown_without_credentials(url: str, shown: str) -> None:
    with luigi.cmdline_parser.CmdlineParser.global_instance(["SomeTask", "--scheduler-url", url]):
        assert str(read_address()) == shown


class SomeTask(luigi.Task):
    """A task for a command line."""
