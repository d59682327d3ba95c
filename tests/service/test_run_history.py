"""`luigi-etl runs` and what it reads: what became of each minute, whatever is on the disk."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import luigi
import pytest

from luigi_etl.api.query import Query, parse_query
from luigi_etl.cli.main import run
from luigi_etl.common.job_state import Job, JobState, record_attempt
from luigi_etl.service.run_history import newest_run, of_jobs, query_of, runs_since
from luigi_etl.service.run_status import Run
from luigi_etl.snapshot.paths import sync_slug
from luigi_etl.snapshot.run_record import RunRecord, write_record
from tests.conftest import Chain
from tests.made import SLUG, ended, merged, record, stored, synced, taken

MINUTE = datetime(2026, 11, 22, 9, 26)
ONE = timedelta(minutes=1)
SINCE = ("--since", "2026-11-22")
ESCAPE = "\x1b[2J"

Listed = Callable[..., str]


@pytest.fixture
def listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Listed:
    """Give a function that returns what `luigi-etl runs` prints of the folder of the test."""
    configuration = luigi.configuration.LuigiConfigParser()
    configuration.set("storage", "root", str(tmp_path))
    monkeypatch.setattr(luigi.configuration.LuigiConfigParser, "_instance", configuration)

    def listed(*options: str) -> str:
        assert run(["runs", *options]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return listed


def objects(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)
    return found


def only(root: Path) -> Run:
    (found,) = runs_since(root, datetime.min)
    return found


def unstored(root: Path) -> Path:
    """Make a stored snapshot whose Data Package is to be replaced; return its path."""
    return stored(root, MINUTE).datapackage


# --- what became of a minute ---------------------------------------------------------------------


def test_a_whole_data_package_is_a_stored_run(tmp_path: Path) -> None:
    stored(tmp_path, MINUTE, rows=3, rejected=2, seconds=0.75)
    assert only(tmp_path) == Run(
        minute=MINUTE, query=SLUG, outcome="stored", rows=3, rejected=2, seconds=0.75
    )


def test_a_snapshot_with_its_changes_is_a_merged_run(tmp_path: Path) -> None:
    merged(tmp_path, MINUTE, rows=3)
    assert only(tmp_path) == Run(minute=MINUTE, query=SLUG, outcome="merged", rows=3, rejected=0, seconds=1.9)


def test_a_snapshot_whose_merge_failed_is_a_failed_run_with_its_rows(tmp_path: Path) -> None:
    record(stored(tmp_path, MINUTE, rows=3), "failed", "no database", task="MergeComplaints")
    found = only(tmp_path)
    assert found == Run(
        minute=MINUTE,
        query=SLUG,
        outcome="failed",
        rows=3,
        rejected=0,
        seconds=1.5,
        error="no database",
        is_stored_only=True,
    )


def test_a_run_that_failed_before_it_was_stored_is_not_stored_only(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed")
    assert not only(tmp_path).is_stored_only


def test_a_snapshot_that_was_merged_takes_the_seconds_of_its_storing_where_there_are_no_others(
    tmp_path: Path,
) -> None:
    record(merged(tmp_path, MINUTE), "stored", seconds=0.5)
    assert (only(tmp_path).outcome, only(tmp_path).seconds) == ("merged", 0.5)


@pytest.mark.parametrize("changes", [False, True])
def test_a_sync_that_ended_well_is_a_synced_run(tmp_path: Path, changes: bool) -> None:
    synced(tmp_path, MINUTE, changes=changes)
    assert only(tmp_path) == Run(minute=MINUTE, query="all~sync", outcome="synced", seconds=1.5)


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_without_a_data_package_the_record_tells(tmp_path: Path, outcome: Any) -> None:
    ended(tmp_path, MINUTE, outcome, "no luck")
    assert only(tmp_path) == Run(minute=MINUTE, query=SLUG, outcome=outcome, seconds=1.5, error="no luck")


def test_files_and_neither_are_an_unfinished_run_that_says_so(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed").run.unlink()
    found = only(tmp_path)
    assert (found.outcome, found.error) == (
        "unfinished",
        "no end on record: killed, run by hand and still running, or no room on the disk to say so",
    )


def test_a_data_package_that_was_deleted_is_an_unfinished_run_that_says_so(tmp_path: Path) -> None:
    unstored(tmp_path).unlink()
    found = only(tmp_path)
    assert (found.outcome, found.error) == ("unfinished", "stored once, but its Data Package is gone")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b'{"snapshot": {"parsed": 1', "Input data was truncated"),
        (b"not JSON", "JSON is malformed"),
        (b"[]", r"Expected `object`, got `array`"),
        (b"{}", "missing required field `snapshot`"),
        (b'{"snapshot":{"parsed":1}}', "missing required field `rejected`"),
        (b'{"snapshot":{"parsed":1,"rejected":-1}}', "Expected `int` >= 0"),
        (b'{"snapshot":{"parsed":1.5,"rejected":0}}', "Expected `int`, got `float`"),
        (b'{"\xff":1}', "."),
        (b"\0" * 4096, "JSON is malformed"),
        (b'{"x":' + b"[" * 200_000, "."),
    ],
)
def test_a_damaged_data_package_is_a_damaged_run_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = unstored(tmp_path)
    path.write_bytes(content)
    found = only(tmp_path)
    assert (found.outcome, found.rows, found.rejected, found.seconds) == ("damaged", None, None, None)
    assert re.match(rf"{path} is damaged \(.*{reason}", found.error)


def test_a_data_package_that_cannot_be_opened_is_a_damaged_run(tmp_path: Path) -> None:
    path = unstored(tmp_path)
    path.unlink()
    path.mkdir()
    assert (only(tmp_path).outcome, "Is a directory" in only(tmp_path).error) == ("damaged", True)


def test_a_damaged_record_of_what_is_not_stored_is_a_damaged_run(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "failed").run.write_bytes(b"{")
    found = only(tmp_path)
    assert found.outcome == "damaged"
    assert found.error.endswith("Z.run.json is damaged (Input data was truncated)")


@pytest.mark.parametrize("content", [None, b"{", b'{"outcome":"odd"}'])
def test_a_stored_run_with_no_readable_record_has_no_seconds(tmp_path: Path, content: bytes | None) -> None:
    files = stored(tmp_path, MINUTE, seconds=None)
    if content is not None:
        files.run.write_bytes(content)
    assert (only(tmp_path).outcome, only(tmp_path).seconds) == ("stored", None)


def test_a_stored_run_does_not_take_the_seconds_of_one_that_failed_before(tmp_path: Path) -> None:
    files = stored(tmp_path, MINUTE)
    record(files, "failed", "no luck", 99.0)
    os.utime(files.datapackage, (time.time() + 1,) * 2)

    found = only(tmp_path)

    assert (found.outcome, found.seconds, found.error) == ("stored", None, "")


def test_a_run_that_failed_once_it_was_stored_is_listed_as_failed(tmp_path: Path) -> None:
    record(stored(tmp_path, MINUTE), "failed", "the API sends no zip_code any more", 99.0)

    found = only(tmp_path)

    assert (found.outcome, found.rows) == ("failed", 10)
    assert found.error == "the API sends no zip_code any more"


def test_what_no_run_makes_is_no_run(tmp_path: Path) -> None:
    folder = stored(tmp_path, MINUTE).folder
    for name in (
        "notes.txt",
        "20261122T0927Z.notes.txt",
        "20261121T0926Z.document.csv",
        "20261122T2526Z.run.json",
        ".20261122T0928Z.parsed.jsonl.0123abcd.tmp",
    ):
        (folder / name).touch()
    for name in ("2026-13-45", "20261122", "old"):
        (folder.parent / name).mkdir()
    (folder.parents[1] / "file").touch()
    assert only(tmp_path).minute == MINUTE


# --- which, and in which order -------------------------------------------------------------------


def test_the_newest_is_first_over_all_queries(tmp_path: Path) -> None:
    for slug, minutes in (("all", (0, 3, 1441)), (SLUG, (1, 2, 1440))):
        for minute in minutes:
            ended(tmp_path, MINUTE - minute * ONE, "failed", slug=slug)
    found = [(MINUTE - run.minute) // ONE for run in runs_since(tmp_path, datetime.min)]
    assert found == [0, 1, 2, 3, 1440, 1441]


def test_runs_begin_with_the_minute_asked_for(tmp_path: Path) -> None:
    for minute in range(3):
        ended(tmp_path, MINUTE - minute * ONE, "failed")
    assert [run.minute for run in runs_since(tmp_path, MINUTE - ONE)] == [MINUTE, MINUTE - ONE]
    assert [run.minute for run in runs_since(tmp_path, MINUTE - timedelta(seconds=59))] == [MINUTE]


def test_days_before_are_not_read(tmp_path: Path) -> None:
    before = stored(tmp_path, MINUTE).folder.with_name("2026-11-21")
    before.symlink_to(before)  # whoever reads it fails
    assert len(list(runs_since(tmp_path, MINUTE - timedelta(hours=9)))) == 1
    assert newest_run(tmp_path, SLUG)
    with pytest.raises(OSError, match="2026-11-21"):
        list(runs_since(tmp_path, MINUTE - timedelta(hours=10)))


def test_one_damaged_snapshot_costs_no_other_its_place(tmp_path: Path) -> None:
    for minute in range(5):
        stored(tmp_path, MINUTE - minute * ONE)
    next(tmp_path.rglob("*0924Z.datapackage.json")).write_bytes(b"\0")
    assert [run.outcome for run in runs_since(tmp_path, datetime.min)] == [
        "stored",
        "stored",
        "damaged",
        "stored",
        "stored",
    ]


def test_the_newest_run_of_a_query_may_be_a_skipped_one(tmp_path: Path) -> None:
    ended(tmp_path, MINUTE, "skipped")
    stored(tmp_path, MINUTE - timedelta(days=3))
    stored(tmp_path, MINUTE + ONE, slug="all")
    assert newest_run(tmp_path, SLUG) == Run(
        minute=MINUTE, query=SLUG, outcome="skipped", seconds=1.5, error="no luck"
    )
    besides = newest_run(tmp_path, SLUG, besides={"skipped"})
    assert besides
    assert (besides.minute, besides.outcome) == (MINUTE - timedelta(days=3), "stored")


def test_the_newest_run_is_found_behind_empty_days(tmp_path: Path) -> None:
    stored(tmp_path, MINUTE).folder.with_name("2026-11-23").mkdir()
    newest = newest_run(tmp_path, SLUG)
    assert newest
    assert newest.minute == MINUTE


def test_a_query_without_runs_has_no_newest(tmp_path: Path) -> None:
    assert newest_run(tmp_path, SLUG) is None


# --- the command ---------------------------------------------------------------------------------


def test_the_list_is_aligned_under_a_header(tmp_path: Path, listed: Listed) -> None:
    stored(tmp_path, MINUTE, rows=1200, rejected=3)
    ended(tmp_path, MINUTE - ONE, "failed", "no network", slug="all")
    assert listed(*SINCE) == (
        "minute             query  limit  outcome           rows  rejected   seconds  error or changes\n"
        "2026-11-22T09:26Z  ''        10  stored           1,200         3       0.9\n"
        "2026-11-22T09:25Z  ''         0  failed                                 1.5  no network\n"
    )


def test_json_has_the_same_fields_and_null_for_what_is_unknown(tmp_path: Path, listed: Listed) -> None:
    stored(tmp_path, MINUTE, rows=3)
    ended(tmp_path, MINUTE - ONE, "failed", "no \u2192 network")
    first, second = objects(listed("--json", *SINCE))
    assert first == {
        "minute": "2026-11-22T09:26Z",
        "query": SLUG,
        "query_string": "",
        "limit": 10,
        "outcome": "stored",
        "attempt": None,
        "attempts": None,
        "rows": 3,
        "rejected": 0,
        "counts": None,
        "seconds": 0.9,
        "error": None,
    }
    assert (second["rows"], second["rejected"], second["error"]) == (None, None, "no \u2192 network")


def test_only_what_is_wrong_is_listed_when_asked_for(tmp_path: Path, listed: Listed) -> None:
    stored(tmp_path, MINUTE)
    stored(tmp_path, MINUTE - ONE).datapackage.write_bytes(b"")
    ended(tmp_path, MINUTE - 2 * ONE, "failed")
    ended(tmp_path, MINUTE - 3 * ONE, "skipped")
    ended(tmp_path, MINUTE - 4 * ONE, "failed").run.unlink()
    found = objects(listed("--failed", "--json", *SINCE))
    assert [one["outcome"] for one in found] == ["damaged", "failed", "unfinished"]


def test_what_reached_the_database_is_listed_and_is_no_trouble(tmp_path: Path, listed: Listed) -> None:
    merged(tmp_path, MINUTE)
    synced(tmp_path, MINUTE - ONE)
    record(stored(tmp_path, MINUTE - 2 * ONE), "failed", "no database", task="MergeComplaints")
    assert listed(*SINCE).splitlines()[1:] == [
        "2026-11-22T09:26Z  ''        10  merged              10         0       1.9",
        "2026-11-22T09:25Z  ''      sync  synced                                 1.5",
        "2026-11-22T09:24Z  ''        10  failed              10         0       1.5  no database",
    ]
    found = objects(listed("--failed", "--json", *SINCE))
    assert [(one["outcome"], one["rows"], one["error"]) for one in found] == [("failed", 10, "no database")]


@pytest.mark.parametrize(
    ("since", "ages"),
    [([], [0, 23]), (["90m"], [0]), (["25h"], [0, 23]), (["3d"], [0, 23, 49]), (["0m"], [])],
)
def test_an_age_counts_back_from_now(
    tmp_path: Path, listed: Listed, since: list[str], ages: list[int]
) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    made = {f"{now - timedelta(hours=age):%Y-%m-%dT%H:%MZ}": age for age in (0, 23, 49, 100)}
    for age in made.values():
        ended(tmp_path, now - timedelta(hours=age), "failed")
    found = objects(listed("--json", *(["--since", *since] if since else [])))
    assert [made[one["minute"]] for one in found] == ages


@pytest.mark.parametrize(("since", "count"), [("2026-11-22", 2), ("2026-11-22T0926", 1), ("2026-11-21", 3)])
def test_a_day_or_a_minute_is_meant_in_utc(
    tmp_path: Path, listed: Listed, monkeypatch: pytest.MonkeyPatch, since: str, count: int
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    for minute in (MINUTE, MINUTE - ONE, datetime(2026, 11, 21, 23, 59)):
        ended(tmp_path, minute, "failed")
    assert len(objects(listed("--json", "--since", since))) == count


@pytest.mark.parametrize(
    "since", ["", "yesterday", "2026-11-31", "2026-1-2", "2026-11-22T926", "-5m", "5", "5w", "9" * 30 + "d"]
)
def test_any_other_time_is_refused_in_a_line(capsys: pytest.CaptureFixture[str], since: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["runs", f"--since={since}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"luigi-etl runs: error: argument --since: {since!r} is not a day (2026-11-22), a minute "
        "(2026-11-22T0926) or an age (30m, 12h, 7d)"
    )


def test_nothing_in_the_range_names_the_newest_run_there_is(tmp_path: Path, listed: Listed) -> None:
    ended(tmp_path, MINUTE, "skipped", slug="all")
    stored(tmp_path, MINUTE - ONE)
    assert listed("--since", "2026-11-22T0927") == (
        "no runs since 2026-11-22T09:27Z; the newest run is 2026-11-22T09:26Z all, skipped\n"
    )
    assert listed("--failed", *SINCE) == (
        "nothing failed, unfinished or damaged since 2026-11-22T00:00Z; "
        "the newest run is 2026-11-22T09:26Z all, skipped\n"
    )
    assert listed("--json", "--since", "2026-11-22T0927") == "[]\n"


def test_no_runs_at_all_names_the_folder_that_was_looked_in(tmp_path: Path, listed: Listed) -> None:
    assert listed() == f"no runs: there are no snapshots in {tmp_path}/snapshots\n"
    assert listed("--json") == "[]\n"


def test_control_characters_of_an_error_never_reach_the_terminal(tmp_path: Path, listed: Listed) -> None:
    error = f"a{ESCAPE}b\nc\rd\x07e\x9bf\u202eg\u00e9"
    ended(tmp_path, MINUTE, "failed", error, slug=f"x{ESCAPE}")
    out = listed(*SINCE)
    assert out.endswith("  a\\x1b[2Jb\\nc\\rd\\x07e\\x9bf\\u202eg\u00e9\n")
    assert "  x\\x1b[2J         failed" in out
    assert len(out.splitlines()) == 2
    assert objects(listed("--json", *SINCE))[0]["error"] == error


def test_a_long_error_is_listed_whole(tmp_path: Path, listed: Listed) -> None:
    ended(tmp_path, MINUTE, "failed", "long " * 1000 + "end")
    assert listed(*SINCE).endswith("long " * 1000 + "end\n")


# --- queries, as other commands take them --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("", 10, "''        10"),
        ("state=CA", 0, "state=CA      0"),
        (
            "product=Debt collection&state=NY&company=A-newest-1, ~%26 B",
            7,
            "'company=A-newest-1%2C%20~%26%20B&product=Debt%20collection&state=NY'      7",
        ),
    ],
)
def test_a_query_is_listed_as_redo_takes_it(
    tmp_path: Path, listed: Listed, text: str, limit: int, shown: str
) -> None:
    query = parse_query(text)
    ended(tmp_path, MINUTE, "failed", slug=query.slug(limit))

    assert f"Z  {shown}  failed" in listed(*SINCE)
    (found,) = objects(listed("--json", *SINCE))
    assert (parse_query(found["query_string"]), found["limit"]) == (query, limit)
    assert parse_query(shlex.split(shown)[0]) == query


def long_query() -> Query:
    return parse_query("&".join(f"company={letter * 150}" for letter in "abc"))


@pytest.mark.parametrize("slug", [long_query().slug(7), sync_slug(long_query().slug(7))])
def test_a_query_too_long_for_a_name_is_that_of_its_data_package(tmp_path: Path, slug: str) -> None:
    taken(tmp_path, MINUTE, [], query=str(long_query()), limit=7)

    assert query_of(tmp_path, slug) == (str(long_query()), 7)


def test_a_query_too_long_for_a_name_is_shown_as_its_files_are(tmp_path: Path, listed: Listed) -> None:
    slug = long_query().slug(7)
    ended(tmp_path, MINUTE, "failed", slug=slug)

    assert f"Z  {slug}         failed" in listed(*SINCE)
    assert objects(listed("--json", *SINCE))[0]["query_string"] is None


# --- what jobs remember --------------------------------------------------------------------------


def listed_of(root: Path) -> list[tuple[str, str, str]]:
    runs = runs_since(root, datetime.min, of_jobs(root / "service"))
    return [(f"{run.minute:%H%M}", run.outcome, run.error) for run in runs]


def test_a_run_under_way_is_running_at_its_attempt(tmp_path: Path, listed: Listed) -> None:
    luigi.configuration.get_config().set("service", "folder", str(tmp_path / "service"))
    ended(tmp_path, MINUTE, "failed").run.unlink()

    with Job("StoreComplaints.all-newest-10", tmp_path / "service").exclusive(MINUTE, SLUG):
        first = listed(*SINCE)
        record_attempt(3, 11)
        second, (found,) = listed(*SINCE), objects(listed("--json", *SINCE))
    after = listed(*SINCE)

    assert "2026-11-22T09:26Z  ''        10  running\n" in first
    assert "2026-11-22T09:26Z  ''        10  running (attempt 3 of 11)\n" in second
    assert (found["outcome"], found["attempt"], found["attempts"]) == ("running", 3, 11)
    assert "unfinished" in after


def test_a_sync_under_way_that_left_no_file_yet_is_listed(tmp_path: Path) -> None:
    with Job("SyncComplaints.all~sync", tmp_path / "service").exclusive(MINUTE, "all~sync"):
        assert listed_of(tmp_path) == [("0926", "running", "")]
    assert listed_of(tmp_path) == []


def test_a_run_that_was_killed_is_not_running(tmp_path: Path) -> None:
    script = (
        "import os, sys; from datetime import datetime; from pathlib import Path\n"
        "from luigi_etl.common.job_state import Job\n"
        f"with Job('chain', Path(sys.argv[1])).exclusive(datetime(2026, 11, 22, 9, 26), '{SLUG}'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "service")])

    assert listed_of(tmp_path) == []


def test_failures_without_a_record_are_listed(tmp_path: Path) -> None:
    minutes = [MINUTE - at * ONE for at in (0, 1, 2, 60)]
    stored(tmp_path, MINUTE - ONE)
    ended(tmp_path, MINUTE - 2 * ONE, "failed").run.unlink()
    memory = JobState(slug=SLUG).with_unrecorded(minutes, "no room")
    Job("chain", tmp_path / "service").write_state(memory)

    assert listed_of(tmp_path) == [
        ("0926", "failed", "no room"),
        ("0925", "stored", ""),
        ("0924", "failed", "no room"),
        ("0826", "failed", "no room"),
    ]


@pytest.mark.parametrize("outcome", ["synced", "merged"])
def test_what_changed_in_the_database_is_listed(tmp_path: Path, listed: Listed, outcome: Any) -> None:
    files = synced(tmp_path, MINUTE) if outcome == "synced" else merged(tmp_path, MINUTE)
    counts = {"new": 1200, "changed": 3, "withdrawn": 0, "returned": 0}
    write_record(
        files.run,
        RunRecord(outcome=outcome, task="x", ended=datetime.now(timezone.utc), seconds=1.0, counts=counts),
    )

    assert "  1.0  1,200 new, 3 changed, 0 withdrawn, 0 returned\n" in listed(*SINCE)
    assert objects(listed("--json", *SINCE))[0]["counts"] == counts


# --- as its user runs it -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it_without_a_word(chain: Chain) -> None:
    for minute in range(400):
        ended(chain.folder / "data", MINUTE - minute * ONE, "failed", "x" * 500)
    for options in ("", " --json"):
        pipe = f"luigi-etl runs --since 2026-11-21{options} | head -n 2; echo ${{PIPESTATUS[0]}}"
        found = chain.program("bash", "-c", pipe)
        assert found.err == ""
        assert found.out.splitlines()[2:] == ["0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "code", "err"),
    [(">/dev/full", 1, "luigi-etl: error: [Errno 28] No space left on device\n"), (">&-", 0, "")],
)
def test_an_output_that_takes_nothing_is_a_line_at_most(chain: Chain, out: str, code: int, err: str) -> None:
    ended(chain.folder / "data", MINUTE, "failed")
    found = chain.program("bash", "-c", f"luigi-etl runs --since 2026-11-22 {out}")
    assert (found.code, found.err) == (code, err)


@pytest.mark.slow
def test_letters_the_terminal_has_not_are_escaped(chain: Chain) -> None:
    ended(chain.folder / "data", MINUTE, "failed", "no \u2192 network")
    chain.environment["PYTHONIOENCODING"] = "ascii"
    found = chain.program("luigi-etl", "runs", "--since", "2026-11-22")
    assert found.code == 0
    assert found.out.endswith("  no \\u2192 network\n")
