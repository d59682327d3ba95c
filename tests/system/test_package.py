"""The package: its version everywhere, and the contents of sdist and wheel."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from luigi_etl.cli.main import run
from tests.conftest import PROJECT

FOLDERS = ("luigi_etl", "tests", "docs", "cron", "benchmarks")
FILES = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile"),
    *("luigi.cfg", "pyproject.toml", ".ci/run", ".pre-commit-config.yaml"),
)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"luigi-etl {version('luigi_etl')}\n"


def test_package_can_be_run_as_a_module() -> None:
    command = [sys.executable, "-m", "luigi_etl", "--version"]

    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert printed == f"luigi-etl {version('luigi_etl')}\n"


def test_newest_version_of_the_changelog_is_this_one() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert versions[0] == version("luigi_etl")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel from a copy of the project; return their folder."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for folder in FOLDERS:
        shutil.copytree(PROJECT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(PROJECT / name, copy / name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_sdist_is_complete(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if member.isfile()}

    expected = {
        path.relative_to(PROJECT).as_posix()
        for folder in FOLDERS
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert expected | set(FILES) <= members.keys()
    assert members["cron/run"].mode & 0o111


@pytest.mark.slow
def test_wheel_has_only_the_package_and_its_types(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    modules = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "luigi_etl").rglob("*.py")}

    assert modules | {"luigi_etl/py.typed"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {
        "luigi_etl",
        f"luigi_etl-{version('luigi_etl')}.dist-info",
    }
    assert any(name.endswith("/licenses/LICENSE") for name in names)
