"""Check README and docs: commands run, examples match real output, tables and links are complete."""

import gzip
import re
import shlex
import sqlite3
from contextlib import closing
from importlib.metadata import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from luigi_etl.api.filters import FILTERS
from luigi_etl.cli.main import COMMANDS
from luigi_etl.sandbox.script import EVENTS
from luigi_etl.tasks.config import ccdb, guard, service, storage
from tests.conftest import PROJECT, Chain, Serve

README = PROJECT / "README.md"
PAGES = [README, *sorted((PROJECT / "docs").glob("*.md"))]
LINKED = [*PAGES, PROJECT / "CHANGELOG.md", PROJECT / "CONTRIBUTING.md"]
SET_UP = 2  # README's first two commands install the project; .ci/run runs them
NEEDS_POSTGRES = {"all-complaints"}  # test_all_complaints.py runs its commands


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def page(name: str) -> Path:
    (found,) = [path for path in PAGES if path.stem == name]
    return found


def commands(path: Path) -> list[str]:
    return blocks(path, "sh")[SET_UP if path == README else 0 :]


# --- README --------------------------------------------------------------------------------------


def test_readme_opens_with_the_two_commands() -> None:
    first = blocks(README, "sh")
    assert [command.split(" && ")[0] for command in first[:SET_UP]] == ["python3 -m venv .venv"] * 2
    assert all(command.count("\n") == 1 for command in first[:SET_UP])


def test_readme_is_short() -> None:
    assert 12_000 <= README.stat().st_size <= 15_000


def offered_commands() -> list[str]:
    """Return the commands of README's table "I want"."""
    text = README.read_text(encoding="utf-8")
    table = text[text.index("| I want | command |") :].split("\n\n")[0]
    return re.findall(r"\| `([^`]+)` \|$", table, re.MULTILINE)


@pytest.mark.slow
def test_commands_of_readme_run(chain: Chain, served: Serve) -> None:
    """Run them in turn, offline. `crontab` only prints, and `doctor` reports that cron is missing."""
    server = served(1000)
    offered = offered_commands()
    assert len(offered) == 15
    for command in offered:
        if command.startswith("sqlite3"):
            _, file, query = shlex.split(command)
            with closing(sqlite3.connect(chain.folder / file)) as database:
                assert database.execute(query).fetchall(), command
            continue
        written = command.replace(" --install", "")
        run = chain.program("bash", "-c", written, url=server.url)
        assert run.code == (1 if command == "luigi-etl doctor" else 0), (command, run.out, run.err)
        assert run.out, command


@pytest.mark.slow
def test_main_job_prints_the_line_that_readme_shows(chain: Chain) -> None:
    job = blocks(README, "sh")[0].split(" && ")[-1].replace(".venv/bin/", "")
    shown = blocks(README, "text")[0]
    at = re.compile(r"all-newest-10/.*Z")

    run = chain.program("bash", "-c", job)

    assert run.code == 0, run.err
    assert at.sub("", run.out) == at.sub("", shown)


# --- completeness --------------------------------------------------------------------------------


def test_every_filter_is_named() -> None:
    text = page("queries").read_text(encoding="utf-8")
    table = text[text.index("| filter |") :].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= FILTERS.keys()


@pytest.mark.parametrize("section", [ccdb, guard, service, storage])
def test_every_setting_is_named(section: type[ccdb | guard | service | storage]) -> None:
    text = page("settings").read_text(encoding="utf-8")
    table = text[text.index(f"| `[{section.__name__}]` |") :].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", table)) >= {name for name, _ in section.get_params()}  # type: ignore[no-untyped-call]


def test_every_event_is_named() -> None:
    text = page("sandbox").read_text(encoding="utf-8")
    rows = "".join(re.findall(r"^\| `.*$", text[text.index("## Events") :], re.MULTILINE))
    assert set(re.findall(r"`([a-z_]+)[=`]", rows)) >= EVENTS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described(command: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert f"luigi-etl {command}" in text


def test_map_of_modules_is_complete() -> None:
    (text,) = [block for block in blocks(page("architecture"), "text") if block.startswith("cli/\n")]
    named, package = set(), ""
    for line in text.splitlines():
        name = line.split()[0]
        package = name if name.endswith("/") else package
        named |= {package + name} if name.endswith(".py") else set()

    root = PROJECT / "luigi_etl"
    found = {path.relative_to(root).as_posix() for path in root.glob("*/**/*.py")}
    commands = {f"cli/{command}.py" for command in COMMANDS}
    assert named == {name for name in found - commands if not name.endswith("__init__.py")}


# --- commands and examples -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if commands(path) and path.stem not in NEEDS_POSTGRES],
    ids=lambda path: path.stem,
)
def test_commands_of_a_page_run_as_written(path: Path, chain: Chain, served: Serve) -> None:
    """Run them in turn, in one folder, offline: CCDB_URL replaces the default address."""
    server = served(1000)
    for block in commands(path):
        run = chain.program("bash", "-euo", "pipefail", "-c", block, url=server.url)
        assert run.code == 0, (block, run.err)


def test_only_explanations_have_no_commands() -> None:
    without = {path.stem for path in PAGES if not commands(path)}
    assert without == {"README", "architecture", "performance"}


@pytest.mark.slow
def test_deleted_files_of_a_snapshot_are_written_again(chain: Chain, served: Serve) -> None:
    server = served(1000)
    (repeat,) = [block for block in commands(page("getting-started")) if block.startswith("rm ")]
    again = repeat.splitlines()[1]

    assert chain.program("bash", "-c", again, url=server.url).code == 0
    asked = len(server.asked)
    assert chain.program("bash", "-euo", "pipefail", "-c", repeat, url=server.url).code == 0

    assert chain.files("20261122T0926Z.complaints.csv")
    assert chain.files("20261122T0926Z.datapackage.json")
    assert len(server.asked) == asked


@pytest.mark.slow
def test_examples_equal_real_files(chain: Chain) -> None:
    files = page("files")
    (command,) = [block for block in commands(files) if "T0930" in block]
    assert chain.program("bash", "-c", command).code == 0
    written = "\n".join(_text(path) for path in chain.files() if "T0930" in path.name)
    found = re.sub(r"127\.0\.0\.1:\d+", "HOST", written)
    examples = blocks(files, "csv") + blocks(files, "json")
    assert len(examples) == 7
    for block in examples:
        if '"67890"' in block:  # the sandbox generates no such hit; test_chain.py does
            continue
        for line in re.sub(r"127\.0\.0\.1:\d+", "HOST", block).splitlines():
            parts = [part for part in re.split(r"\.\.\.,?|\{\.\.\.\}", line) if part.strip(' ]},"')]
            assert all(part in found for part in parts), line


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


# --- links ---------------------------------------------------------------------------------------


def links(path: Path) -> list[str]:
    """Return the targets of a page's links and pictures, except in code."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    return inline + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub forms them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.stem)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for link in links(path):
        target = urlsplit(link)
        if target.scheme:
            continue
        file = (path.parent / target.path) if target.path else path
        assert file.is_file(), link
        assert not target.fragment or target.fragment in anchors(file), link


def test_references_of_readme_are_defined_and_used() -> None:
    text = README.read_text(encoding="utf-8")
    defined = re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE)
    assert set(re.findall(r"\]\[([^\]]+)\]", text)) | {"licence"} == set(defined)


def test_readme_links_work_on_the_package_index() -> None:
    """Once pyproject.toml names the repository, README needs absolute links."""
    urls = dict(url.split(", ", 1) for url in metadata("luigi_etl").get_all("Project-URL") or [])
    if repository := urls.get("Repository"):
        assert [link for link in links(README) if not urlsplit(link).scheme] == []
        assert [link for link in links(README) if link.startswith(repository)]
    else:
        assert all(link in text_after_licence() for link in links(README) if not urlsplit(link).scheme)


def text_after_licence() -> str:
    """Return the end of README, where its relative links are."""
    return README.read_text(encoding="utf-8").partition("## Licence")[2]
