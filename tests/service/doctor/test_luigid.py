"""The check of luigid."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from luigi_etl.service.doctor import luigid as luigid_check
from tests.conftest import Chain, Luigid, Serve
from tests.hostile_luigid import HostileLuigid
from tests.service.doctor.helpers import (
    RunCheck,
    failure_of,
    findings_of,
)

pytestmark = pytest.mark.slow


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
        f"the program at http://127.0.0.1:{port} is not luigid (status 200): stop what listens there, "
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
    monkeypatch.setattr(luigid_check, "find_problem", lambda _: "")
    monkeypatch.setattr(luigid_check, "find_local_addresses", lambda *_: set())

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
