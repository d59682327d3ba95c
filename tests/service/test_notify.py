"""Delivery of messages to a command, without its secrets in any output, or to standard error."""

import os
import shlex
import sys
from pathlib import Path

import pytest

from luigi_etl.service.notify import deliver

PRINT_ARGUMENTS = "import sys; print(sys.argv[1:], file=sys.stderr); sys.exit(22)"


def failing(*arguments: str) -> str:
    """Return a command that fails and prints all of its arguments."""
    return shlex.join([sys.executable, "-c", PRINT_ARGUMENTS, *arguments])


def test_only_the_command_gets_the_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert deliver("it failed", f"tee {tmp_path}/message") == ""
    assert (tmp_path / "message").read_text() == f"luigi_etl on {os.uname().nodename}: it failed\n"
    assert capfd.readouterr() == ("", "")


def test_without_a_command_stderr_gets_the_message(capfd: pytest.CaptureFixture[str]) -> None:
    assert deliver("it failed", "") == ""
    assert capfd.readouterr() == ("", f"luigi_etl on {os.uname().nodename}: it failed\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["-H", "Authorization: Bearer s3cret"],
        ["https://me:s3cret@ntfy.example.org/x"],
        ["https://ntfy.example.org/x?token=s3cret"],
        ["https://ntfy.example.org/x?token=%73%33cret"],
        ["https://ntfy.example.org/s3cret"],
        ["-ume:s3cret"],
        ["-us3cret"],
        ["--password=s3cret"],
        ["--password", "s3cret"],
    ],
)
def test_report_of_a_failed_command_has_no_secret(
    capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    problem = deliver("it failed", failing(*arguments))

    message, report = capfd.readouterr().err.splitlines()

    assert message.endswith(": it failed")
    assert report == problem
    assert problem.startswith(f"luigi_etl: [service] notify, {sys.executable!r}, failed (exit code 22): ")
    assert "s3cret" not in problem
    assert "%73" not in problem


def test_report_of_a_failed_command_names_the_host() -> None:
    assert "ntfy.example.org" in deliver("it failed", failing("https://ntfy.example.org/x?token=s3cret"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/no/such --token=s3cret", "'/no/such', failed: No such file or directory"),
        ("tee 'a\0b'", "'tee', failed: it cannot be run"),
        ("sh -c 'echo no >&2; exit 3'", "'sh', failed (exit code 3): no"),
    ],
)
def test_failure_of_a_command_is_reported_in_one_line(command: str, why: str) -> None:
    assert deliver("it failed", command) == f"luigi_etl: [service] notify, {why}"


def test_long_output_is_cut() -> None:
    assert len(deliver("it failed", "sh -c 'head -c 9999999 /dev/zero; exit 1'")) < 600


@pytest.mark.parametrize("command", ["", "false"])
def test_full_stderr_is_ignored(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        deliver("it failed", command)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # its buffer must be flushed somewhere


def test_command_runs_without_room_for_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    assert deliver("it failed", f"tee {tmp_path}/message") == ""
    assert (tmp_path / "message").read_text().endswith("it failed\n")
