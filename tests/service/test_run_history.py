"""The list of runs, from the files of snapshots and the states of jobs."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from luigi_etl.api.query import Query, parse_query
from luigi_etl.common.job_state import Job, JobState
from luigi_etl.service.run_history import find_newest_run, find_query, list_runs, read_job_runs
from luigi_etl.service.run_status import Run
from luigi_etl.snapshot.paths import sync_slug
from tests.made import SLUG, ended, stored, taken

MINUTE = datetime(2026, 11, 22, 9, 26)
ONE = timedelta(minutes=1)
SINCE = ("--since", "2026-11-22")
ESCAPE = "\x1b[2J"


def test_newest_run_of_all_queries_is_first(tmp_path: Path) -> None:
    for slug, minutes in (("all", (0, 3, 1441)), (SLUG, (1, 2, 1440))):
        for minute in minutes:
            ended(tmp_path, MINUTE - minute * ONE, "failed", slug=slug)
    found = [(MINUTE - run.minute) // ONE for run in list_runs(tmp_path, datetime.min)]

    assert found == [0, 1, 2, 3, 1440, 1441]


def test_runs_begin_with_the_given_minute(tmp_path: Path) -> None:
    for minute in range(3):
        ended(tmp_path, MINUTE - minute * ONE, "failed")
    assert [run.minute for run in list_runs(tmp_path, MINUTE - ONE)] == [MINUTE, MINUTE - ONE]
    assert [run.minute for run in list_runs(tmp_path, MINUTE - timedelta(seconds=59))] == [MINUTE]


def test_earlier_days_are_not_read(tmp_path: Path) -> None:
    before = stored(tmp_path, MINUTE).folder.with_name("2026-11-21")
    before.symlink_to(before)  # reading it fails
    assert len(list(list_runs(tmp_path, MINUTE - timedelta(hours=9)))) == 1
    assert find_newest_run(tmp_path, SLUG)
    with pytest.raises(OSError, match="2026-11-21"):
        list(list_runs(tmp_path, MINUTE - timedelta(hours=10)))


def test_damaged_snapshot_does_not_hide_others(tmp_path: Path) -> None:
    for minute in range(5):
        stored(tmp_path, MINUTE - minute * ONE)
    next(tmp_path.rglob("*0924Z.datapackage.json")).write_bytes(b"\0")

    assert [run.outcome for run in list_runs(tmp_path, datetime.min)] == [
        "stored",
        "stored",
        "damaged",
        "stored",
        "stored",
    ]


def test_newest_run_may_be_skipped_unless_it_is_ignored(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "skipped")
    stored(tmp_path, MINUTE - timedelta(days=3))
    stored(tmp_path, MINUTE + ONE, slug="all")
    assert find_newest_run(tmp_path, SLUG) == Run(
        minute=MINUTE, query=SLUG, outcome="skipped", seconds=1.5, error="no luck"
    )
    besides = find_newest_run(tmp_path, SLUG, ignoring={"skipped"})
    assert besides
    assert (besides.minute, besides.outcome) == (MINUTE - timedelta(days=3), "stored")


def test_newest_run_is_found_before_empty_days(tmp_path: Path) -> None:
    stored(tmp_path, MINUTE).folder.with_name("2026-11-23").mkdir()
    newest = find_newest_run(tmp_path, SLUG)

    assert newest
    assert newest.minute == MINUTE


def test_query_without_runs_has_no_newest_run(tmp_path: Path) -> None:
    assert find_newest_run(tmp_path, SLUG) is None


def long_query() -> Query:
    return parse_query("&".join(f"company={letter * 150}" for letter in "abc"))


@pytest.mark.parametrize("slug", [long_query().slug(7), sync_slug(long_query().slug(7))])
def test_query_of_a_shortened_slug_is_in_its_data_package(tmp_path: Path, slug: str) -> None:
    taken(tmp_path, MINUTE, [], query=str(long_query()), limit=7)

    assert find_query(tmp_path, slug) == (str(long_query()), 7)


# --- runs in the states of jobs ------------------------------------------------------------------


def outcomes(root: Path) -> list[tuple[str, str, str]]:
    runs = list_runs(root, datetime.min, read_job_runs(root / "service"))
    return [(f"{run.minute:%H%M}", run.outcome, run.error) for run in runs]


def test_sync_under_way_without_files_is_listed(tmp_path: Path) -> None:
    with Job("SyncComplaints.all~sync", tmp_path / "service").exclusive(MINUTE, "all~sync"):
        assert outcomes(tmp_path) == [("0926", "running", "")]
    assert outcomes(tmp_path) == []


def test_killed_run_is_not_running(tmp_path: Path) -> None:
    script = (
        "import os, sys; from datetime import datetime; from pathlib import Path\n"
        "from luigi_etl.common.job_state import Job\n"
        f"with Job('chain', Path(sys.argv[1])).exclusive(datetime(2026, 11, 22, 9, 26), '{SLUG}'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "service")])

    assert outcomes(tmp_path) == []


def test_failures_without_a_record_are_listed(tmp_path: Path) -> None:
    minutes = [MINUTE - at * ONE for at in (0, 1, 2, 60)]
    stored(tmp_path, MINUTE - ONE)
    ended(tmp_path, MINUTE - 2 * ONE, "failed").run.unlink()
    memory = JobState(slug=SLUG).with_unrecorded(minutes, "no room")
    Job("chain", tmp_path / "service").write_state(memory)

    assert outcomes(tmp_path) == [
        ("0926", "failed", "no room"),
        ("0925", "stored", ""),
        ("0924", "failed", "no room"),
        ("0826", "failed", "no room"),
    ]
