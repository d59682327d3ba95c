"""PruneSnapshots: the removed files, the kept files and the report."""

import fcntl
import os
import random
import re
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import luigi
import pytest

from luigi_etl import PruneSnapshots, StoreComplaints
from luigi_etl.common.errors import StorageError
from luigi_etl.common.files import atomic_write
from luigi_etl.service.run_history import list_runs
from luigi_etl.snapshot.paths import SnapshotFiles
from luigi_etl.snapshot.prune import Pruned, prune
from luigi_etl.snapshot.store import publish
from tests.conftest import Chain, Pipeline, Serve, without_rights
from tests.made import SLUG, TWO_DAYS, ended, many, merged, stored, synced, unused

NOW = datetime(2026, 11, 22, 9, 26)
DAY = timedelta(days=1)
BEFORE = NOW - 30 * DAY
WHOLE = {
    path.name.partition(".")[2] for path in SnapshotFiles(Path(), SLUG, NOW).all if path.suffix != ".partial"
}


def kept_minutes(root: Path) -> list[datetime]:
    return [run.minute for run in list_runs(root, datetime.min)]


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def write_old(path: Path, seconds: float = TWO_DAYS, content: bytes = b"half") -> Path:
    """Write a file with a modification time `seconds` ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def endings_by_minute(paths: list[Path]) -> list[set[str]]:
    """Return the endings of each snapshot's file names."""
    found: dict[str, set[str]] = {}
    for path in paths:
        minute, _, ending = path.name.partition(".")
        found.setdefault(minute, set()).add(ending)
    return list(found.values())


# --- snapshots ------------------------------------------------------------------------------------


def test_old_snapshots_and_their_folders_are_removed(tmp_path: Path) -> None:
    for age in (0, 29, 31, 400):
        stored(tmp_path, NOW - age * DAY)

    assert prune(tmp_path, BEFORE).snapshots == 2

    days = {path.name for path in (tmp_path / "snapshots" / SLUG).iterdir()}
    assert kept_minutes(tmp_path) == [NOW, NOW - 29 * DAY]
    assert days == {"2026-11-22", "2026-10-24"}


def test_age_is_compared_to_the_minute(tmp_path: Path) -> None:
    ages = [timedelta(), 30 * DAY, 30 * DAY + timedelta(minutes=1)]
    for age in ages:
        stored(tmp_path, NOW - age)

    assert prune(tmp_path, BEFORE).snapshots == 1
    assert kept_minutes(tmp_path) == [NOW, BEFORE]


def test_files_of_failed_runs_are_removed(tmp_path: Path) -> None:
    stored(tmp_path, NOW)
    ended(tmp_path, NOW - 31 * DAY, "failed")
    ended(tmp_path, NOW - 32 * DAY, "skipped")
    ended(tmp_path, NOW - 33 * DAY, "failed").run.unlink()
    interrupted = ended(tmp_path, NOW - 34 * DAY, "failed")
    interrupted.partial.write_bytes(b"page")
    unused(interrupted)

    assert prune(tmp_path, BEFORE).snapshots == 4
    assert kept_minutes(tmp_path) == [NOW]
    assert len(list((tmp_path / "snapshots" / SLUG).iterdir())) == 1


def test_files_set_aside_by_a_killed_redo_are_removed(tmp_path: Path) -> None:
    files = stored(tmp_path, BEFORE - DAY)
    stored(tmp_path, NOW)
    files.complaints.rename(files.complaints.with_name(files.complaints.name + ".redo"))

    assert prune(tmp_path, BEFORE).snapshots == 1
    assert not files.folder.exists()


def test_merged_snapshot_is_removed(tmp_path: Path) -> None:
    old = merged(tmp_path, BEFORE - DAY)
    merged(tmp_path, NOW)

    assert prune(tmp_path, BEFORE).snapshots == 1
    assert not old.folder.exists()


def test_changes_are_removed_before_the_csv(tmp_path: Path) -> None:
    merged(tmp_path, NOW)
    files = merged(tmp_path, BEFORE - DAY)
    files.datapackage.unlink()
    files.datapackage.mkdir()  # `unlink` fails for a folder
    unused(files)

    assert prune(tmp_path, BEFORE).failures == 1
    assert not files.changes.exists()
    assert files.complaints.exists()


def test_old_syncs_are_removed_except_the_newest(tmp_path: Path) -> None:
    for age in (300, 301, 302):
        synced(tmp_path, NOW - age * DAY, changes=True)

    assert prune(tmp_path, BEFORE).snapshots == 2
    assert [(run.minute, run.outcome) for run in list_runs(tmp_path, datetime.min)] == [
        (NOW - 300 * DAY, "synced")
    ]
    assert len(list((tmp_path / "snapshots/all~sync").iterdir())) == 1


def test_newest_snapshot_of_each_query_is_kept(tmp_path: Path) -> None:
    for slug in ("all", SLUG):
        for age in (300, 301, 302):
            stored(tmp_path, NOW - age * DAY, slug=slug)

    assert prune(tmp_path, BEFORE).snapshots == 4
    assert kept_minutes(tmp_path) == [NOW - 300 * DAY] * 2


def test_newest_complete_snapshot_is_kept(tmp_path: Path) -> None:
    ended(tmp_path, NOW - 299 * DAY, "skipped")
    ended(tmp_path, NOW - 300 * DAY, "failed")
    for age in (301, 302):
        stored(tmp_path, NOW - age * DAY)

    assert prune(tmp_path, BEFORE).snapshots == 2
    assert [(run.minute, run.outcome) for run in list_runs(tmp_path, datetime.min)] == [
        (NOW - 299 * DAY, "skipped"),
        (NOW - 301 * DAY, "stored"),
    ]


def test_files_of_a_snapshot_are_removed_last_first(tmp_path: Path) -> None:
    stored(tmp_path, NOW)
    files = stored(tmp_path, NOW - 40 * DAY)
    files.complaints.unlink()
    files.complaints.mkdir()  # `unlink` fails for a folder

    with pytest.raises(StorageError):
        prune(tmp_path, BEFORE).check()
    left = {path.name.partition(".")[2] for path in files.folder.iterdir()}
    assert left == {
        "document.csv",
        "extracted.jsonl.gz",
        "parsed.jsonl",
        "rejected.jsonl",
        "summary.json",
        "complaints.csv",
    }
    assert [run.outcome for run in list_runs(tmp_path, datetime.min)] == ["stored", "unfinished"]
    files.complaints.rmdir()

    assert prune(tmp_path, BEFORE).snapshots == 1
    assert not files.folder.exists()


def test_empty_folders_of_old_days_are_removed(tmp_path: Path) -> None:
    folder = stored(tmp_path, NOW).folder
    folder.with_name("2026-10-01").mkdir()
    folder.with_name("2026-11-23").mkdir()
    prune(tmp_path, BEFORE)

    assert {path.name for path in folder.parent.iterdir()} == {"2026-11-22", "2026-11-23"}


def test_missing_root_is_not_an_error(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", BEFORE) == Pruned()
    assert tree(tmp_path) == set()


@pytest.mark.slow
def test_concurrent_prunes_do_not_fail(tmp_path: Path) -> None:
    model = stored(tmp_path / "model", NOW)
    stored(tmp_path, NOW)
    many(tmp_path, model, NOW - 31 * DAY, 500)
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(prune, [tmp_path] * 4, [BEFORE] * 4))

    assert {pruned.failure for pruned in found} == {""}
    assert kept_minutes(tmp_path) == [NOW]


@pytest.mark.parametrize("name", ["document", "partial", "extracted", "parsed", "changes", "run"])
def test_recently_written_snapshot_of_an_old_minute_is_kept(tmp_path: Path, name: str) -> None:
    stored(tmp_path, NOW)
    files = stored(tmp_path, NOW - 40 * DAY)
    getattr(files, name).write_bytes(b"just now")

    assert prune(tmp_path, BEFORE).snapshots == 0
    unused(files)
    assert prune(tmp_path, BEFORE).snapshots == 1


@pytest.mark.slow
def test_run_of_an_old_minute_survives_a_prune(chain: Chain, served: Serve) -> None:
    server = served(50, "1:hang")
    root = chain.folder / "data"
    stored(root, NOW)
    old = ("--timestamp", "2020-02-02T0202", "--ccdb-read-timeout", "3")
    process = chain.start(*chain.luigi_command(*old), url=server.url)
    deadline = time.monotonic() + 30
    while not server.asked and time.monotonic() < deadline:
        time.sleep(0.01)

    pruned = prune(root, BEFORE)
    _, err = process.communicate(timeout=60)

    assert (pruned.snapshots, process.returncode, err) == (0, 0, "")


def test_task_marks_an_old_snapshot_as_in_use(tmp_path: Path, pipeline: Pipeline) -> None:
    files = stored(pipeline.root, NOW - 40 * DAY)
    stored(pipeline.root, NOW)
    files.datapackage.unlink()

    pipeline.run(StoreComplaints, timestamp=files.timestamp)

    assert files.document.stat().st_mtime > time.time() - TWO_DAYS / 2
    assert prune(tmp_path, BEFORE).snapshots == 0


# --- other files ----------------------------------------------------------------------------------


def test_unknown_files_and_their_folders_are_kept(tmp_path: Path) -> None:
    stored(tmp_path, NOW)
    folder = stored(tmp_path, NOW - 40 * DAY).folder
    names = ["notes.txt", "20261013T0926Z.notes.txt", "20261013T0926Z.complaints.csv.bak", ".hidden", "x.tmp"]
    for name in names:
        write_old(folder / name)
    for path in ("snapshots/file", f"snapshots/{SLUG}/file", f"snapshots/{SLUG}/2026-10-xx/.a.tmp", ".b.tmp"):
        write_old(tmp_path / path)

    assert prune(tmp_path, BEFORE).temporaries == 0
    assert {path.name for path in folder.iterdir()} == set(names)
    assert tree(tmp_path) >= {"snapshots/file", f"snapshots/{SLUG}/file", ".b.tmp"}
    assert (tmp_path / "snapshots" / SLUG / "2026-10-xx" / ".a.tmp").exists()


def test_temporary_files_are_removed_after_a_day(tmp_path: Path) -> None:
    folder = stored(tmp_path, NOW).folder
    old = [
        write_old(place / ".a.0123abcd.tmp")
        for place in (folder, folder / "../2026-10-01", tmp_path / "latest")
    ]
    young = write_old(folder / ".b.0123abcd.tmp", 86_000)
    lock = write_old(tmp_path / "latest" / f".{SLUG}.csv.lock")
    pruned = prune(tmp_path, BEFORE)

    assert (pruned.temporaries, pruned.snapshots, pruned.freed) == (3, 0, 12)
    assert not any(path.exists() for path in old)
    assert young.exists()
    assert lock.exists()
    assert not (folder.parent / "2026-10-01").exists()


SYNC = "syncs/all"
LEFT = [
    f"snapshots/{SLUG}/2026-10-01/20261001T0926Z.complaints.csv-luigi-tmp-0123456789",
    "latest/.gone.csv.lock",
    "snapshots/gone~sync/.lock",
    f"{SYNC}/20261001T0926Z.extracted.jsonl.gz.partial",
    f"{SYNC}/0123abcd/20261001T0926Z.parsed.jsonl",
    f"{SYNC}/.lock",
]


@pytest.mark.parametrize("name", LEFT)
def test_leftovers_are_removed_after_a_day(tmp_path: Path, name: str) -> None:
    stored(tmp_path, NOW)
    left = write_old(tmp_path / name)

    pruned = prune(tmp_path, BEFORE)

    assert (pruned.temporaries, left.exists()) == (1, False)
    assert not any(path.is_dir() for path in (tmp_path / SYNC, tmp_path / "snapshots/gone~sync"))


@pytest.mark.parametrize("name", LEFT)
def test_leftovers_are_kept_for_a_day(tmp_path: Path, name: str) -> None:
    stored(tmp_path, NOW)
    young = write_old(tmp_path / name, 86_000)

    assert prune(tmp_path, BEFORE).temporaries == 0
    assert young.exists()


def test_sync_files_are_kept_while_one_is_recent(tmp_path: Path) -> None:
    old = write_old(tmp_path / SYNC / "one")
    write_old(tmp_path / SYNC / "folder" / "two", 600)

    assert prune(tmp_path, BEFORE).temporaries == 0
    assert old.exists()


@pytest.mark.parametrize("name", ["latest/.gone.csv.lock", f"{SYNC}/.lock", "snapshots/gone~sync/.lock"])
def test_held_lock_is_kept(tmp_path: Path, name: str) -> None:
    path = write_old(tmp_path / name)

    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert prune(tmp_path, BEFORE).temporaries == 0
    assert prune(tmp_path, BEFORE).temporaries == 1


def test_file_that_is_being_written_is_kept(tmp_path: Path) -> None:
    stored(tmp_path, NOW)
    with atomic_write(tmp_path / "snapshots" / SLUG / "2026-10-01" / "file") as stream:
        stream.write(b"x")
        assert prune(tmp_path, BEFORE).temporaries == 0

    assert (tmp_path / "snapshots" / SLUG / "2026-10-01" / "file").exists()


@pytest.mark.parametrize("link", ["snapshots", "snapshots/all", f"snapshots/{SLUG}/2026-10-02", "latest"])
def test_folders_behind_a_symbolic_link_are_skipped(tmp_path: Path, link: str) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    stored(root, NOW)
    target = {"snapshots": "snapshots", "snapshots/all": f"snapshots/{SLUG}", "latest": "latest"}.get(
        link, f"snapshots/{SLUG}/2026-10-02"
    )
    stored(elsewhere, NOW)
    stored(elsewhere, datetime(2026, 10, 2))
    write_old(elsewhere / target / ".a.tmp")
    if link == "snapshots":
        (root / "snapshots").rename(tmp_path / "away")
    (root / link).symlink_to(elsewhere / target)
    before = tree(elsewhere)
    pruned = prune(root, BEFORE)

    assert (pruned.links, pruned.snapshots, pruned.temporaries) == (1, 0, 0)
    assert tree(elsewhere) == before
    assert pruned.summarize(dry_run=False).endswith("; left alone: 1 symbolic link")


def test_symbolic_link_is_removed_but_not_its_target(tmp_path: Path) -> None:
    root = tmp_path / "root"
    stored(root, NOW)
    outside = write_old(tmp_path / "outside")
    files = stored(root, NOW - 40 * DAY)
    files.complaints.unlink()
    files.complaints.symlink_to(outside)
    temporary = files.folder / ".a.tmp"
    temporary.symlink_to(outside)
    prune(root, BEFORE)

    assert outside.read_bytes() == b"half"
    assert [path.name for path in files.folder.iterdir()] == [".a.tmp"]


def test_root_may_be_a_symbolic_link(tmp_path: Path) -> None:
    stored(tmp_path / "real", NOW)
    stored(tmp_path / "real", NOW - 40 * DAY)
    (tmp_path / "link").symlink_to("real")

    assert prune(tmp_path / "link", BEFORE).snapshots == 1


# --- the report -----------------------------------------------------------------------------------


def test_file_with_another_link_is_not_counted_as_freed(tmp_path: Path) -> None:
    stored(tmp_path, NOW)
    files = stored(tmp_path, NOW - 40 * DAY, rows=2000)
    publish(files.complaints, files.latest)
    sizes = [path.stat().st_size for path in files.all if path.exists() and path != files.complaints]
    latest = files.latest.read_bytes()

    assert prune(tmp_path, BEFORE).freed == sum(sizes)
    assert files.latest.read_bytes() == latest


def test_dry_run_reports_the_same_and_removes_nothing(tmp_path: Path) -> None:
    for age in (0, 31, 40):
        stored(tmp_path, NOW - age * DAY)
    ended(tmp_path, NOW - 50 * DAY, "failed")
    write_old(tmp_path / "latest" / ".a.tmp")
    before = tree(tmp_path)
    expected = prune(tmp_path, BEFORE, dry_run=True)

    assert tree(tmp_path) == before
    assert prune(tmp_path, BEFORE) == expected
    assert tree(tmp_path) < before


@pytest.mark.parametrize(
    ("pruned", "line"),
    [
        (Pruned(), "removed 0 snapshots and 0 temporary files, which freed 0 bytes"),
        (Pruned(1, 1, 1), "removed 1 snapshot and 1 temporary file, which freed 1 byte"),
        (Pruned(1440, 2, 999), "removed 1,440 snapshots and 2 temporary files, which freed 999 bytes"),
        (Pruned(2, 0, 999_960), "removed 2 snapshots and 0 temporary files, which freed 1.0 MB"),
        (Pruned(2, 0, 10**16), "removed 2 snapshots and 0 temporary files, which freed 10,000.0 TB"),
    ],
)
def test_result_is_formatted_as_one_line(pruned: Pruned, line: str) -> None:
    assert pruned.summarize(dry_run=False) == line


def test_failure_is_reported_and_other_files_are_removed(tmp_path: Path) -> None:
    stored(tmp_path, NOW)
    stuck = [stored(tmp_path, NOW - age * DAY).run for age in (40, 42)]
    for path in stuck:
        path.unlink()
        path.mkdir()
        os.utime(path, (time.time() - TWO_DAYS,) * 2)
    stored(tmp_path, NOW - 41 * DAY)
    write_old(tmp_path / "latest" / ".a.tmp")
    pruned = prune(tmp_path, BEFORE)
    assert (pruned.snapshots, pruned.temporaries, pruned.failures) == (1, 1, 2)

    with pytest.raises(StorageError) as caught:
        pruned.check()

    assert str(caught.value) == (f"cannot remove {stuck[0]}: Is a directory (and 1 more); give access there")


def test_unreadable_folders_are_reported(tmp_path: Path) -> None:
    make_old_snapshots(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        pruned = prune(tmp_path, BEFORE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    with pytest.raises(StorageError) as caught:
        pruned.check()

    assert str(caught.value) == (f"cannot read {tmp_path}/snapshots: Too many open files; give access there")


@pytest.mark.parametrize("folder", ["", "snapshots", "latest", "syncs", "exports", f"snapshots/{SLUG}"])
def test_folder_without_permission_is_reported(folder: str) -> None:
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    stored(root, NOW)
    for name in ("latest", "syncs", "exports"):
        (root / name).mkdir()
    (root / folder).chmod(0)

    with without_rights():
        pruned = prune(root, BEFORE)

    assert pruned.failures
    assert pruned.failure.endswith(": Permission denied")


# --- the task -------------------------------------------------------------------------------------


@pytest.fixture
def configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[luigi.configuration.LuigiConfigParser]:
    """Set only `[storage] root`, to the test's folder."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "root", str(tmp_path))
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)
    PruneSnapshots.clear_instance_cache()
    yield configuration
    PruneSnapshots.clear_instance_cache()


def test_keep_days_is_30_by_default(
    configured: luigi.configuration.LuigiConfigParser,
) -> None:
    assert PruneSnapshots().keep_days == 30
    configured.set("PruneSnapshots", "keep_days", "7")

    assert PruneSnapshots().keep_days == 7


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("days", [0, -1, 40_000, True, "7"])
def test_invalid_keep_days_is_refused(days: object) -> None:
    with pytest.raises(ValueError, match="keep_days: .* is not a whole number from 1 to 36500"):
        PruneSnapshots(keep_days=days)


@pytest.mark.usefixtures("configured")
def test_task_is_complete_only_after_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
    kept = [now, now - DAY + timedelta(minutes=2)]
    for minute in (*kept, now - DAY - timedelta(minutes=2)):
        ended(tmp_path, minute, "skipped")
    task = PruneSnapshots(keep_days=1)
    assert not task.complete()
    task.run()
    assert task.complete()
    assert kept_minutes(tmp_path) == kept
    line = r"older than 1 day: removed 1 snapshot and 0 temporary files, which freed \d+ bytes\n"

    assert re.fullmatch(line, capsys.readouterr().out)


def make_old_snapshots(root: Path) -> datetime:
    """Write three snapshots, of which PruneSnapshots removes two; return the minute of the third."""
    now = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
    for age in (0, 31, 32):
        stored(root, now - age * DAY)
    return now


@pytest.mark.slow
def test_luigi_repeats_the_task_on_each_call(chain: Chain) -> None:
    now = make_old_snapshots(chain.folder / "data")
    prune_snapshots = ("luigi", "--module", "luigi_etl", "PruneSnapshots", "--local-scheduler")
    found = [chain.program(*prune_snapshots, *options) for options in (("--dry-run",), (), ())]

    assert [(run.code, run.err) for run in found] == [(0, "")] * 3
    assert [run.out.partition(" and ")[0] for run in found] == [
        "older than 30 days: would remove 2 snapshots",
        "older than 30 days: removed 2 snapshots",
        "older than 30 days: removed 0 snapshots",
    ]
    assert kept_minutes(chain.folder / "data") == [now]


@pytest.mark.slow
def test_failure_is_one_line_and_exit_code_30(chain: Chain) -> None:
    now = make_old_snapshots(chain.folder / "data")
    record = next((chain.folder / "data").rglob(f"{now - 31 * DAY:%Y%m%dT%H%MZ}.run.json"))
    record.unlink()
    record.mkdir()
    os.utime(record, (time.time() - TWO_DAYS,) * 2)
    run = chain.program("luigi", "--module", "luigi_etl", "PruneSnapshots", "--local-scheduler")

    assert run.code == 30
    assert run.err == (
        f"ERROR: PruneSnapshots: cannot remove {record.relative_to(chain.folder)}: Is a directory; "
        "give access there\n"
    )
    assert run.out.startswith("older than 30 days: removed 1 snapshot and")


@pytest.mark.slow
def test_invalid_keep_days_is_one_line_and_exit_code_2(chain: Chain) -> None:
    with (chain.folder / "luigi.cfg").open("a") as stream:
        stream.write("\n[PruneSnapshots]\nkeep_days=0\n")
    run = chain.program("luigi", "--module", "luigi_etl", "PruneSnapshots", "--local-scheduler")

    assert (run.code, run.err) == (
        2,
        "luigi: error: keep_days: 0 is not a whole number from 1 to 36500\n",
    )


@pytest.mark.slow
def test_next_prune_finishes_after_a_kill(
    chain: Chain,
) -> None:
    root = chain.folder / "data"
    now = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
    model = merged(chain.folder / "model", now)
    merged(root, now)
    many(root, model, now - 31 * DAY, 2_000)
    command = ("luigi", "--module", "luigi_etl", "PruneSnapshots", "--local-scheduler")
    moments = random.Random(2026)
    halves = 0
    for attempt in range(20):
        if halves and attempt >= 5:  # on a busy machine many kills hit between two snapshots
            break
        before = chain.files("Z.datapackage.json")
        process = chain.start(*command)
        deadline = time.monotonic() + 30
        while before[-2].exists() and time.monotonic() < deadline:  # prune removes this one first
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        found = endings_by_minute(chain.files("Z.*"))
        whole = [endings for endings in found if "datapackage.json" in endings]
        assert all(endings | {"run.json", "changes.csv"} == WHOLE for endings in whole)
        assert 0 < len(whole) < len(before)
        halves += len(found) - len(whole)
    assert halves > 0
    run = chain.program(*command)

    assert (run.code, run.err) == (0, "")
    assert kept_minutes(root) == [now]
    assert len(list((root / "snapshots" / SLUG).iterdir())) == 1
