"""The README keeps its word: its commands run, its examples are what they leave, its tables are whole."""

import gzip
import re
from pathlib import Path

import pytest

from luigi_etl.config import ccdb, guard, service, storage
from luigi_etl.query import FILTERS
from tests.conftest import PROJECT, Chain, Serve

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = blocks("sh")
SET_UP = 2  # the first two install the project: .ci/run runs them as they stand


def test_it_opens_with_the_two_commands() -> None:
    assert [command.split(" && ")[0] for command in COMMANDS[:SET_UP]] == ["python3 -m venv .venv"] * 2
    assert all(command.count("\n") == 1 for command in COMMANDS[:SET_UP])


def test_every_filter_is_named() -> None:
    table = README[README.index("| filter |") : README.index("The API ignores names")]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= FILTERS.keys()


@pytest.mark.parametrize("section", [ccdb, guard, service, storage])
def test_every_setting_is_named(section: type[ccdb | guard | service | storage]) -> None:
    table = README[README.index(f"| `[{section.__name__}]` |") :].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= {name for name, _ in section.get_params()}  # type: ignore[no-untyped-call]


def test_every_module_is_named() -> None:
    layout = README[README.index("## How the code is laid out") :]
    modules = {path.name for path in (PROJECT / "luigi_etl").glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"[a-z]+\.py", layout)) >= modules


def test_imports_run_down_the_list_of_modules() -> None:
    layout = README[README.index("## How the code is laid out") :]
    order = ["command", "commands", *re.findall(r"^  (\w+)\.py ", layout, re.MULTILINE)[1:]]
    for path in sorted((PROJECT / "luigi_etl").rglob("*.py")):
        module = path.relative_to(PROJECT / "luigi_etl").with_suffix("").parts[0]
        if module in ("__init__", "sandbox"):
            continue
        imported = set(re.findall(r"^\s*from luigi_etl\.(\w+)", path.read_text(), re.MULTILINE)) - {module}
        up = {other for other in imported - {"sandbox"} if order.index(other) < order.index(module)}
        assert not up, f"{module} imports {up}, which are above it"


@pytest.mark.slow
def test_every_other_command_runs_as_written(chain: Chain, served: Serve) -> None:
    """Offline: CCDB_URL stands in for the default address."""
    server = served(1000)
    for block in COMMANDS[SET_UP:]:
        run = chain.program("bash", "-euo", "pipefail", "-c", block, url=server.url)
        assert run.code == 0, (block, run.err)
    assert chain.files("20261122T0926Z.complaints.csv")
    assert chain.files("20261122T0926Z.datapackage.json")


@pytest.mark.slow
def test_its_examples_are_what_the_command_leaves(chain: Chain) -> None:
    (command,) = [block for block in COMMANDS if "T0930" in block]
    assert chain.program("bash", "-c", command).code == 0
    written = "\n".join(_text(path) for path in chain.files() if "T0930" in path.name)
    told = re.sub(r"127\.0\.0\.1:\d+", "HOST", written)
    for block in blocks("csv") + blocks("json"):
        if '"67890"' in block:  # of a hit the sandbox does not generate: test_chain.py sees to it
            continue
        for line in re.sub(r"127\.0\.0\.1:\d+", "HOST", block).splitlines():
            parts = [part for part in re.split(r"\.\.\.,?|\{\.\.\.\}", line) if part.strip(' ]},"')]
            assert all(part in told for part in parts), line


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
