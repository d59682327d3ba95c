"""cron/run, the program that cron starts."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Run
from tests.service.crontab.helpers import jobs_of


def run_wrapper(*command: str, cwd: Path = Path("/"), **environment: str) -> Run:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("inside", "command"),
    [("", ["cron/run"]), ("cron", ["./run"]), ("cron", ["/bin/sh", "run"]), ("luigi.d", ["../cron/run"])],
)
def test_wrapper_finds_its_checkout(checkout: Path, inside: str, command: list[str]) -> None:
    (checkout / "luigi.d").mkdir()

    called = run_wrapper(*command, "./a % python", "x", "--y=a b", cwd=checkout / inside, CDPATH="/usr")

    assert called == Run(0, "", "")
    assert (checkout / "seen").read_text() == f"{checkout}\n-I\n-m\nluigi_etl\nx\n--y=a b\n"


def test_wrapper_needs_no_path(checkout: Path) -> None:
    script = checkout / "a % python"
    script.write_text("#!/bin/sh\npwd\n")

    assert run_wrapper(str(checkout / "cron/run"), str(script), "x", PATH="/nowhere").out == f"{checkout}\n"


def create_python_without_luigi_etl(folder: Path) -> Path:
    """Return an interpreter without luigi_etl, as after an upgrade of Python."""
    real = Path("/proc/self/exe").resolve()  # sys.executable may be a script
    (folder / "pyvenv.cfg").write_text(f"home = {real.parent}\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(real)
    return folder / "bin" / "python"


def create_broken_python(kind: str, checkout: Path) -> Path:
    """Return an interpreter that can't run luigi_etl."""
    python = checkout / "python"
    if kind == "upgraded":
        return create_python_without_luigi_etl(checkout)
    if kind == "link to nothing":
        python.symlink_to("/no/such/python")
    elif kind == "folder":
        python.mkdir()
    elif kind == "not executable":
        python.touch()
    elif kind == "crashes":
        python.write_text("#!/bin/sh\necho first >&2; echo no such library >&2; exit 127\n")
        python.chmod(0o755)
    return python


PATH = "/usr/bin:/bin"  # as cron has it
KINDS = ["missing", "link to nothing", "folder", "not executable", "upgraded", "crashes"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("service", [True, False])
def test_broken_interpreter_is_reported_once(checkout: Path, kind: str, service: bool) -> None:
    python = create_broken_python(kind, checkout)
    temporary = checkout.parent / "tmp"
    temporary.mkdir()
    if service:
        (checkout / "service").mkdir()

    def called() -> Run:
        return run_wrapper(
            str(checkout / "cron/run"), str(python), "luigid", PATH=PATH, TMPDIR=str(temporary)
        )

    first, second = called(), called()

    assert [(run.code, run.out, run.err.count("\n")) for run in (first, second)] == [
        (127, "", 1),
        (127, "", 0),
    ]
    why = {
        "upgraded": f"{python} can't run luigi_etl (No module named luigi_etl, ",
        "crashes": "(no such library)",
    }
    assert why.get(kind, f"there is no interpreter {python} any more; ") in first.err
    assert first.err.endswith(
        f"; install luigi_etl again in {checkout}, then run luigi-etl crontab --install\n"
    )
    assert [path.name for path in (checkout / "service").glob("*")] == ["cron-run.reported"] * service


def test_second_interpreter_outage_is_reported_again(checkout: Path) -> None:
    works = checkout / "a % python"
    messages = []
    for python in (checkout / "gone", works, checkout / "gone"):
        command = [str(checkout / "cron/run"), str(python), "luigid"]
        messages.append(run_wrapper(*command, PATH=PATH, TMPDIR=str(checkout.parent)).err)

    assert [message.count("\n") for message in messages] == [1, 0, 1]


@pytest.mark.parametrize("name", ["tee messages", "tee 'messages'", 'tee  "messages"', r"t\ee messages"])
@pytest.mark.parametrize(
    "before", ["[service]\nnotify=", "[x]\nnotify=false\n[service]\nfolder=y\nnotify : "]
)
def test_broken_interpreter_is_reported_to_notify(checkout: Path, before: str, name: str) -> None:
    (checkout / "luigi.cfg").write_text(f"{before}{name}\n[storage]\nnotify=false\n")

    run = run_wrapper(str(checkout / "cron/run"), "/no/such/python", "luigid", PATH=PATH, TMPDIR="/nowhere")

    assert (run.code, run.out, run.err) == (127, "", "")
    assert (
        (checkout / "messages")
        .read_text()
        .startswith(f"luigi_etl on {os.uname().nodename}: there is no interpreter /no/such/python any more; ")
    )


@pytest.mark.parametrize(
    "notify", ["false", "/no/such", "sh -c 'echo s3cret; exit 1'", "tee ${HOME}", "tee %(x)s", "'"]
)
def test_broken_interpreter_is_on_stderr_if_notify_fails(checkout: Path, notify: str) -> None:
    (checkout / "luigi.cfg").write_text(f"[service]\nnotify={notify}\n")

    run = run_wrapper(str(checkout / "cron/run"), "/no/such/python", "luigid", PATH=PATH, TMPDIR="/nowhere")

    assert (run.code, run.out, run.err.count("\n")) == (127, "", 1)
    assert "there is no interpreter" in run.err


def test_notify_command_is_not_expanded(checkout: Path) -> None:
    (checkout / "luigi.cfg").write_text(
        "[service]\nnotify=tee messages $(touch,pwned) `touch,pwned` ; touch pwned *\n"
    )
    (checkout / "*").write_text("")
    run_wrapper(str(checkout / "cron/run"), "/no/such/python", "luigid", PATH=PATH, TMPDIR="/nowhere")

    assert (checkout / "messages").exists()
    assert (checkout / "pwned").read_text().startswith("luigi_etl on ")  # written by tee, not by touch
    assert (checkout / "$(touch,pwned)").exists()


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh", "mksh", "ksh"])
def test_wrapper_works_with_every_shell(checkout: Path, shell: str) -> None:
    program, *options = shell.split()
    path = shutil.which(program)
    if not path:
        pytest.skip(f"there is no {program}")
    (checkout / "service").mkdir()
    run = [path, *options, str(checkout / "cron/run")]

    messages = [
        run_wrapper(*run, str(python), "x", PATH=PATH)
        for python in (checkout / "gone", checkout / "gone", checkout / "a % python")
    ]

    assert [(one.code, one.err.count("\n")) for one in messages] == [(127, 1), (127, 0), (0, 0)]
    assert not list((checkout / "service").iterdir())


def test_wrapper_without_a_command_prints_its_usage(checkout: Path) -> None:
    called = run_wrapper(str(checkout / "cron/run"), "/python")

    assert (called.code, called.err) == (2, f"usage: {checkout}/cron/run PYTHON COMMAND [options]\n")


@pytest.mark.slow
def test_wrapper_runs_the_installed_package(
    tmp_path: Path,
) -> None:
    for folder in (tmp_path / "checkout", tmp_path / "path"):
        (folder / "luigi_etl").mkdir(parents=True)
        (folder / "luigi_etl" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    shutil.copytree(PROJECT / "cron", tmp_path / "checkout" / "cron")

    called = run_wrapper(
        str(tmp_path / "checkout/cron/run"),
        sys.executable,
        "crontab",
        "--help",
        PYTHONPATH=str(tmp_path / "path"),
    )

    assert (called.code, called.err) == (0, "")
    assert "usage: luigi-etl crontab" in called.out


@pytest.mark.slow
def test_program_prints_this_checkout_and_interpreter() -> None:
    python = Path(sys.executable)
    bare = {name: value for name, value in os.environ.items() if name != "LUIGI_CONFIG_PATH"}
    called = run_wrapper(str(python.parent / "luigi-etl"), "crontab", cwd=PROJECT, **bare)
    assert (called.code, called.err) == (0, "")

    printed = shlex.split(jobs_of(called.out)[1].replace(r"\%", "%"))[5:7]

    assert printed[0] == str(PROJECT / "cron" / "run")
    assert Path(printed[1]).parent == python.parent
