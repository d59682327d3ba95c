"""The checkout that `luigi-etl crontab` finds."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.service.crontab.helpers import Call


@pytest.fixture
def installed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that installs this package with a direct_url.json (PEP 610)."""
    monkeypatch.delenv("LUIGI_CONFIG_PATH")
    metadata = checkout.parent / "site" / "luigi_etl-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    monkeypatch.syspath_prepend(metadata.parent)

    def install(direct_url: str) -> None:
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: luigi_etl\nVersion: 0.1.0\n")
        (metadata / "direct_url.json").write_text(direct_url)

    return install


def test_checkout_is_the_source_of_the_installation(
    checkout: Path, crontab_command: Call, installed: Callable[[str], None]
) -> None:
    installed(json.dumps({"url": checkout.as_uri(), "dir_info": {}}))

    assert f"# begin luigi_etl {shlex.quote(str(checkout))}\n" in crontab_command().out


@pytest.mark.parametrize(
    "direct_url",
    [
        "{}",
        "[]",
        "no JSON",
        '{"url": "file:///no/such/folder"}',
        '{"url": "https://a.example/luigi_etl.git"}',
    ],
)
def test_checkout_is_otherwise_the_working_directory(
    checkout: Path,
    crontab_command: Call,
    installed: Callable[[str], None],
    direct_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(direct_url)
    monkeypatch.chdir(checkout)

    assert f"# begin luigi_etl {shlex.quote(str(checkout))}\n" in crontab_command().out


def test_missing_checkout_is_reported_with_a_remedy(
    installed: Callable[[str], None], crontab_command: Call
) -> None:
    installed("{}")

    assert crontab_command() == Run(
        2,
        "",
        "luigi-etl: error: no checkout found, a folder with luigi.cfg and cron/run; change to yours, or set "
        "LUIGI_CONFIG_PATH to its luigi.cfg\n",
    )


def test_configuration_outside_of_a_checkout_is_refused(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout.parent / "luigi.cfg").touch()
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(checkout.parent / "luigi.cfg"))

    ran = crontab_command()

    assert ran.code == 2
    assert ran.err.startswith(f"luigi-etl: error: LUIGI_CONFIG_PATH: {checkout.parent} is not a checkout")


def test_checkout_behind_a_link_has_the_same_name(
    checkout: Path, crontab_command: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = crontab_command().out
    link = checkout.parent / "link"
    link.symlink_to(checkout)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(link / "luigi.cfg"))

    assert crontab_command().out == straight
