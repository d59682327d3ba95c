"""File locks: one holder at a time, released by the kernel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from luigi_etl.common.locks import is_locked, lock, locked

HOLD = (
    "import sys, time; from pathlib import Path; from luigi_etl.common.locks import locked\n"
    "with locked(Path(sys.argv[1]), ''): print('held', flush=True); time.sleep(60)\n"
)


def test_lock_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"

    with path.open("wb") as first, path.open("rb") as second:
        assert lock(first, path, "")
        assert not lock(second, path, "")
        assert is_locked(path)

    assert not is_locked(path)


def test_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline()
        assert is_locked(path)

        holder.kill()

    assert not is_locked(path)


def test_removed_file_is_not_locked(tmp_path: Path) -> None:
    path = tmp_path / "file"

    with path.open("wb") as stream:
        path.unlink()
        assert not lock(stream, path, "")

    with locked(path, ""):
        assert is_locked(path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")

    with pytest.raises(OSError, match="symbolic links"):
        is_locked(tmp_path / "link", os.O_RDWR)
