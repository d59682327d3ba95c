"""Changes of the crontab: kills, parallel changes, the lock."""

import errno
import fcntl
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luigi_etl.service.crontab import change
from luigi_etl.service.crontab.block import Jobs, render_block
from luigi_etl.service.crontab.change import change_crontab
from luigi_etl.service.crontab.marks import find_block, put_block
from tests.conftest import PROJECT, UserCrontab
from tests.service.crontab.helpers import STRANGE, Call, replace_program


def start_command(folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start `luigi-etl crontab` for a checkout in a new process."""
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(folder / "luigi.cfg")}
    command = [sys.executable, "-I", "-m", "luigi_etl", "crontab", *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def copy_checkout(folder: Path) -> Path:
    shutil.copytree(PROJECT / "cron", folder / "cron")
    shutil.copy(PROJECT / "luigi.cfg", folder)
    return folder.resolve()


LONG = b"# a comment that is longer than a line of a crontab should be\n" * 2000  # does not fit into a pipe


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--install", "--remove"])
@pytest.mark.parametrize("step", ["list", "install", "list again"])
def test_kill_leaves_the_old_crontab_or_the_new_one(
    crontab: UserCrontab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, step: str
) -> None:
    """The kill comes while the program `crontab` works, which continues alone."""
    checkout = copy_checkout(tmp_path / "checkout")
    crontab.write(LONG)
    assert start_command(checkout, "--install", "--limit", "3").wait() == 0
    old = crontab.read()
    new = (
        LONG
        if option == "--remove"
        else put_block(old, checkout, render_block(Jobs(checkout, sys.executable)))
    )
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    at = {"list": 1, "install": 2, "list again": 3}[step]
    killing = f'echo >>"$COUNT"; [ $(wc -l <"$COUNT") != {at} ] || kill -9 $PPID; exec $CRONTAB "$@"'
    replace_program(tmp_path, killing, monkeypatch)

    killed = start_command(checkout, option)
    killed.communicate()
    monkeypatch.undo()

    found: list[bytes] = []
    change_crontab(lambda left: found.append(left) or left)  # type: ignore[func-returns-value]
    assert killed.returncode == -signal.SIGKILL
    assert found == [old if step == "list" else new]


@pytest.mark.slow
def test_twenty_random_kills_lose_no_line(crontab: UserCrontab, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    crontab.write(LONG)
    generator = random.Random(5)

    for turn in range(20):
        process = start_command(checkout, "--install", "--limit", str(turn))
        time.sleep(generator.uniform(0.1, 0.4))
        process.kill()
        process.communicate()

        assert crontab.read().startswith(LONG)
        assert crontab.read() == put_block(LONG, checkout, find_block(crontab.read(), checkout))


@pytest.mark.slow
def test_parallel_installs_keep_all_blocks(
    crontab: UserCrontab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_program(tmp_path, '$CRONTAB "$@"; code=$?; [ "$1" != -l ] || sleep 0.2; exit $code', monkeypatch)
    crontab.write(STRANGE)
    checkouts = [copy_checkout(tmp_path / f"checkout {number}") for number in range(3)]

    processes = [start_command(checkout, "--install") for checkout in checkouts]

    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 3
    assert all(find_block(crontab.read(), checkout) for checkout in checkouts)
    assert crontab.read().startswith(STRANGE)


def test_lock_held_too_long_is_one_line(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = checkout.parent / "own"
    own.mkdir(mode=0o700)
    monkeypatch.setattr(change, "find_user_folders", lambda: [own])
    monkeypatch.setattr(change, "LOCK_SECONDS", 0.1)

    with (own / "crontab.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "your crontab: locked by another `luigi-etl crontab` for" in ran.err
    assert crontab.read() == b""


def test_folder_that_others_can_write_is_not_used(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user who can write there could replace the new crontab."""
    loose = checkout.parent / "loose"
    loose.mkdir()
    loose.chmod(0o777)
    monkeypatch.setattr(change, "find_user_folders", lambda: [loose])

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert f"cannot lock your crontab ({loose}: others can write it); give access" in ran.err
    assert (crontab.read(), list(loose.iterdir())) == (b"", [])


@pytest.mark.usefixtures("crontab")
def test_folder_without_locks_is_not_used(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some NFS servers do not support locks."""
    homes = [checkout.parent / "nfs", checkout.parent / "own"]
    monkeypatch.setattr(change, "find_user_folders", lambda: homes)
    real = fcntl.flock

    def flock(file: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().parent == homes[0]:
            raise OSError(errno.ENOLCK, "No locks available")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)

    assert crontab_command("--install").code == 0
    assert [path.name for path in homes[1].iterdir()] == ["crontab.lock"]


@pytest.mark.usefixtures("crontab")
def test_temporary_crontab_is_private_and_removed(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = checkout.parent / "own"
    monkeypatch.setattr(change, "find_user_folders", lambda: [own])
    replace_program(
        checkout.parent, '[ "$1" = -l ] || stat -c %a "$1" >"${1%/*}/mode"; exec $CRONTAB "$@"', monkeypatch
    )
    before = os.umask(0)
    try:
        assert crontab_command("--install").code == 0
    finally:
        os.umask(before)

    assert (own / "mode").read_text() == "600\n"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert not (own / "crontab.new").exists()


@pytest.mark.parametrize("option", ["--install", "--remove"])
@pytest.mark.usefixtures("checkout")
def test_crontab_that_differs_after_installing_is_reported(
    crontab: UserCrontab, crontab_command: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    crontab_command("--install", "--limit", "3")
    before = crontab.read()
    replace_program(tmp_path, '[ "$1" = -l ] || exit 0; exec $CRONTAB "$@"', monkeypatch)

    ran = crontab_command(option)

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab -l` differs from the installed crontab" in ran.err
    assert crontab.read() == before


def test_full_disk_leaves_the_old_crontab(
    crontab: UserCrontab,
    small_disk: Path,
    tmp_path: Path,
    crontab_command: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(copy_checkout(tmp_path / "checkout") / "luigi.cfg"))
    small_disk.chmod(0o700)
    monkeypatch.setattr(change, "find_user_folders", lambda: [small_disk])
    crontab.write(LONG)

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert (
        f"cannot write {small_disk}/crontab.new: No space left on device; your crontab is unchanged"
        in ran.err
    )
    assert crontab.read() == LONG
