"""`luigi-etl doctor`: all checks and their output."""

from collections.abc import Callable

import pytest

from luigi_etl.common.minutes import this_minute
from luigi_etl.service.doctor import report
from tests.conftest import PROGRAMS, Chain, Luigid, Serve, UserCrontab
from tests.made import stored
from tests.service.doctor.helpers import NOWHERE, run_doctor

pytestmark = pytest.mark.slow


def test_complete_installation_passes_with_exit_code_0(
    crontab: UserCrontab, installation: Chain, served: Serve, start_cron: Callable[[], None]
) -> None:
    start_cron()
    installation.configure("ccdb", url=served().url)  # cron may start a run
    installation.configure("service", notify="cat")
    luigid = Luigid.at_a_free_port(installation)
    luigid.start()
    try:
        assert installation.program("luigi-etl", "crontab", "--install").code == 0
        stored(installation.folder / "data", this_minute())
        ran = installation.program("luigi-etl", "doctor")
    finally:
        crontab.clear()
        luigid.stop()

    assert (ran.code, ran.err) == (0, ""), ran.out
    assert {line[:4] for line in ran.out.splitlines()} == {"ok  "}
    for check in report.CHECKS:
        assert f"  {check} " in ran.out
    assert f"luigid answers at http://127.0.0.1:{luigid.port}, on loopback only\n" in ran.out
    assert f"your crontab runs {installation.folder}\n" in ran.out


def test_every_failed_check_is_reported(chain: Chain) -> None:
    Luigid.at_a_free_port(chain)
    chain.configure("cdcb", page_size=1)
    chain.configure("storage", rot="x")
    chain.configure("service", notify="luigi")
    (chain.folder / "data").write_text("a file")
    chain.environment["PATH"] = str(PROGRAMS)

    ill = {finding.check for finding in run_doctor(chain) if not finding.well}

    assert ill == set(report.CHECKS) - {"temporary files", "messages", "database"}


def test_text_has_a_line_for_each_finding(chain: Chain) -> None:
    chain.configure("cdcb", page_size=1)
    chain.configure("storage", rot="x")
    ran = chain.program("luigi-etl", "doctor", url=NOWHERE)
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    assert all(line.startswith(("ok    ", "FAIL  ")) for line in lines)

    checks = [line[6:21].strip() for line in lines]

    assert list(dict.fromkeys(checks)) == list(report.CHECKS)
    assert checks.count("config") == 2


def test_characters_missing_in_the_encoding_are_escaped(chain: Chain) -> None:
    chain.configure("storage", root="caf\u00e9")
    chain.environment["PYTHONIOENCODING"] = "ascii"

    ran = chain.program("luigi-etl", "doctor", url=NOWHERE)

    assert (ran.code, ran.err) == (1, "")
    assert f"[storage] root, {chain.folder}/caf\\xe9: can be written" in ran.out
