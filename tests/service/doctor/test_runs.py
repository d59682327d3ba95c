"""The check of the newest runs."""

import json
import re
import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from luigi_etl.common.minutes import as_file_name, this_minute
from luigi_etl.snapshot.paths import SnapshotFiles
from tests.conftest import Chain, Serve
from tests.made import SLUG, ended, merged, record, stored, synced
from tests.service.doctor.helpers import DAY, HOUR, NOWHERE, ONE, RunCheck, findings_of

pytestmark = pytest.mark.slow


def runs(chain: Chain) -> list[tuple[bool, str]]:
    return findings_of(chain, "runs")


def describe(minute: datetime, outcome: str) -> str:
    return f"{minute:%Y-%m-%d %H:%M} UTC of {SLUG}, {outcome}"


def test_recent_run_passes(chain: Chain, root: Path) -> None:
    minute = this_minute() - 5 * ONE
    stored(root, minute)

    assert runs(chain) == [(True, f"the last run, {describe(minute, 'stored')}")]


def test_missing_runs_are_reported_with_the_folder(chain: Chain, root: Path) -> None:
    assert runs(chain) == [
        (False, f"no run has left a file in {root}: wait a minute, or correct [storage] root")
    ]


def test_old_last_run_fails(chain: Chain, root: Path) -> None:
    minute = this_minute() - 12 * ONE
    stored(root, minute)

    assert runs(chain) == [
        (
            False,
            f"the last run, {describe(minute, 'stored')}, is more than ten minutes old: "
            f"check cron, and the logs in {chain.folder}/service",
        )
    ]


def test_run_in_the_future_fails(chain: Chain, root: Path) -> None:
    minute = this_minute() + 2 * HOUR
    stored(root, minute)

    ((is_well, message),) = runs(chain)

    assert not is_well
    assert message.startswith(
        f"the last run, {describe(minute, 'stored')}: {minute:%Y-%m-%dT%H%M} is later than now, "
        "a clock was ahead; `luigi-etl forget --after 2"
    )


def test_failed_run_is_reported_with_its_error_in_a_line(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    stored(root, minute - ONE)
    ended(root, minute, "failed", "no\nluck\x1b[2J")

    assert runs(chain) == [
        (
            False,
            f"{describe(minute, 'failed')}: no luck\\x1b[2J; the next run takes a new snapshot; "
            f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10` repeats this one",
        )
    ]


def test_failure_before_a_successful_run_passes(chain: Chain, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - ONE, "failed")
    stored(root, minute)

    assert runs(chain) == [(True, f"the last run, {describe(minute, 'stored')}")]


def test_failure_of_one_query_is_reported_beside_another(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    stored(root, minute, slug="all")
    ended(root, minute - ONE, "failed")

    (well, _), (failed, message) = runs(chain)

    assert (well, failed) == (True, False)
    assert message.startswith(describe(minute - ONE, "failed"))


def test_failure_before_skipped_minutes_is_reported(here: RunCheck, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - 6 * ONE, "failed")
    ended(root, minute - ONE, "skipped")

    ill = [message.split(";")[0] for well, message in here("runs") if not well]

    assert ill == [f"{describe(minute - 6 * ONE, 'failed')}: no luck"]


def test_failure_of_more_than_a_day_ago_is_ignored(here: RunCheck, root: Path) -> None:
    ended(root, this_minute() - DAY - ONE, "failed", slug="all")
    stored(root, this_minute())

    assert [well for well, _ in here("runs")] == [True]


def test_damaged_data_package_fails(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    path = stored(root, minute).datapackage
    path.write_bytes(b"\0")

    ((well, message),) = runs(chain)

    assert not well
    assert message.startswith(f"{describe(minute, 'damaged')}: {path.relative_to(chain.folder)} is damaged (")
    assert f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from store`" in message


def test_run_under_way_passes(chain: Chain, root: Path) -> None:
    minute = this_minute() - ONE
    ended(root, minute, "failed").run.unlink()

    assert runs(chain) == [(True, f"the last run, {describe(minute, 'unfinished')}")]


def test_long_run_with_skipped_minutes_passes(here: RunCheck, root: Path) -> None:
    minute = this_minute()
    ended(root, minute - 3 * HOUR, "failed").run.unlink()
    ended(root, minute - ONE, "skipped")

    assert here("runs") == [(True, f"the last run, {describe(minute - ONE, 'skipped')}")]


def test_run_killed_an_hour_ago_fails(here: RunCheck, root: Path) -> None:
    minute = this_minute() - HOUR
    ended(root, minute, "failed").run.unlink()

    (_, first), (_, second) = here("runs")

    assert "is more than ten minutes old" in first
    assert second.startswith(f"{describe(minute, 'unfinished')}: no end recorded: the run was killed, ")
    assert f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from store`" in second


@pytest.mark.parametrize("make", [merged, synced])
def test_merged_or_synced_run_passes(
    here: RunCheck, root: Path, make: Callable[[Path, datetime], SnapshotFiles]
) -> None:
    files = make(root, this_minute())

    ((well, message),) = here("runs")

    assert (well, f" of {files.slug}, " in message) == (True, True)


def test_failed_merge_is_reported_with_the_command(here: RunCheck, root: Path) -> None:
    minute = this_minute() - ONE
    record(stored(root, minute), "failed", "database away", task="MergeComplaints")

    assert here("runs") == [
        (
            False,
            f"{describe(minute, 'failed')}: database away; "
            f"`luigi-etl redo {minute:%Y-%m-%dT%H%M} --limit 10 --from merge` merges it",
        )
    ]


@pytest.mark.parametrize("content", ["failed", "damaged"])
def test_failed_sync_is_retried_by_the_next_run(here: RunCheck, root: Path, content: str) -> None:
    files = ended(root, this_minute() - ONE, "failed", slug="all~sync")
    if content == "damaged":
        files.run.write_bytes(b"{")

    ((well, message),) = here("runs")

    assert not well
    assert f" of all~sync, {content}: " in message
    assert message.endswith("; the next run tries again")


QUERY = "product=Debt%20collection&state=CA"


@pytest.mark.parametrize("trouble", ["failed", "damaged", "killed", "merge"])
def test_command_of_a_remedy_works(chain: Chain, served: Serve, trouble: str) -> None:
    url, minute = served(500).url, this_minute()
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}", "--query", QUERY, "--limit", "7")
    task = "MergeComplaints" if trouble == "merge" else "StoreComplaints"
    if trouble == "merge":
        (chain.folder / "data").mkdir()
        (chain.folder / "data/complaints.db").write_bytes(b"no database" * 100)
    failing = ("--ccdb-retries", "0") if trouble == "failed" else ()
    chain.unattended(*arguments, *failing, task=task, url=NOWHERE if trouble == "failed" else url)
    if trouble == "damaged":
        chain.file("datapackage.json").write_bytes(b"{")
    if trouble == "killed":
        for ending in ("datapackage.json", "run.json"):
            chain.file(ending).unlink()
        hour = minute - HOUR
        for path in chain.files():
            if path.name.startswith(as_file_name(minute)):
                folder = path.parents[1] / f"{hour:%Y-%m-%d}"
                folder.mkdir(exist_ok=True)
                path.rename(folder / path.name.replace(as_file_name(minute), as_file_name(hour)))
    chain.configure("ccdb", requests_per_minute=0)
    (chain.folder / "data/complaints.db").unlink(missing_ok=True)

    *_, last = [message for well, message in findings_of(chain, "runs", url) if not well]
    (command,) = re.findall(r"`(luigi-etl redo .*?)`", last)
    redone = chain.program(*shlex.split(command), url=url)

    assert redone.code == 0, (command, redone)
    listed = json.loads(chain.program("luigi-etl", "runs", "--json").out)
    assert [run["outcome"] for run in listed] == ["merged" if trouble == "merge" else "stored"]


def test_log_of_a_failed_query_is_named(here: RunCheck, chain: Chain, root: Path) -> None:
    ended(root, this_minute(), "failed", slug="state=CA")
    (chain.folder / "service").mkdir()
    for name in ("StoreComplaints.state=CA", "StoreComplaints.all"):
        (chain.folder / f"service/{name}.log").touch()

    (message,) = [message for well, message in here("runs") if not well]

    assert message.endswith(f"; if that fails too, see {chain.folder}/service/StoreComplaints.state=CA.log")


def fail_sync(chain: Chain, served: Serve, minute: datetime) -> None:
    """Run a sync that fails in its one window."""
    url = served(2000, "2:status=400").url
    arguments = ("--timestamp", f"{minute:%Y-%m-%dT%H%M}")
    assert chain.unattended(*arguments, task="SyncComplaints", url=url).code == 30
    assert len(list(chain.folder.glob("data/syncs/all/snapshots/date_received_min=*/*"))) == 1


def test_sync_that_failed_in_a_window_is_reported_once(chain: Chain, served: Serve) -> None:
    minute = this_minute() - ONE
    fail_sync(chain, served, minute)

    (message,) = [message for well, message in runs(chain) if not well]

    assert message.startswith(f"{minute:%Y-%m-%d %H:%M} UTC of all~sync, failed: ExtractWindow: ")


def test_window_of_a_sync_under_way_is_ignored(chain: Chain, served: Serve, root: Path) -> None:
    minute = this_minute()
    fail_sync(chain, served, minute - HOUR)
    next((root / "snapshots/all~sync").rglob("*.run.json")).unlink()
    ended(root, minute, "skipped", slug="all~sync")

    assert runs(chain) == [(True, f"the last run, {minute:%Y-%m-%d %H:%M} UTC of all~sync, skipped")]


@pytest.mark.parametrize("where", ["snapshots", f"snapshots/{SLUG}", f"snapshots/{SLUG}/2026-11-22"])
def test_unreadable_folder_fails(chain: Chain, root: Path, where: str) -> None:
    path = root / where
    path.parent.mkdir(parents=True)
    path.symlink_to(path)

    name = path.relative_to(chain.folder)

    assert runs(chain) == [(False, f"Too many levels of symbolic links ({name}): give access to it")]


def test_root_that_is_a_file_fails(chain: Chain, root: Path) -> None:
    root.write_text("a file")

    assert runs(chain) == [
        (False, f"no run has left a file in {root}: wait a minute, or correct [storage] root")
    ]
