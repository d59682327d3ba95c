import contextlib
import fcntl
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from luigi_etl.api.rate_limit import WINDOW_MILLISECONDS, Pace, default_pace_file
from luigi_etl.common.errors import StorageError, TransientError
from luigi_etl.sandbox.state import Throttle
from tests.conftest import Serve, free_port, mount

TAKE = (
    "import sys, pathlib; from luigi_etl.api.rate_limit import Pace\n"
    "pace = Pace(pathlib.Path(sys.argv[1]), 'host', 50)\n"
    "print(sum(not pace.take_turn() for _ in range(50)))\n"
)
WALK = (
    "import sys, pathlib; from luigi_etl.api.client import Client\n"
    "from luigi_etl.api.settings import Settings\n"
    "with Client(Settings(url=sys.argv[1], pace_file=pathlib.Path(sys.argv[2]))) as client:\n"
    "    for _ in range(int(sys.argv[3])): client.fetch_page((), 1, None)\n"
)

REFUSED = (
    "import sys, pathlib; from luigi_etl.api.client import Client\n"
    "from luigi_etl.common.errors import TransientError\n"
    "from luigi_etl.common.retry import with_retries; from luigi_etl.api.settings import Settings\n"
    "messages = []; path = pathlib.Path(sys.argv[2])\n"
    "with Client(Settings(url=sys.argv[1], pace_file=path, backoff=0.001), messages.append) as client:\n"
    "    try: with_retries(lambda: client.fetch_page((), 1, None), 10, 0.001, lambda _: None)\n"
    "    except TransientError as error: print(error, *messages)\n"
)


def rewrite(path: Path, *, seconds: float) -> None:
    """Move all counted requests to another time, in seconds from now."""
    moment = int((time.time() + seconds) * 1000)
    counted = msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])
    path.write_bytes(msgspec.json.encode({host: [moment] * len(times) for host, times in counted.items()}))


@pytest.mark.slow
def test_processes_share_one_count(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "pace")]
    takers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]

    taken = [int(taker.communicate(timeout=60)[0]) for taker in takers]

    assert sum(taken) == 50


def test_count_is_read_after_the_wait_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    pace = Pace(path, "host", 1)
    pace.take_turn()
    with path.open("rb+") as file, ThreadPoolExecutor() as threads:
        fcntl.flock(file, fcntl.LOCK_EX)
        waiting = threads.submit(pace.take_turn)
        time.sleep(0.3)
        rewrite(path, seconds=0)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert waiting.result(timeout=30) > 60


def test_hosts_are_counted_separately(tmp_path: Path) -> None:
    for host in ("one.example:443", "two.example"):
        assert Pace(tmp_path / "pace", host, 1).take_turn() == 0


def test_next_run_counts_requests_of_the_last_minute(tmp_path: Path) -> None:
    assert Pace(tmp_path / "pace", "host", 1).take_turn() == 0
    assert 60 < Pace(tmp_path / "pace", "host", 1).take_turn() <= WINDOW_MILLISECONDS / 1000


def test_window_slides(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    pace = Pace(path, "host", 2)
    pace.take_turn()

    rewrite(path, seconds=-60)

    assert pace.take_turn() == 0
    assert 0 < pace.take_turn() <= 1


def test_lower_limit_counts_requests_of_a_higher_one(tmp_path: Path) -> None:
    path = tmp_path / "pace"

    for _ in range(3):
        assert Pace(path, "host", 20).take_turn() == 0

    assert Pace(path, "host", 2).take_turn() > 60


@pytest.mark.parametrize("seconds", [-120, 3600])
def test_expired_and_future_requests_do_not_count(tmp_path: Path, seconds: int) -> None:
    path = tmp_path / "pace"

    assert Pace(path, "host", 1).take_turn() == 0
    rewrite(path, seconds=seconds)
    assert Pace(path, "host", 1).take_turn() == 0
    assert Pace(path, "host", 1).take_turn() > 60


def test_expired_requests_are_removed_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    Pace(path, "other", 1).take_turn()
    rewrite(path, seconds=-120)

    Pace(path, "host", 1).take_turn()

    assert list(msgspec.json.decode(path.read_bytes())) == ["host"]


def test_file_grows_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "pace"

    assert [Pace(path, "host", 1000).take_turn() for _ in range(1000)] == [0] * 1000
    assert Pace(path, "host", 1000).take_turn() > 0
    assert path.stat().st_size % 4096 == 0


def test_empty_file_counts_nothing(tmp_path: Path) -> None:
    for content in (b"", b" " * 4096):
        (tmp_path / "pace").write_bytes(content)
        assert Pace(tmp_path / "pace", "host", 1).take_turn() == 0


@pytest.mark.parametrize("content", [b"no count", b'{"host": "now"}', b"\xff" * 20, b"SQLite format 3\0"])
def test_damaged_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pace"
    path.write_bytes(content)

    with pytest.raises(StorageError, match=r"cannot count requests in /.*/pace: .*; delete it or"):
        Pace(path, "host", 1).take_turn()

    assert path.read_bytes() == content


def test_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"/.*: Is a directory .* set \[ccdb\] pace_file to another"):
        Pace(tmp_path, "host", 1).take_turn()


def test_file_instead_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=rf"in /.*/below: File exists \({tmp_path}/file\); "):
        Pace(tmp_path / "file" / "below", "host", 1).take_turn()


def test_full_disk_is_reported_and_keeps_the_file(small_disk: Path) -> None:
    path = small_disk / "pace"

    few, many = Pace(path, "host", 20), Pace(path, "host", 1000)

    assert few.take_turn() == 0
    with contextlib.suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(b"x" * 4096)
    with pytest.raises(StorageError, match="no room|No space left"):
        for _ in range(1000):
            many.take_turn()
    assert few.take_turn() > 60
    mount("-o", "remount,size=10m", small_disk)
    assert many.take_turn() == 0


def test_folder_of_the_file_is_private(tmp_path: Path) -> None:
    Pace(tmp_path / "cache" / "pace", "host", 1).take_turn()
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_default_file_is_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert default_pace_file() == tmp_path / "luigi_etl" / "pace.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert default_pace_file() == Path("/home/user/.cache/luigi_etl/pace.json")


def test_missing_home_folder_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(StorageError, match=r"no home folder .*; set \[ccdb\] pace_file"):
        default_pace_file()


def counted(path: Path) -> list[int]:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]]).get("host", [])


def test_returned_turn_can_be_taken_again(tmp_path: Path) -> None:
    pace = Pace(tmp_path / "pace", "host", 1)
    pace.take_turn()

    pace.give_back()

    assert pace.take_turn() == 0
    assert pace.take_turn() > 60


def test_process_returns_only_its_own_turn(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    refused, sent = Pace(path, "host", 20), Pace(path, "host", 20)
    refused.take_turn()
    (own,) = counted(path)
    time.sleep(0.01)
    sent.take_turn()

    refused.give_back()

    (other,) = counted(path)
    assert other > own


def test_turn_missing_from_the_file_is_not_returned(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    pace = Pace(path, "host", 1)
    pace.take_turn()
    rewrite(path, seconds=-30)

    pace.give_back()

    assert len(counted(path)) == 1


@pytest.mark.slow
def test_refused_connections_do_not_use_up_the_limit(tmp_path: Path) -> None:
    """Each process tries 44 times in a second; the limit is 20 a minute."""
    command = [sys.executable, "-c", REFUSED, f"http://127.0.0.1:{free_port()}/", str(tmp_path / "pace")]

    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert all(re.fullmatch(r"attempt 11 of 11: .* refused; gave up\n", one) for one in outputs), outputs
    assert b":[]}" in (tmp_path / "pace").read_bytes()


def test_interrupted_request_stays_counted(served: Serve, tmp_path: Path) -> None:
    server = served(10, "every 1:reset")

    with (
        server.client(requests_per_minute=20, pace_file=tmp_path / "pace") as client,
        contextlib.suppress(TransientError),
    ):
        client.fetch_page((), 1, None)

    ((_, times),) = msgspec.json.decode((tmp_path / "pace").read_bytes(), type=dict[str, list[int]]).items()
    assert len(times) == len(server.asked) == 4


@pytest.mark.slow
def test_two_processes_get_no_429_in_25_requests(served: Serve, tmp_path: Path) -> None:
    server = served(throttle=Throttle())
    command = [sys.executable, "-c", WALK, server.url, str(tmp_path / "pace")]

    walkers = [subprocess.Popen([*command, number]) for number in ("13", "12")]

    assert [walker.wait(timeout=150) for walker in walkers] == [0, 0]
    assert server.statuses == [200] * 25
