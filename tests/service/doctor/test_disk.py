"""The checks of the folders and the temporary files."""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from luigi_etl.common.minutes import this_minute
from luigi_etl.snapshot.leftovers import find_killed_redos
from tests.conftest import Chain
from tests.made import stored
from tests.service.doctor.helpers import RunCheck, failure_of, findings_of

pytestmark = pytest.mark.slow

SECONDS_OF_A_DAY = 86_400


def test_missing_folders_pass_and_are_not_created(chain: Chain) -> None:
    first, second = findings_of(chain, "folders")

    assert first[0]
    assert second[0]
    assert first[1].startswith(f"[storage] root, {chain.folder}/data: can be written, ")
    assert second[1].startswith(f"[service] folder, {chain.folder}/service: can be written, ")
    assert not (chain.folder / "data").exists()
    assert not (chain.folder / "service").exists()


@pytest.mark.parametrize(("section", "setting"), [("storage", "root"), ("service", "folder")])
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc/here", "No such file or directory"),
        ("link", "No such file or directory"),
    ],
)
def test_unwritable_folder_fails_and_the_other_passes(
    chain: Chain, section: str, setting: str, folder: str, reason: str
) -> None:
    (chain.folder / "file").touch()
    (chain.folder / "link").symlink_to("/mnt/no/such/disk")
    chain.configure(section, **{setting: folder})

    assert failure_of(chain, "folders") == (
        f"[{section}] {setting}, {chain.folder / folder}: "
        f"can't be written ({reason}): give access to it, or set another folder"
    )


def test_nearly_full_disk_fails(here: RunCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999_000_000))

    for well, message in here("folders"):
        assert not well
        assert message.endswith(": 999 MB free: make room, or lower [PruneSnapshots] keep_days")


@pytest.mark.parametrize(
    ("free", "total", "well"), [(99_999, 10**6, False), (100_000, 10**6, True), (0, 0, True)]
)
def test_few_free_inodes_fail_if_the_disk_counts_them(
    here: RunCheck, monkeypatch: pytest.MonkeyPatch, free: int, total: int, well: bool
) -> None:
    room = {"f_frsize": 4096, "f_blocks": 10**9, "f_bfree": 10**9, "f_bavail": 10**9}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=total, f_favail=free, **room))
    findings = here("folders")
    assert [finding[0] for finding in findings] == [well, well]

    few = ": room for only 99,999 files: remove some, or lower [PruneSnapshots] keep_days"
    assert all(message.endswith(few) is not well for _, message in findings)


def leave_temporary_file(folder: Path, seconds: float) -> Path:
    """Create a temporary file that was last written `seconds` ago."""
    path = folder / f".{seconds:.0f}.0123abcd.tmp"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_young_temporary_files_pass(chain: Chain, root: Path) -> None:
    leave_temporary_file(root / "latest", 10)
    leave_temporary_file(stored(root, this_minute()).folder, SECONDS_OF_A_DAY - 600)

    assert findings_of(chain, "temporary files") == [(True, "no temporary file is older than a day")]


def test_killed_redo_is_reported_after_a_day(chain: Chain, root: Path) -> None:
    files = stored(root, this_minute())
    aside = files.run.rename(files.run.with_name(files.run.name + ".redo"))

    assert findings_of(chain, "temporary files") == [(True, "no temporary file is older than a day")]
    assert [one.timestamp for one in find_killed_redos(root, time.time() + 1)] == [files.timestamp]
    assert aside.exists()


def test_old_temporary_files_are_counted_and_kept(chain: Chain, root: Path) -> None:
    old = [
        leave_temporary_file(folder, SECONDS_OF_A_DAY + 600)
        for folder in (root / "latest", stored(root, this_minute()).folder)
    ]

    assert findings_of(chain, "temporary files") == [
        (
            False,
            "2 temporary files older than a day: "
            "run `luigi --module luigi_etl PruneSnapshots --local-scheduler`",
        )
    ]
    assert all(path.exists() for path in old)
