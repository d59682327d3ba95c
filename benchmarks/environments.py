"""A virtual environment with pinned versions for each contestant, kept until the pins change."""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PINS = Path(__file__).with_name("environments")
BUILD = PROJECT / "build" / "benchmarks"  # git ignores it
OURS = "luigi_etl"
OUR_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "luigi_etl")


@cache
def prepare_environment(name: str) -> Path:
    """Create an environment unless it exists with these pins; return its `bin` folder."""
    pins, environment = PINS / f"{name}.txt", BUILD / name
    installed = environment / "pins.txt"  # written last, so it marks a complete environment
    if not installed.exists() or installed.read_bytes() != pins.read_bytes():
        print(f"creating the virtual environment {name}", file=sys.stderr, flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", environment)
        _pip_install(environment, "-r", pins)
        shutil.copy(pins, installed)
    if name == OURS:
        _install_checkout(environment)
    return environment / "bin"


def _install_checkout(environment: Path) -> None:
    """Install this checkout from a copy, because a build leaves files in its folder."""
    with tempfile.TemporaryDirectory() as copy:
        for name in OUR_SOURCES:
            source = PROJECT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(copy) / name)
        _pip_install(environment, "--no-deps", "--force-reinstall", copy)


def _pip_install(environment: Path, *arguments: str | Path) -> None:
    _run(environment / "bin" / "python", "-m", "pip", "install", "-qq", *arguments)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
