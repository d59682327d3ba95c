"""`luigi-etl crontab` with BusyBox, and with unknown errors."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import UserCrontab
from tests.service.crontab.helpers import STRANGE, Call, replace_program

# Behaves like BusyBox 1.35, with its own spool.
BUSYBOX = """
spool={spool}
fail() {{ echo "crontab: can't $1: No such file or directory" >&2; exit 1; }}
cd "$spool" 2>/dev/null || fail "change directory to '$spool'"
case $1 in
-l) [ -e root ] && exec cat root; fail "open 'root'" ;;
-e) exec ${{VISUAL:-$EDITOR}} root ;;
-*) exit 1 ;;
esac
cat "$1" >root.new && mv root.new root
"""


@pytest.fixture
def busybox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the program `crontab` by a stand-in for BusyBox'; return its spool."""
    spool = tmp_path / "spool"
    spool.mkdir()
    replace_program(tmp_path, BUSYBOX.format(spool=spool), monkeypatch)
    return spool


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("before", [None, STRANGE])
def test_busybox_installs_and_removes_the_block(
    busybox: Path, crontab_command: Call, before: bytes | None
) -> None:
    if before is not None:
        (busybox / "root").write_bytes(before)

    installed = crontab_command("--install")
    block = crontab_command().out.encode()
    content = (busybox / "root").read_bytes()
    removed = crontab_command("--remove")

    assert (installed.code, installed.err, removed.code, removed.err) == (0, "", 0, "")
    assert content == (before or b"") + block
    assert (busybox / "root").read_bytes() == (before or b"")


@pytest.mark.usefixtures("checkout")
def test_busybox_without_its_spool_is_reported(busybox: Path, crontab_command: Call) -> None:
    busybox.rmdir()

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab -l` failed: crontab: can't change directory to" in ran.err


@pytest.mark.slow
@pytest.mark.usefixtures("crontab")
def test_real_busybox_installs_and_removes_the_block(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = shutil.which("busybox")
    applets = subprocess.run([program, "--list"], capture_output=True, text=True).stdout if program else ""
    if "crontab" not in applets.split() or os.getuid() != 0:
        pytest.skip("needs root and a BusyBox with crontab (Debian: apt install busybox-static)")
    replace_program(checkout.parent, f'exec {program} crontab "$@"', monkeypatch)

    installed = crontab_command("--install")
    content = Path("/var/spool/cron/crontabs/root").read_bytes()
    removed = crontab_command("--remove")

    assert (installed.code, installed.err, removed.code, removed.err) == (0, "", 0, "")
    assert content == crontab_command().out.encode()


@pytest.mark.parametrize(
    "message",
    [
        "",
        "crontab: can't open 'root': Permission denied",
        "crontab: can't open '/etc/passwd': No such file or directory",
        "Authentication service cannot retrieve authentication info",
    ],
)
def test_error_is_not_a_missing_crontab(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    crontab.write(STRANGE)
    refusing = f'[ "$1" != -l ] || {{ echo "{message}" >&2; exit 1; }}; exec $CRONTAB "$@"'
    replace_program(checkout.parent, refusing, monkeypatch)

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert f"`crontab -l` failed: {message or 'exit code 1'}; " in ran.err
    assert crontab.read() == STRANGE
