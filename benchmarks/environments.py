"""A virtual environment for each contestant, of pinned versions, kept until the pins change."""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PINS = Path(__file__).with_name("environments")
KEPT = PROJECT / "build" / "benchmarks"  # git ignores it
OURS = "luigi_etl"
OUR_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "luigi_etl")


@cache
def programs(name: str) -> Path:
    """Return the folder of an environment's programs; it is made if it is not there as pinned."""
    pins, environment = PINS / f"{name}.txt", KEPT / name
    made_of = environment / "pins.txt"  # written last: it stands for a whole environment
    if not made_of.exists() or made_of.read_bytes() != pins.read_bytes():
        print(f"making the virtual environment {name}", file=sys.stderr, flush=True)  # it takes a while
        shutil.rmtree(environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", environment)
        _pip(environment, "-r", pins)
        shutil.copy(pins, made_of)
    if name == OURS:
        _install_this_checkout(environment)
    return environment / "bin"


def _install_this_checkout(environment: Path) -> None:
    """Install what is here, as a user has it; of a copy, as building leaves files."""
    with tempfile.TemporaryDirectory() as copy:
        for name in OUR_SOURCES:
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(copy) / name)
        _pip(environment, "--no-deps", "--force-reinstall", copy)


def _pip(environment: Path, *arguments: str | Path) -> None:
    _run(environment / "bin" / "python", "-m", "pip", "install", "-qq", *arguments)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
