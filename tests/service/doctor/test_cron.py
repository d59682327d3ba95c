"""The check of cron and the crontab."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from luigi_etl.service.doctor import cron
from luigi_etl.service.doctor.cron import cron_daemons
from tests.conftest import PROGRAMS, Chain, UserCrontab
from tests.service.doctor.helpers import (
    RunCheck,
    findings_of,
)

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def process_named(name: bytes, folder: Path) -> Iterator[None]:
    """Run a process with this name."""
    program = folder / os.fsdecode(name)
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([program, "60"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_cron_daemon_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not the name of a real daemon: other tests look for these.
    monkeypatch.setattr(cron, "CRON_DAEMONS", {"test-crond", "fcron"})
    assert cron_daemons() == set()
    with process_named(b"test-crond", tmp_path), process_named(b"odd \xff\n", tmp_path):
        assert cron_daemons() == {"test-crond"}


def test_process_that_ends_during_the_check_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: Path) -> bytes:
        raise ProcessLookupError

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert cron_daemons() == set()


def test_missing_cron_daemon_is_reported_with_other_failures(
    here: RunCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cron, "cron_daemons", set)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "/nowhere/luigi.cfg")

    (_, first), (_, second) = here("cron")

    assert first == (
        "no cron daemon runs: install and start it (Debian: apt install cron; systemctl start cron)"
    )
    assert second.startswith("LUIGI_CONFIG_PATH: /nowhere is not a checkout: ")


def check_crontab(chain: Chain) -> tuple[bool, str]:
    """Return the finding about the crontab, whether or not a daemon runs."""
    (finding,) = [one for one in findings_of(chain, "cron") if not one[1].startswith("no cron daemon")]
    return finding


@pytest.mark.usefixtures("crontab")
def test_crontab_of_another_checkout_fails(chain: Chain) -> None:
    """The package was installed from another folder than the current one."""
    chain.environment.pop("LUIGI_CONFIG_PATH", None)

    well, message = check_crontab(chain)

    assert not well
    assert message.startswith("the crontab's lines are for /")
    assert f", not for {chain.folder}: run this command there, " in message


@pytest.mark.usefixtures("crontab")
def test_installed_block_passes(installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install", "--query", "state=CA", "--without-luigid")

    assert check_crontab(installation) == (True, f"your crontab runs {installation.folder}")


def test_crontab_without_the_block_fails(crontab: UserCrontab, installation: Chain) -> None:
    crontab.write(b"# begin luigi_etl /elsewhere\n# end luigi_etl /elsewhere\n")

    message = f"your crontab has no lines for {installation.folder}: run `luigi-etl crontab --install`"
    assert check_crontab(installation) == (False, message)


@pytest.mark.parametrize(
    ("before", "after"), [(b"bin/python", b"bin/other/python"), (b" unattended", b".99 unattended")]
)
def test_block_with_another_interpreter_fails(
    crontab: UserCrontab, installation: Chain, before: bytes, after: bytes
) -> None:
    installation.program("luigi-etl", "crontab", "--install", "--without-luigid")
    crontab.write(crontab.read().replace(before, after))

    well, message = check_crontab(installation)

    assert not well
    assert message.startswith(f"your crontab runs {installation.folder} with another Python than /")
    assert "run `luigi-etl crontab --install`" in message


def test_block_with_commented_jobs_fails(crontab: UserCrontab, installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install")
    lines = crontab.read().splitlines(keepends=True)
    crontab.write(b"".join(line if line.startswith(b"#") else b" #" + line for line in lines))

    well, message = check_crontab(installation)

    assert (well, "has no lines for" in message) == (False, True)


def test_unpaired_marks_fail(crontab: UserCrontab, installation: Chain) -> None:
    installation.program("luigi-etl", "crontab", "--install")
    crontab.write(crontab.read().replace(b"# end", b"#end"))

    well, message = check_crontab(installation)

    assert not well
    assert message.startswith("your crontab: line 1, ")
    assert message.endswith("correct the marks with `crontab -e`")


def test_missing_program_crontab_fails(chain: Chain) -> None:
    chain.environment["PATH"] = str(PROGRAMS)

    assert check_crontab(chain) == (
        False,
        "cannot run the program `crontab`: No such file or directory; "
        "install cron (Debian: apt install cron)",
    )
