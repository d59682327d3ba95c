"""`luigi-etl crontab` with the real program `crontab`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run, UserCrontab
from tests.service.crontab.helpers import STRANGE, Call, replace_program


@pytest.mark.usefixtures("checkout")
def test_printed_block_is_a_valid_crontab(crontab: UserCrontab, crontab_command: Call) -> None:
    printed = crontab_command("--query", "product=Debt+collection").out.encode()
    crontab.write(printed)

    assert crontab.read() == printed


def test_installing_appends_the_printed_block(
    crontab: UserCrontab, checkout: Path, crontab_command: Call
) -> None:
    crontab.write(STRANGE)

    ran = crontab_command("--install", "--limit", "3")

    assert ran == Run(
        0,
        f"the lines for {checkout} are now in your crontab; see them with `crontab -l`\n"
        "luigid starts at the next boot, or within ten minutes\n",
        "",
    )
    assert crontab.read() == STRANGE + crontab_command("--limit", "3").out.encode()


@pytest.mark.usefixtures("checkout")
def test_installing_creates_a_missing_crontab(crontab: UserCrontab, crontab_command: Call) -> None:
    assert crontab_command("--install").code == 0
    assert crontab.read().decode() == crontab_command().out


def test_installing_again_replaces_the_block_once(
    crontab: UserCrontab, checkout: Path, crontab_command: Call
) -> None:
    crontab_command("--install", "--query", "state=CA")
    crontab.write(crontab.read() + STRANGE)
    changed = crontab_command("--install", "--without-luigid")

    again = crontab_command("--install", "--without-luigid")

    assert (changed.code, changed.err, again.code, again.err) == (0, "", 0, "")
    assert "now in your crontab" in changed.out
    assert again.out == f"the lines for {checkout} are already in your crontab; see them with `crontab -l`\n"
    assert crontab.read() == crontab_command("--without-luigid").out.encode() + STRANGE


def test_removing_restores_the_earlier_crontab(
    crontab: UserCrontab, checkout: Path, crontab_command: Call
) -> None:
    crontab.write(STRANGE)
    crontab_command("--install")

    assert crontab_command("--remove") == Run(
        0, f"the lines for {checkout} were removed from your crontab; a running luigid continues\n", ""
    )
    assert crontab.read() == STRANGE


@pytest.mark.parametrize("before", [b"", STRANGE])
def test_removing_without_a_block_is_reported(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, before: bytes
) -> None:
    if before:
        crontab.write(before)

    assert crontab_command("--remove") == Run(0, f"your crontab has no lines for {checkout}\n", "")
    assert crontab.read() == before


@pytest.mark.usefixtures("checkout")
def test_refused_crontab_leaves_the_old_one(crontab: UserCrontab, crontab_command: Call) -> None:
    crontab.write(STRANGE)
    query = "&".join(f"company={'x' * 190}{number}" for number in range(6))

    ran = crontab_command("--install", "--query", query)

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab FILE` refused the new crontab, the old one stays: " in ran.err
    assert "command too long" in ran.err
    assert crontab.read() == STRANGE


@pytest.mark.parametrize("option", ["--install", "--remove"])
@pytest.mark.usefixtures("checkout")
def test_crontab_with_unpaired_marks_is_not_changed(
    crontab: UserCrontab, crontab_command: Call, option: str
) -> None:
    crontab_command("--install")
    broken = crontab.read().replace(b"# end", b"#end")
    crontab.write(broken)

    ran = crontab_command(option)

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith("luigi-etl: error: your crontab: line 1, ")
    assert crontab.read() == broken


@pytest.mark.usefixtures("crontab")
def test_missing_crontab_is_found_in_another_locale(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = '[ "$LC_ALL" = C ] || { echo "kein Crontab" >&2; exit 1; }; exec $CRONTAB "$@"'
    replace_program(checkout.parent, message, monkeypatch)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert crontab_command("--install").code == 0


@pytest.mark.parametrize("option", ["--install", "--remove"])
def test_missing_program_crontab_is_reported(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("PATH", str(checkout))

    assert crontab_command(option) == Run(
        1,
        "",
        "luigi-etl: error: cannot run the program `crontab`: No such file or directory; install cron "
        "(Debian: apt install cron)\n",
    )


@pytest.fixture
def denied() -> Iterator[str]:
    """Deny cron to a user; yield the user's name."""
    deny, allow = Path("/etc/cron.deny"), Path("/etc/cron.allow")
    if os.geteuid() != 0 or not shutil.which("setpriv") or deny.exists() or allow.exists():
        pytest.skip("needs root, setpriv, and no cron.allow or cron.deny")
    deny.write_text("nobody\n")
    deny.chmod(0o644)
    yield "nobody"
    deny.unlink()


@pytest.mark.usefixtures("crontab")
def test_user_denied_by_cron_gets_the_reason(
    denied: str, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_denied = f'exec setpriv --reuid={denied} --clear-groups $CRONTAB "$@"'
    replace_program(checkout.parent, as_denied, monkeypatch)

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "`crontab -l` failed: You (nobody) are not allowed to use this program" in ran.err
    assert "/etc/cron.deny" in ran.err


def test_ambiguous_escapes_leave_the_crontab_unchanged(
    crontab: UserCrontab, checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    crontab.write(STRANGE)
    replace_program(checkout.parent, '[ "$1" != -e ] || exec false; exec $CRONTAB "$@"', monkeypatch)

    ran = crontab_command("--install")

    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert r"your crontab lists `\r` or `\b`, " in ran.err


def test_silent_failure_of_crontab_names_its_exit_code(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_program(checkout.parent, "exit 3", monkeypatch)

    assert "`crontab -l` failed: exit code 3; " in crontab_command("--install").err
