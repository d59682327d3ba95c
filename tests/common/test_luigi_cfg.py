"""Files of the configuration that Luigi would pass over in silence."""

from pathlib import Path

import pytest
from luigi.configuration import LuigiConfigParser, LuigiTomlParser

from luigi_etl.common.luigi_cfg import check_readable, files
from tests.conftest import Chain, without_rights

COMMANDS = [
    ("luigi-etl", "unattended", "StoreComplaints"),
    ("luigi-etl", "doctor", "--json"),
    ("luigi-etl", "runs"),
    ("luigi-etl", "crontab"),
    ("luigi-etl", "luigid"),
    ("luigi", "--module", "luigi_etl", "StoreComplaints", "--local-scheduler"),
]


def without_access(chain: Chain) -> str:
    """Let luigi.cfg be what not even root can read."""
    (chain.folder / "luigi.cfg").unlink()
    (chain.folder / "luigi.cfg").mkdir()
    return "luigi.cfg can't be read (Is a directory): give access, or remove it"


def with_a_name_of_nothing(chain: Chain) -> str:
    """Let the environment name a file that is not there."""
    chain.environment["LUIGI_CONFIG_PATH"] = "/no/such/luigi.cfg"
    return "/no/such/luigi.cfg can't be read (No such file or directory): unset LUIGI_CONFIG_PATH"


@pytest.mark.slow
@pytest.mark.parametrize("broken", [without_access, with_a_name_of_nothing])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[1])
def test_every_command_refuses_a_file_it_cannot_read(
    chain: Chain, command: tuple[str, ...], broken: object
) -> None:
    assert callable(broken)
    said = broken(chain)

    run = chain.program(*command)

    assert (run.code, run.out) == (2, "")
    assert f"error: {said}" in run.err.splitlines()[-1]
    assert command[0] == "luigi" or run.err.count("\n") == 1
    assert not (chain.folder / "data").exists()


def test_a_file_without_the_right_to_read_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)
    tmp_path.chmod(0o755)
    Path("luigi.cfg").touch(mode=0o000)

    with without_rights(), pytest.raises(ValueError, match=r"luigi.cfg can't be read \(Permission denied\)"):
        check_readable(["luigi.cfg"])


def test_files_that_are_not_there_or_can_be_read_are_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "")
    (tmp_path / "luigi.cfg").touch()
    check_readable([f"{tmp_path}/luigi.cfg", f"{tmp_path}/other.cfg", f"{tmp_path}/luigi.cfg/below"])


@pytest.mark.parametrize(("parser", "kind"), [("cfg", LuigiConfigParser), ("toml", LuigiTomlParser)])
def test_files_are_those_that_luigi_reads(
    monkeypatch: pytest.MonkeyPatch, parser: str, kind: type[LuigiConfigParser] | type[LuigiTomlParser]
) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", parser)

    assert list(files()) == kind._config_paths
