"""Configuration files that Luigi would silently ignore."""

from pathlib import Path

import pytest
from luigi.configuration import LuigiConfigParser, LuigiTomlParser

from luigi_etl.common.luigi_cfg import check_readable, find_config_files
from tests.conftest import Chain, without_rights

COMMANDS = [
    ("luigi-etl", "unattended", "StoreComplaints"),
    ("luigi-etl", "doctor", "--json"),
    ("luigi-etl", "runs"),
    ("luigi-etl", "crontab"),
    ("luigi-etl", "luigid"),
    ("luigi", "--module", "luigi_etl", "StoreComplaints", "--local-scheduler"),
]


def replace_by_a_folder(chain: Chain) -> str:
    """Replace luigi.cfg by a folder, which even root can't read."""
    (chain.folder / "luigi.cfg").unlink()
    (chain.folder / "luigi.cfg").mkdir()
    return "luigi.cfg can't be read (Is a directory): give access, or remove it"


def name_a_missing_file(chain: Chain) -> str:
    """Set $LUIGI_CONFIG_PATH to a missing file."""
    chain.environment["LUIGI_CONFIG_PATH"] = "/no/such/luigi.cfg"
    return "/no/such/luigi.cfg can't be read (No such file or directory): unset LUIGI_CONFIG_PATH"


@pytest.mark.slow
@pytest.mark.parametrize("break_file", [replace_by_a_folder, name_a_missing_file])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[1])
def test_every_command_refuses_an_unreadable_file(
    chain: Chain, command: tuple[str, ...], break_file: object
) -> None:
    assert callable(break_file)
    message = break_file(chain)

    run = chain.program(*command)

    assert (run.code, run.out) == (2, "")
    assert f"error: {message}" in run.err.splitlines()[-1]
    assert command[0] == "luigi" or run.err.count("\n") == 1
    assert not (chain.folder / "data").exists()


def test_file_without_read_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUIGI_CONFIG_PATH", raising=False)
    tmp_path.chmod(0o755)
    Path("luigi.cfg").touch(mode=0o000)

    with without_rights(), pytest.raises(ValueError, match=r"luigi.cfg can't be read \(Permission denied\)"):
        check_readable(["luigi.cfg"])


def test_missing_and_readable_files_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "")
    (tmp_path / "luigi.cfg").touch()
    check_readable([f"{tmp_path}/luigi.cfg", f"{tmp_path}/other.cfg", f"{tmp_path}/luigi.cfg/below"])


@pytest.mark.parametrize(("parser", "kind"), [("cfg", LuigiConfigParser), ("toml", LuigiTomlParser)])
def test_file_names_are_those_of_luigi(
    monkeypatch: pytest.MonkeyPatch, parser: str, kind: type[LuigiConfigParser] | type[LuigiTomlParser]
) -> None:
    monkeypatch.setenv("LUIGI_CONFIG_PARSER", parser)

    assert list(find_config_files()) == kind._config_paths
