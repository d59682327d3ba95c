"""luigid as luigi.cfg describes it: really started, by the one command there is."""

import re
import signal
import socket
import stat
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from luigi_etl.scheduler import Address, answers
from tests.conftest import Chain, Luigid, Serve

pytestmark = pytest.mark.slow

MINUTE = ("--timestamp", "2026-11-22T0926")


def listening_at(port: int) -> set[str]:
    """Return the addresses something listens at, as the kernel lists them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {fields[1] for fields in lines if fields[3] == "0A" and int(fields[1][9:], 16) == port}


def test_it_listens_on_loopback_only(luigid: Luigid) -> None:
    assert listening_at(luigid.port) == {f"0100007F:{luigid.port:04X}"}
    assert answers(Address("127.0.0.1", luigid.port))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_an_address_others_can_reach_is_refused(chain: Chain, host: str) -> None:
    chain.configure("core", scheduler_host=host)
    run = chain.program("luigi-etl", "luigid")
    assert run.code == 2
    assert run.err.startswith(
        f"luigi-etl: error: [core] scheduler_host: '{host}' is not of this machine alone"
    )
    assert len(run.err.splitlines()) == 1


def test_a_second_one_is_refused_or_with_unless_running_silent(chain: Chain, luigid: Luigid) -> None:
    second = chain.program("luigi-etl", "luigid")
    assert second.code == 2
    assert re.fullmatch(
        rf"luigi-etl: error: luigid can't listen at http://127\.0\.0\.1:{luigid.port}: "
        r"Address already in use; .*set \[core\] scheduler_port\n",
        second.err,
    )
    unless_running = chain.program("luigi-etl", "luigid", "--unless-running")
    assert (unless_running.code, unless_running.out, unless_running.err) == (0, "", "")


def test_what_it_shows_outlives_a_restart(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.program(*luigid.command(*MINUTE), url=served().url)
    before = {name: luigid.message(name) for name in luigid.tasks("DONE")}
    luigid.stop()
    luigid.start()
    assert {name: luigid.message(name) for name in luigid.tasks("DONE")} == before
    assert len(before) == 4


def test_it_forgets_no_task_of_the_last_day_and_takes_no_order_to_pause(luigid: Luigid, chain: Chain) -> None:
    settings = (chain.folder / "luigi.cfg").read_text()
    assert "remove_delay=86400" in settings
    assert luigid.told("is_pause_enabled") == {"enabled": False}


def test_it_sends_no_message_to_a_worker(luigid: Luigid) -> None:
    told = luigid.told("send_scheduler_message", worker="worker", task="task", content="stop")
    assert told == {"message_id": None}


def test_each_task_shows_what_it_did(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.program(*luigid.command(*MINUTE, "--limit", "0"), url=served(50).url)
    name, folder = "20261122T0926Z", " (in data/snapshots/all/2026-11-22)"
    size = chain.file(".complaints.csv").stat().st_size
    assert {name.split("_")[0]: luigid.message(name) for name in luigid.tasks("DONE")} == {
        "CreateDocument": f"{name}.document.csv: 18 columns{folder}",
        "ExtractComplaints": f"{name}.extracted.jsonl.gz: 50 complaints, 1 page{folder}",
        "ParseComplaints": f"{name}.parsed.jsonl: 50 complaints, 0 rejected{folder}",
        "StoreComplaints": f"{name}.complaints.csv: 50 rows, {size:,} bytes{folder}",
    }


def test_it_says_nothing_but_where_it_is_and_keeps_the_rest_in_a_bounded_log(chain: Chain) -> None:
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


def test_its_state_is_nobody_elses_to_read_or_write(luigid: Luigid, chain: Chain) -> None:
    luigid.stop()
    assert stat.S_IMODE((chain.folder / "service/luigid.pickle").stat().st_mode) == 0o600
    luigid.start()


def test_with_the_extra_it_serves_metrics(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.program(*luigid.command(*MINUTE), url=served().url)
    with urlopen(f"http://127.0.0.1:{luigid.port}/metrics", timeout=10) as response:
        assert 'luigi_task_done_total{family="StoreComplaints"} 1.0' in response.read().decode()


def test_a_probe_is_quick_where_nothing_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        assert not answers(Address("127.0.0.1", silent.getsockname()[1]))
        assert time.monotonic() - began < 4
