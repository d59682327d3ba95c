"""Fixtures of the doctor's tests."""

from pathlib import Path

import luigi
import pytest

from luigi_etl.service.doctor import report
from luigi_etl.service.doctor.report import examine
from tests.conftest import Chain, free_port
from tests.service.doctor.helpers import NOWHERE, RunCheck, of_check


@pytest.fixture
def here(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> RunCheck:
    """Return a function that runs one check in this process, in the chain's folder."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("core", "scheduler_port", str(free_port()))
    configuration.set("ccdb", "url", NOWHERE)
    configuration.set("ccdb", "requests_per_minute", "0")
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    monkeypatch.chdir(chain.folder)

    def check(name: str) -> list[tuple[bool, str]]:
        monkeypatch.setattr(report, "CHECKS", {name: report.CHECKS[name]})
        return of_check(name, list(examine()))

    return check


@pytest.fixture
def root(chain: Chain) -> Path:
    """Return the folder of the chain's snapshots."""
    return chain.folder / "data"
