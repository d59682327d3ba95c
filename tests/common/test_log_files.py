"""Logs with a bounded size, which fail no run on a full disk."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from luigi_etl.common.log_files import add_bounded_file

LOG = """
import logging, sys
from pathlib import Path
from luigi_etl.common.log_files import add_bounded_file
logger = logging.Logger("x")
add_bounded_file(logger, Path(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    logger.info("x" * 1000)
for handler in logger.handlers:
    handler.close()
logger.info("after the end")
"""


def run_logging(path: Path, lines: int) -> "subprocess.CompletedProcess[str]":
    """Write lines of 1 kB to a log in a new process, to see also the output of its exit."""
    return subprocess.run([sys.executable, "-c", LOG, path, str(lines)], capture_output=True, text=True)


@pytest.mark.parametrize("lines", [0, 1, 200])
def test_log_on_a_full_disk_is_silent(lines: int) -> None:
    done = run_logging(Path("/dev/full"), lines)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("before", [0, 999_500])
def test_disk_that_fills_up_ends_only_the_log(small_disk: Path, before: int) -> None:
    """With a log that is about to be rotated, and with one that is not."""
    subprocess.run(["mount", "-o", "remount,size=1100k", small_disk], check=True)
    (small_disk / "log").write_bytes(b"x" * before)

    done = run_logging(small_disk / "log", 1200)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_log_is_private(tmp_path: Path, umask: int) -> None:
    logger = logging.Logger("x")
    before = os.umask(umask)
    try:
        add_bounded_file(logger, tmp_path / "log")
        for _ in range(3):
            logger.info("x" * 600_000)
    finally:
        os.umask(before)

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 3
