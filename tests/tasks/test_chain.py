"""The chain as a user runs it: real programs, real HTTP, real files."""

import csv
import fcntl
import gzip
import json
import os
import pty
import random
import re
import resource
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Chain, Serve, with_peak_memory

pytestmark = pytest.mark.slow

MINUTE = ("--timestamp", "2026-11-22T0926")
PREFIX = "20261122T0926Z"
SUFFIXES = {
    "document.csv",
    "extracted.jsonl.gz",
    "parsed.jsonl",
    "rejected.jsonl",
    "summary.json",
    "complaints.csv",
    "datapackage.json",
    "run.json",
}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def snapshot_files(chain: Chain) -> dict[str, bytes]:
    """Return the files of the snapshot except run.json, which holds the time of the run."""
    files = [path for path in chain.files() if path.parent.name == "2026-11-22"]
    return {path.name: path.read_bytes() for path in files if not path.name.endswith(".run.json")}


def test_run_writes_its_files_and_prints_one_line(chain: Chain, served: Serve) -> None:
    run = chain.luigi(*MINUTE, url=served(1000).url)

    folder = "data/snapshots/all-newest-10/2026-11-22"
    assert run.out == (
        "10 complaints of 1,000 that match (of the sandbox, not CFPB data): "
        f"{folder}/{PREFIX}.complaints.csv\n"
    )
    assert (run.code, run.err) == (0, "")
    assert {path.name for path in (chain.folder / folder).iterdir()} == {
        f"{PREFIX}.{name}" for name in SUFFIXES
    }
    assert len(rows(chain.folder / "data/latest/all-newest-10.csv")) == 10


def test_default_timestamp_is_the_current_utc_minute(chain: Chain, served: Serve) -> None:
    before = time.strftime("%Y%m%dT%H%MZ", time.gmtime())

    chain.luigi(url=served().url)

    after = time.strftime("%Y%m%dT%H%MZ", time.gmtime())
    assert before <= chain.file(".datapackage.json").name.split(".")[0] <= after


def test_finished_minute_is_not_run_again(chain: Chain, served: Serve) -> None:
    server = served()
    chain.luigi(*MINUTE, url=server.url)
    before = {path: path.stat().st_mtime_ns for path in chain.files()}

    run = chain.luigi(*MINUTE, url=server.url)

    assert (run.code, run.out.split(":")[0]) == (0, "already stored")
    assert {path: path.stat().st_mtime_ns for path in chain.files()} == before
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "deleted",
    [
        ("datapackage.json",),
        ("complaints.csv", "datapackage.json"),
        ("document.csv", "complaints.csv", "datapackage.json"),
        ("parsed.jsonl", "complaints.csv", "datapackage.json"),
        (
            "summary.json",
            "rejected.jsonl",
            "parsed.jsonl",
            "document.csv",
            "complaints.csv",
            "datapackage.json",
        ),
    ],
)
def test_deleted_files_are_rebuilt_offline_and_equal(
    chain: Chain, served: Serve, deleted: tuple[str, ...]
) -> None:
    chain.luigi(*MINUTE, url=served().url)
    before = snapshot_files(chain)
    for suffix in deleted:
        chain.file(f"{PREFIX}.{suffix}").unlink()

    run = chain.luigi(*MINUTE, "--ccdb-retries", "0", url="http://127.0.0.1:9/")

    assert run.code == 0
    assert snapshot_files(chain) == before


def test_queries_and_limits_of_one_minute_share_no_file(chain: Chain, served: Serve) -> None:
    url = served(200).url

    for arguments in (
        (),
        ("--limit", "5"),
        ("--limit", "0"),
        ("--query", "state=CA"),
        ("--query", "state=TX"),
    ):
        assert chain.luigi(*MINUTE, *arguments, url=url).code == 0

    assert {path.name for path in (chain.folder / "data/latest").glob("*.csv")} == {
        "all-newest-10.csv",
        "all-newest-5.csv",
        "all.csv",
        "state=CA-newest-10.csv",
        "state=TX-newest-10.csv",
    }


def test_query_returns_exactly_the_matching_complaints(chain: Chain, served: Serve) -> None:
    server = served(500)
    query = "product=Mortgage&product=Debt+collection&date_received_min=2026-08-01&not_state=FL"
    assert chain.luigi(*MINUTE, "--limit", "0", "--query", query, url=server.url).code == 0
    expected = {
        row.identifier
        for row in server.sandbox.index.rows.values()
        if row.source["product"] in ("Mortgage", "Debt collection")
        and row.received >= "2026-08-01"
        and row.source["state"] != "FL"
    }
    assert {row["Complaint ID"] for row in rows(chain.file(".complaints.csv"))} == expected
    assert expected


def test_query_without_matches_succeeds_with_a_warning(chain: Chain, served: Serve) -> None:
    run = chain.luigi(*MINUTE, "--query", "company=equifax", url=served().url)

    assert run.code == 0
    assert "no complaint matches company=equifax; values must match exactly" in run.err
    assert rows(chain.file(".complaints.csv")) == []


def test_older_minute_does_not_replace_the_newest_csv(chain: Chain, served: Serve) -> None:
    server = served(50)
    chain.luigi(*MINUTE, url=server.url)
    newest = (chain.folder / "data/latest/all-newest-10.csv").read_bytes()
    server.sandbox.index.vanish(40)
    older = chain.luigi("--timestamp", "2026-11-22T0925", url=server.url)
    assert older.err == "StoreComplaints: data/latest/all-newest-10.csv is from a newer minute and stays\n"
    assert (chain.folder / "data/latest/all-newest-10.csv").read_bytes() == newest
    chain.luigi("--timestamp", "2026-11-22T0927", url=server.url)
    assert (chain.folder / "data/latest/all-newest-10.csv").read_bytes() != newest


def test_invalid_hits_are_rejected_with_a_warning(chain: Chain, tmp_path: Path) -> None:
    good = {"complaint_id": "12345", "date_received": "2026-09-01T10:00:00.000Z", "state": "CA"}
    bad = {"complaint_id": "67890", "date_received": "2026-02-30T10:00:00.000Z"}
    hits = [
        {"_id": source["complaint_id"], "sort": [10 - place, source["complaint_id"]], "_source": source}
        for place, source in enumerate((good, bad))
    ]
    (tmp_path / "recorded.json").write_text(json.dumps({"hits": {"hits": hits}}))
    sandbox = ("luigi-etl", "sandbox", "--replay", "recorded.json", "--", *chain.luigi_command(*MINUTE))
    run = chain.program(*sandbox)
    assert run.code == 30
    assert "ParseComplaints: 1 of 2 hits are not valid complaints, see data/" in run.err
    assert "StoreComplaints: 1 of 2 hits are not valid complaints; the API no longer sends company" in run.err
    rejected = json.loads(chain.file(".rejected.jsonl").read_text())
    assert (rejected["path"], rejected["hit"]["_source"]) == ("$._source.date_received", bad)
    assert [row["Complaint ID"] for row in rows(chain.file(".complaints.csv"))] == ["12345"]
    assert not (chain.folder / "data/latest").exists()


# --- failures ------------------------------------------------------------------------------------


def test_temporary_failure_is_tried_eleven_times(chain: Chain) -> None:
    run = chain.luigi(*MINUTE, url="http://127.0.0.1:9/")
    assert run.code == 30
    lines = run.err.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith(
        "ExtractComplaints: attempt 1 of 11: 127.0.0.1:9: Failed to establish a new connection: "
        "[Errno 111] Connection refused; next at "
    )
    assert lines[10].startswith("ERROR: ExtractComplaints: attempt 11 of 11: 127.0.0.1:9: Failed")
    assert [path.name for path in chain.files()] == [f"{PREFIX}.document.csv", f"{PREFIX}.run.json"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("status=400", "ERROR: ExtractComplaints: 127.0.0.1:{port}: the API refuses the query (400: state"),
        (
            "status=403",
            "ERROR: ExtractComplaints: 127.0.0.1:{port}: blocked at the edge (403, reference 18.5d",
        ),
        (
            "status=404",
            "ERROR: ExtractComplaints: 127.0.0.1:{port}: status 404: Not found.: check [ccdb] url",
        ),
        ("html", "ERROR: ExtractComplaints: 127.0.0.1:{port}: the response is text/html, not JSON"),
    ],
)
def test_permanent_failure_is_one_line_and_one_request(
    chain: Chain, served: Serve, rule: str, message: str
) -> None:
    server = served(50, f"every 1:{rule}")

    run = chain.luigi(*MINUTE, url=server.url)

    assert run.code == 30
    assert run.err.startswith(message.format(port=server.url.split("/")[2].split(":")[1]))
    assert len(run.err.splitlines()) == 1
    assert len(server.asked) == 1


FAULTS = [
    "status=429",
    "status=424",
    "status=503",
    "hang",
    "cut",
    "reset",
    "timed_out",
    "shards",
    "truncate",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_do_not_change_the_files(chain: Chain, served: Serve, fault: str) -> None:
    arguments = (*MINUTE, "--limit", "0", "--ccdb-page-size", "20", "--ccdb-read-timeout", "0.5")
    server = served(50)  # one server, so that both runs have one address
    assert chain.luigi(*arguments, url=server.url).code == 0
    undisturbed = snapshot_files(chain)
    for path in chain.files():
        path.unlink()
    server.sandbox.script = Script([read_rule(f"5:{fault}"), read_rule(f"4:{fault}", repeated=True)])
    assert chain.luigi(*arguments, url=server.url).code == 0
    assert snapshot_files(chain) == undisturbed
    assert len(server.asked) > 6


def test_constantly_changing_index_fails_with_the_reason(chain: Chain, served: Serve) -> None:
    server = served(50, "every 1:arrive=1")

    run = chain.luigi(
        *MINUTE, "--limit", "0", "--ccdb-page-size", "20", "--ccdb-retries", "1", url=server.url
    )

    assert run.code == 30
    assert "3 times and were never complete: the number of matches changed from" in run.err.splitlines()[-1]
    assert [path.name for path in chain.files()] == [f"{PREFIX}.document.csv", f"{PREFIX}.run.json"]


def test_killed_run_resumes_and_fetches_no_page_twice(chain: Chain, served: Serve) -> None:
    arguments = (*MINUTE, "--limit", "0", "--ccdb-page-size", "25")
    undisturbed = served(1000)
    assert chain.luigi(*arguments, url=undisturbed.url).code == 0
    expected = {name: content for name, content in snapshot_files(chain).items() if name.endswith(".csv")}
    for path in chain.files():
        path.unlink()
    server = served(1000)
    moments = random.Random(2026)
    for _ in range(12):
        process = chain.start(*chain.luigi_command(*arguments), url=server.url)
        time.sleep(moments.uniform(0.3, 1.6))
        process.kill()
        process.communicate()
        for path in chain.files():
            if path.name.endswith(".extracted.jsonl.gz"):
                assert gzip.decompress(path.read_bytes()).count(b"\n") == 40
            if path.name.endswith(".complaints.csv"):
                assert path.read_bytes() == expected[path.name]
    assert chain.luigi(*arguments, url=server.url).code == 0
    assert {name: snapshot_files(chain)[name] for name in expected} == expected
    whole = [path for path, status in server.sandbox.requests if status == 200]
    # Only a page in flight at the kill is requested again.
    assert len(set(whole)) == 40
    assert len(whole) <= 40 + 12


def test_interrupted_run_prints_how_to_resume(chain: Chain, served: Serve) -> None:
    server = served(50, "3:hang")
    arguments = (*MINUTE, "--limit", "0", "--ccdb-page-size", "20")
    process = chain.start(*chain.luigi_command(*arguments), url=server.url)
    deadline = time.monotonic() + 20
    while len(server.asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=30)

    assert process.returncode == -signal.SIGINT  # a shell shows it as 130
    assert err == (
        "ExtractComplaints: interrupted; complete pages are kept: resume with --timestamp 2026-11-22T0926\n"
    )
    assert chain.luigi(*arguments, url=server.url).code == 0
    assert len(server.asked) == 4


@pytest.mark.parametrize("room", [400, 1_500, 5_000, 12_000, 40_000])
def test_full_disk_is_one_line_and_leaves_no_partial_file(chain: Chain, served: Serve, room: int) -> None:
    """A limit on the size of files stands for a full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    url = served(100).url
    arguments = (*MINUTE, "--limit", "0")
    chain.environment["COVERAGE_PROCESS_CONFIG"] = ""  # coverage writes large files
    run = chain.luigi(*arguments, url=url, preexec_fn=limit)
    assert run.code == 30
    assert len(run.err.splitlines()) == 1
    assert "cannot write data/snapshots/all/2026-11-22/20261122T0926Z." in run.err
    assert "File too large; make room or give access there" in run.err
    assert not [path for path in chain.files() if path.name.endswith(".tmp") or path.stat().st_size > room]
    assert chain.luigi(*arguments, url=url).code == 0
    assert len(rows(chain.file(".complaints.csv"))) == 100


def test_unwritable_root_is_one_line_with_the_path(chain: Chain, served: Serve) -> None:
    (chain.folder / "file").touch()

    run = chain.luigi(*MINUTE, "--storage-root", "file/data", url=served().url)

    assert run.code == 30
    assert all("cannot write file/data/snapshots/all-newest-10/" in line for line in run.err.splitlines())
    assert all(line.startswith("ERROR: ") for line in run.err.splitlines())


def test_damaged_pages_are_one_line_and_not_parsed(chain: Chain, served: Serve) -> None:
    chain.luigi(*MINUTE, url=served().url, task="ExtractComplaints")
    path = chain.file(".extracted.jsonl.gz")
    path.write_bytes(path.read_bytes()[:-20])

    run = chain.luigi(*MINUTE, url=served().url)

    assert run.code == 30
    assert f"ERROR: ParseComplaints: {path.relative_to(chain.folder)} is damaged after byte 0" in run.err
    assert not chain.files(".parsed.jsonl")


def test_query_like_a_path_stays_inside_the_root(chain: Chain, served: Serve) -> None:
    run = chain.luigi(*MINUTE, "--query", "company=../../x&issue=" + "/" * 200, url=served().url)

    assert run.code == 0
    assert {path.relative_to(chain.folder).parts[0] for path in chain.folder.rglob("*.csv")} == {"data"}


def test_columns_are_chosen_and_ordered_by_api_name(chain: Chain, served: Serve) -> None:
    chain.luigi(
        *MINUTE, "--storage-columns", "complaint_id,state,has_narrative", url=served(era="2021-09").url
    )

    first = rows(chain.file(".complaints.csv"))[0]
    assert list(first) == ["Complaint ID", "State", "Has narrative?"]
    assert first["Has narrative?"] in ("true", "false")


def test_configuration_causes_no_warnings_of_luigi(chain: Chain, served: Serve) -> None:
    chain.environment["PYTHONWARNINGS"] = "default"

    run = chain.luigi(*MINUTE, url=served().url)

    assert (run.code, run.err) == (0, "")


def test_terminal_shows_the_progress_of_a_long_run(chain: Chain, served: Serve) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    arguments = (*MINUTE, "--limit", "0", "--ccdb-page-size", "20")
    process = subprocess.Popen(
        chain.luigi_command(*arguments),
        cwd=chain.folder,
        env={**chain.environment, "CCDB_URL": served(50).url},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    assert process.wait(timeout=60) == 0
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    os.close(theirs)
    assert "\r 40%|" in shown
    assert "| 20 of 50, " in shown
    assert re.search(r"\r +\r\Z", shown)


# --- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [1_000, 10_000])
def test_memory_does_not_grow_with_the_number_of_complaints(
    chain: Chain, served: Serve, page_size: int
) -> None:
    measured = []

    for complaints, minute in ((20_000, "2026-11-22T0901"), (100_000, "2026-11-22T0902")):
        server = served(complaints)
        arguments = ("--limit", "0", "--ccdb-page-size", str(page_size), "--timestamp", minute)
        # Without coverage, which needs memory and time.
        program = with_peak_memory(*chain.luigi_command(*arguments))
        chain.environment["COVERAGE_PROCESS_CONFIG"] = ""
        run = chain.program(*program, url=server.url)
        assert run.code == 0
        measured.append(int(run.err))
        path = chain.files(".complaints.csv")[-1]
        with path.open(encoding="utf-8", newline="") as stream:
            ids = [row["Complaint ID"] for row in csv.DictReader(stream)]
        assert len(ids) == complaints
        assert set(ids) == server.sandbox.index.rows.keys()

    small, large = measured
    assert small < 100_000
    assert large < 100_000
    assert large < small * 1.15  # pages differ a little in size


def test_result_line_that_cannot_be_printed_fails_no_run(chain: Chain, served: Serve) -> None:
    url = served().url
    command = " ".join(chain.luigi_command(*MINUTE))
    assert chain.program("bash", "-c", f"{command} >/dev/full", url=url).code == 0
    chain.environment["PYTHONIOENCODING"] = "latin-1"
    run = chain.luigi("--timestamp", "2026-11-22T0927", "--storage-root", "data_\u65e5", url=url)
    assert (run.code, run.err) == (0, "")
    assert "data_\\u65e5/snapshots" in run.out


def test_extraction_can_be_replayed(chain: Chain, served: Serve) -> None:
    assert chain.luigi(*MINUTE, "--limit", "0", "--ccdb-page-size", "20", url=served(50).url).code == 0
    first = chain.file(".complaints.csv").read_bytes()
    pages = str(chain.file(".extracted.jsonl.gz"))
    again = chain.luigi_command("--limit", "0", "--storage-root", "data/again", *MINUTE)
    assert chain.program("luigi-etl", "sandbox", "--replay", pages, "--", *again).code == 0
    assert next((chain.folder / "data/again").rglob("*.complaints.csv")).read_bytes() == first
