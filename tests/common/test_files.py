import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from luigi_etl.common.errors import StorageError
from luigi_etl.common.files import atomic_write, atomic_writes, overwrite, storage_errors


def test_file_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file"
    with atomic_write(target) as stream:
        stream.write(b"whole")
        assert not target.exists()

    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["file"]


def test_failure_leaves_only_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")

    with pytest.raises(RuntimeError), atomic_write(target) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert target.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["file"]


def test_error_for_a_missing_folder_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "below" / "target"

    with pytest.raises(StorageError, match=r"cannot write .*below/target: Not a directory; make room"):
        atomic_write(target).__enter__()


def test_storage_error_keeps_its_cause(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(caught.value.__cause__, OSError)


def test_full_disk_leaves_no_file(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    program = (
        "import resource, pathlib; from luigi_etl.common.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "with atomic_write(pathlib.Path('big')) as stream: stream.write(bytes(5_000_000))\n"
    )

    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)

    assert run.stderr.splitlines()[-1].startswith(
        "luigi_etl.common.errors.StorageError: cannot write big: File too large"
    )
    assert os.listdir(tmp_path) == []


def test_data_is_synced_before_the_rename(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, luigi_etl.common.files as files\n"
        "calls = []\n"
        "fsync, replace = os.fsync, pathlib.Path.replace\n"
        "os.fsync = lambda fd: (calls.append('fsync'), fsync(fd))\n"
        "pathlib.Path.replace = lambda a, b: (calls.append('rename'), replace(a, b))\n"
        "with files.atomic_write(pathlib.Path('file')) as stream: stream.write(b'x')\n"
        "print(*calls)\n"
    )

    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)

    assert run.stdout.split() == ["fsync", "rename", "fsync"]


def test_two_writers_have_separate_temporary_files(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with atomic_write(target) as first:
        first.write(b"first")
        with atomic_write(target) as second:
            second.write(b"second, and longer")
        assert target.read_bytes() == b"second, and longer"

    assert target.read_bytes() == b"first"


def test_atomic_writes_create_all_files_or_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_writes(tmp_path / "one", tmp_path / "two") as (one, _):
        one.write(b"x")
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with atomic_writes(tmp_path / "one", tmp_path / "two") as (_, two):
        two.write(b"y")
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_file_is_overwritten_in_whole_blocks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        overwrite(stream.fileno(), b"12345", 4)
        assert path.read_bytes() == b"12345   "
        overwrite(stream.fileno(), b"1", 4)
        assert path.read_bytes() == b"1       "


def test_full_disk_keeps_the_content_of_a_file(small_disk: Path) -> None:
    path = small_disk / "file"
    with path.open("wb") as stream:
        overwrite(stream.fileno(), b"before", 4096)

        with pytest.raises(OSError, match="No space left on device"):
            overwrite(stream.fileno(), bytes(100_000), 4096)

        assert path.read_bytes().rstrip() == b"before"
        overwrite(stream.fileno(), b"after", 4096)
    assert path.read_bytes().rstrip() == b"after"
