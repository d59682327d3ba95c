"""`luigi-etl runs`: its output and options."""

import json
import shlex
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import luigi
import pytest

from luigi_etl.api.query import Query, parse_query
from luigi_etl.cli.main import run
from luigi_etl.common.job_state import Job, record_attempt
from luigi_etl.snapshot.run_record import RunRecord, write_record
from tests.conftest import Chain
from tests.made import SLUG, ended, merged, record, stored, synced

MINUTE = datetime(2026, 11, 22, 9, 26)
ONE = timedelta(minutes=1)
SINCE = ("--since", "2026-11-22")
ESCAPE = "\x1b[2J"

Listed = Callable[..., str]


@pytest.fixture
def listed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Listed:
    """Give a function that returns the output of `luigi-etl runs` for the test's folder."""
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


def test_list_is_aligned_with_its_header(tmp_path: Path, listed: Listed) -> None:
    stored(tmp_path, MINUTE, rows=1200, rejected=3)
    ended(tmp_path, MINUTE - ONE, "failed", "no network", slug="all")

    assert listed(*SINCE) == (
        "minute             query  limit  outcome           rows  rejected   seconds  error or changes\n"
        "2026-11-22T09:26Z  ''        10  stored           1,200         3       0.9\n"
        "2026-11-22T09:25Z  ''         0  failed                                 1.5  no network\n"
    )


def test_json_has_the_same_fields_and_null_if_unknown(tmp_path: Path, listed: Listed) -> None:
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


def test_failed_option_lists_only_runs_with_problems(tmp_path: Path, listed: Listed) -> None:
    stored(tmp_path, MINUTE)
    stored(tmp_path, MINUTE - ONE).datapackage.write_bytes(b"")
    ended(tmp_path, MINUTE - 2 * ONE, "failed")
    ended(tmp_path, MINUTE - 3 * ONE, "skipped")
    ended(tmp_path, MINUTE - 4 * ONE, "failed").run.unlink()
    found = objects(listed("--failed", "--json", *SINCE))

    assert [one["outcome"] for one in found] == ["damaged", "failed", "unfinished"]


def test_merged_and_synced_runs_are_no_problems(tmp_path: Path, listed: Listed) -> None:
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
def test_age_counts_back_from_now(tmp_path: Path, listed: Listed, since: list[str], ages: list[int]) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    made = {f"{now - timedelta(hours=age):%Y-%m-%dT%H:%MZ}": age for age in (0, 23, 49, 100)}
    for age in made.values():
        ended(tmp_path, now - timedelta(hours=age), "failed")
    found = objects(listed("--json", *(["--since", *since] if since else [])))

    assert [made[one["minute"]] for one in found] == ages


@pytest.mark.parametrize(("since", "count"), [("2026-11-22", 2), ("2026-11-22T0926", 1), ("2026-11-21", 3)])
def test_day_and_minute_are_in_utc(
    tmp_path: Path, listed: Listed, monkeypatch: pytest.MonkeyPatch, since: str, count: int
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    for minute in (MINUTE, MINUTE - ONE, datetime(2026, 11, 21, 23, 59)):
        ended(tmp_path, minute, "failed")

    assert len(objects(listed("--json", "--since", since))) == count


@pytest.mark.parametrize(
    "since", ["", "yesterday", "2026-11-31", "2026-1-2", "2026-11-22T926", "-5m", "5", "5w", "9" * 30 + "d"]
)
def test_invalid_time_is_one_line(capsys: pytest.CaptureFixture[str], since: str) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["runs", f"--since={since}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"luigi-etl runs: error: argument --since: {since!r} is not a day (2026-11-22), a minute "
        "(2026-11-22T0926) or an age (30m, 12h, 7d)"
    )


def test_empty_range_names_the_newest_run(tmp_path: Path, listed: Listed) -> None:
    ended(tmp_path, MINUTE, "skipped", slug="all")
    stored(tmp_path, MINUTE - ONE)

    assert listed("--since", "2026-11-22T0927") == (
        "no runs since 2026-11-22T09:27Z; the newest run is 2026-11-22T09:26Z all, skipped\n"
    )
    assert listed("--failed", *SINCE) == (
        "no failed, unfinished or damaged runs since 2026-11-22T00:00Z; "
        "the newest run is 2026-11-22T09:26Z all, skipped\n"
    )
    assert listed("--json", "--since", "2026-11-22T0927") == "[]\n"


def test_missing_snapshots_are_reported_with_their_folder(tmp_path: Path, listed: Listed) -> None:
    assert listed() == f"no runs: there are no snapshots in {tmp_path}/snapshots\n"
    assert listed("--json") == "[]\n"


def test_control_characters_of_an_error_are_escaped(tmp_path: Path, listed: Listed) -> None:
    error = f"a{ESCAPE}b\nc\rd\x07e\x9bf\u202eg\u00e9"
    ended(tmp_path, MINUTE, "failed", error, slug=f"x{ESCAPE}")
    out = listed(*SINCE)

    assert out.endswith("  a\\x1b[2Jb\\nc\\rd\\x07e\\x9bf\\u202eg\u00e9\n")
    assert "  x\\x1b[2J         failed" in out
    assert len(out.splitlines()) == 2
    assert objects(listed("--json", *SINCE))[0]["error"] == error


def test_long_error_is_listed_completely(tmp_path: Path, listed: Listed) -> None:
    ended(tmp_path, MINUTE, "failed", "long " * 1000 + "end")
    assert listed(*SINCE).endswith("long " * 1000 + "end\n")


# --- queries -------------------------------------------------------------------------------------


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
def test_query_is_listed_as_redo_takes_it(
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


def test_shortened_slug_is_listed_without_a_data_package(tmp_path: Path, listed: Listed) -> None:
    slug = long_query().slug(7)
    ended(tmp_path, MINUTE, "failed", slug=slug)

    assert f"Z  {slug}         failed" in listed(*SINCE)
    assert objects(listed("--json", *SINCE))[0]["query_string"] is None


# --- runs under way, and changes -----------------------------------------------------------------


def test_run_under_way_is_listed_with_its_attempt(tmp_path: Path, listed: Listed) -> None:
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


@pytest.mark.parametrize("outcome", ["synced", "merged"])
def test_changes_in_the_database_are_listed(tmp_path: Path, listed: Listed, outcome: Any) -> None:
    files = synced(tmp_path, MINUTE) if outcome == "synced" else merged(tmp_path, MINUTE)
    counts = {"new": 1200, "changed": 3, "withdrawn": 0, "returned": 0}
    write_record(
        files.run,
        RunRecord(outcome=outcome, task="x", ended=datetime.now(timezone.utc), seconds=1.0, counts=counts),
    )

    assert "  1.0  1,200 new, 3 changed, 0 withdrawn, 0 returned\n" in listed(*SINCE)
    assert objects(listed("--json", *SINCE))[0]["counts"] == counts


# --- the installed program -----------------------------------------------------------------------


@pytest.mark.slow
def test_closed_pipe_ends_the_list_silently(chain: Chain) -> None:
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
def test_output_that_takes_nothing_is_one_line_at_most(chain: Chain, out: str, code: int, err: str) -> None:
    ended(chain.folder / "data", MINUTE, "failed")
    found = chain.program("bash", "-c", f"luigi-etl runs --since 2026-11-22 {out}")

    assert (found.code, found.err) == (code, err)


@pytest.mark.slow
def test_characters_missing_in_the_encoding_are_escaped(chain: Chain) -> None:
    ended(chain.folder / "data", MINUTE, "failed", "no \u2192 network")
    chain.environment["PYTHONIOENCODING"] = "ascii"
    found = chain.program("luigi-etl", "runs", "--since", "2026-11-22")

    assert found.code == 0
    assert found.out.endswith("  no \\u2192 network\n")
