"""The client of luigid for unattended runs: another program in its place counts as luigid being away."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from luigi.configuration import get_config
from luigi.rpc import RPCError

from luigi_etl.service.luigid import Address
from luigi_etl.service.luigid_client import LuigidClient
from tests.conftest import Chain, Luigid, Serve
from tests.hostile_luigid import HostileLuigid, turn_to_nonsense
from tests.service.unattended_runs import wait_until_asked

MINUTE = ("--timestamp", "2026-11-22T0926")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], LuigidClient]]:
    """Give a function that returns a client of a port; the client tries once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    configuration = get_config()
    before = configuration.get("core", "rpc_retry_attempts", "3")
    configuration.set("core", "rpc_retry_attempts", "1")
    yield lambda port: LuigidClient(f"http://127.0.0.1:{port}", Address("127.0.0.1", port))
    configuration.set("core", "rpc_retry_attempts", before)


def test_cut_connection_counts_as_away(client: Callable[[int], LuigidClient]) -> None:
    with socket.socket() as rude:
        rude.bind(("127.0.0.1", 0))
        rude.listen()

        def hang_up() -> None:
            rude.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(RPCError):
            client(rude.getsockname()[1]).ping(worker="me")
        thread.join()


@pytest.mark.parametrize("nonsense", [b"", b"<html>", b"{}", b"[]", b"5", b"[" * 100_000, b"\xff"])
def test_invalid_response_counts_as_away(client: Callable[[int], LuigidClient], nonsense: bytes) -> None:
    with (
        HostileLuigid.answering(turn_to_nonsense(nonsense)) as hostile,
        pytest.raises(RPCError, match="the response is not luigid's"),
    ):
        client(hostile.port).ping(worker="me")


def test_program_of_another_user_gets_no_request(client: Callable[[int], LuigidClient]) -> None:
    with (
        HostileLuigid.of_nobody() as hostile,
        pytest.raises(RPCError, match=r"another user's program \(uid 65534\) listens there"),
    ):
        client(hostile.port).get_work(worker="me")


@pytest.mark.slow
def test_task_run_by_another_worker_is_exit_code_10(chain: Chain, served: Serve, luigid: Luigid) -> None:
    """A run by hand takes no job lock, so the unattended run starts beside it."""
    server = served(100, "2:hang")
    walk = (*MINUTE, "--limit", "0", "--ccdb-page-size", "10", "--ccdb-read-timeout", "5")
    by_hand = chain.start(*luigid.command(*walk), url=server.url)
    wait_until_asked(server, 2)

    run = chain.unattended(*walk, url=server.url)

    assert (run.code, run.err) == (10, "")
    assert by_hand.wait(timeout=60) == 0
