"""Unattended runs with a real luigid, without it, and with other programs in its place."""

import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import Chain, Luigid, Serve
from tests.hostile_luigid import HostileLuigid, turn_to_nonsense
from tests.made import stored
from tests.service.unattended_runs import MINUTE, start_hanging, stored_minutes

pytestmark = pytest.mark.slow


def test_without_luigid_the_local_scheduler_is_used(chain: Chain, served: Serve) -> None:
    began = time.monotonic()
    run = chain.unattended(*MINUTE, url=served().url)

    assert time.monotonic() - began < 30  # Luigi itself would try for a minute
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
    process, _ = start_hanging(chain, asked=5, served=served)
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


def test_run_survives_a_restart_of_luigid(chain: Chain, served: Serve, luigid: Luigid) -> None:
    process, server = start_hanging(chain, asked=5, served=served)
    luigid.stop()
    luigid.start()
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "", "")
    assert len(server.asked) == 11
    assert "without luigid" not in chain.log("all")
    assert len(luigid.tasks("DONE")) == 4


def test_run_survives_luigid_killed_and_restarted(chain: Chain, served: Serve, luigid: Luigid) -> None:
    process, server = start_hanging(chain, asked=5, served=served)
    luigid.kill()
    luigid.start()
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "", "")
    assert stored_minutes(chain) == ["20261122T0926Z"]
    assert len(server.asked) == 11


def test_run_survives_luigid_that_stays_away(chain: Chain, served: Serve, luigid: Luigid) -> None:
    chain.configure("core", rpc_retry_attempts=3)
    process, _ = start_hanging(chain, asked=5, served=served)
    luigid.stop()
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (0, "", "")
    assert stored_minutes(chain) == ["20261122T0926Z"]
    assert "went away or lost the run; the run continues without luigid" in chain.log("all")
