"""The replacement of a user's file keeps links, mode and owner, and cleans up after kills."""

import os
import signal
import stat
import tempfile
import time
from pathlib import Path

import pytest

from luigi_etl.common.errors import StorageError
from luigi_etl.snapshot.leftovers import find_leftovers
from luigi_etl.snapshot.prune import prune
from luigi_etl.snapshot.replacement import replace_file
from tests.conftest import without_rights
from tests.made import TWO_DAYS
from tests.snapshot.test_prune import BEFORE

REMEDY = "name another FILE"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create the storage root."""
    root = tmp_path / "data"
    root.mkdir()
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create the user's folder."""
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


def write(path: Path, root: Path, content: bytes = b"new") -> None:
    with replace_file(path, root, REMEDY) as stream:
        stream.write(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def kill_while_writing(path: Path, root: Path) -> Path:
    """Kill another process while it writes; return its temporary file."""
    before = set(path.parent.iterdir())
    child = os.fork()
    if child == 0:
        with replace_file(path, root, REMEDY) as stream:
            stream.write(b"half")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_symbolic_link_stays_and_its_target_is_replaced(folder: Path, root: Path) -> None:
    target = folder / "target.csv"
    target.write_bytes(b"old")
    (folder / "other").mkdir()
    link = folder / "other" / "link.csv"
    link.symlink_to("../target.csv")

    write(link, root)

    assert (link.is_symlink(), target.read_bytes()) == (True, b"new")
    assert os.listdir(folder / "other") == ["link.csv"]


def test_dangling_symbolic_link_gets_its_target(folder: Path, root: Path) -> None:
    link = folder / "link.csv"
    link.symlink_to("target.csv")

    write(link, root)

    assert (link.is_symlink(), (folder / "target.csv").read_bytes()) == (True, b"new")


@pytest.mark.parametrize("before", [0o640, 0o600, 0o444, 0o666, 0o755])
def test_mode_of_an_existing_file_stays(folder: Path, root: Path, before: int) -> None:
    path = folder / "file.csv"
    path.touch()
    path.chmod(before)

    write(path, root)

    assert (mode(path), path.read_bytes()) == (before, b"new")


def test_mode_of_a_new_file_is_that_of_the_umask(folder: Path, root: Path) -> None:
    umask = os.umask(0o027)
    try:
        write(folder / "file.csv", root)
    finally:
        os.umask(umask)

    assert mode(folder / "file.csv") == 0o640


def test_temporary_file_has_no_wider_mode_than_the_file(folder: Path, root: Path) -> None:
    path = folder / "file.csv"
    path.touch()
    path.chmod(0o640)

    with replace_file(path, root, REMEDY):
        modes = [mode(one) for one in folder.iterdir()]

    assert all(one & ~0o640 == 0 for one in modes)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_owner_and_group_of_an_existing_file_stay(folder: Path, root: Path) -> None:
    path = folder / "file.csv"
    path.touch()
    os.chown(path, 12345, 23456)

    write(path, root)

    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_another_group_gets_no_rights(root: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    path = folder / "file.csv"
    path.touch()
    os.chown(path, 12345, 23456)
    path.chmod(0o664)

    with without_rights():
        write(path, root)

    assert (path.stat().st_gid != 23456, oct(mode(path))) == (True, oct(0o644))


def test_missing_folder_is_an_error(folder: Path, root: Path) -> None:
    path = folder / "new" / "file.csv"

    with pytest.raises(StorageError) as caught:
        write(path, root)

    assert str(caught.value) == (
        f"cannot write {path}: there is no folder {path.parent}; make it, or {REMEDY}"
    )
    assert os.listdir(folder) == []


def test_loop_of_symbolic_links_is_an_error(folder: Path, root: Path) -> None:
    path = folder / "file.csv"
    path.symlink_to("file.csv")

    with pytest.raises(StorageError, match="Too many levels of symbolic links"):
        write(path, root)
    assert path.is_symlink()


def test_path_that_is_not_a_file_is_refused(folder: Path, root: Path) -> None:
    path = folder / "fifo.csv"
    os.mkfifo(path)

    with pytest.raises(StorageError, match=r"fifo.csv: it is not a regular file; name another FILE"):
        write(path, root)


@pytest.mark.parametrize("name", ["é" * 120 + ".csv", "x" * 251 + ".csv", "\U0001f600" * 60 + ".csv"])
def test_longest_names_can_be_written(folder: Path, root: Path, name: str) -> None:
    write(folder / name, root)

    assert os.listdir(folder) == [name]


def test_no_temporary_file_remains_after_success_or_failure(folder: Path, root: Path) -> None:
    write(folder / "file.csv", root)
    with pytest.raises(RuntimeError), replace_file(folder / "file.csv", root, REMEDY):
        raise RuntimeError

    assert os.listdir(folder) == ["file.csv"]
    assert os.listdir(root / "exports") == []


def test_root_that_cannot_be_written_is_no_error(folder: Path, tmp_path: Path) -> None:
    write(folder / "one.csv", tmp_path / "none")
    (tmp_path / "file").touch()
    write(folder / "two.csv", tmp_path / "file")

    assert sorted(os.listdir(folder)) == ["one.csv", "two.csv"]
    assert not (tmp_path / "none").exists()


def test_next_write_to_the_folder_cleans_up_after_a_kill(folder: Path, root: Path) -> None:
    left = kill_while_writing(folder / "file.csv", root)

    write(folder / "another.csv", root)

    assert not left.exists()
    assert os.listdir(root / "exports") == []


def test_file_that_is_being_written_is_not_removed(folder: Path, root: Path) -> None:
    with replace_file(folder / "file.csv", root, REMEDY) as stream:
        write(folder / "another.csv", root)
        write(folder / "file.csv", root)
        stream.write(b"slow")

    assert (folder / "file.csv").read_bytes() == b"slow"


def test_prune_cleans_up_a_day_after_a_kill(folder: Path, root: Path) -> None:
    left = kill_while_writing(folder / "file.csv", root)
    (note,) = (root / "exports").iterdir()

    assert prune(root, BEFORE).temporaries == 0
    os.utime(note, (time.time() - TWO_DAYS,) * 2, follow_symlinks=False)
    assert prune(root, BEFORE, dry_run=True).temporaries == 2
    assert list(find_leftovers(root, lambda *_: None)) == [left, note]
    assert prune(root, BEFORE).temporaries == 2
    assert not left.exists()
    assert not note.is_symlink()


def test_prune_follows_no_link_to_another_file(folder: Path, root: Path) -> None:
    (folder / "mine.csv").touch()
    note = root / "exports" / "note"
    note.parent.mkdir()
    note.symlink_to(folder / "mine.csv")
    os.utime(note, (time.time() - TWO_DAYS,) * 2, follow_symlinks=False)

    prune(root, BEFORE)

    assert (folder / "mine.csv").exists()


def test_export_that_runs_for_days_is_not_pruned(folder: Path, root: Path) -> None:
    with replace_file(folder / "file.csv", root, REMEDY):
        (note,) = (root / "exports").iterdir()
        os.utime(note, (time.time() - TWO_DAYS,) * 2, follow_symlinks=False)
        pruned = prune(root, BEFORE)

    assert pruned.temporaries == 0
