"""Tests of the sandbox's daily file over HTTP: content, editions, faults."""

import itertools
import socket
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
import requests

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.generate import Generator
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.row import row_of
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox, Throttle
from luigi_etl.sandbox.zip_files import MOST_FILES, ZipFiles, ZipSource
from tests.conftest import Serve
from tests.sandbox.requested_files import DAILY, ids_of, open_csv, request, rows_of, validators

COLUMNS = (
    "Date received,Product,Sub-product,Issue,Sub-issue,Consumer complaint narrative,Company public response,"
    "Company,State,ZIP code,Tags,Consumer consent provided?,Submitted via,Date sent to company,"
    "Company response to consumer,Timely response?,Consumer disputed?,Complaint ID"
).split(",")
CONSENT = {"Consumer consent provided?", "Consumer disputed?"}
NARRATIVE = {"Consumer complaint narrative"}
HTML = "text/html; charset=utf-8"


# --- content -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("era", "number", "gone"),
    [
        ("2021-09", 18, set()),
        ("2025-11", 18, set()),
        ("2026-06", 16, CONSENT),
        ("2026-07", 16, CONSENT),
        ("2026-08", 15, CONSENT | NARRATIVE),
    ],
)
def test_file_has_the_columns_of_its_era(served: Serve, era: str, number: int, gone: set[str]) -> None:
    (row,) = rows_of(request(served(1, era=era)))

    assert list(row) == [column for column in COLUMNS if column not in gone]
    assert len(row) == number


def test_file_has_one_member_with_the_time_of_publication(served: Serve) -> None:
    response = request(served())

    member, _ = open_csv(response.content)
    assert response.headers["Content-Type"] == "application/zip"
    assert response.headers["Last-Modified"] == "Sat, 26 Sep 2026 05:00:00 GMT"
    assert (member.filename, member.date_time) == ("complaints.csv", (2026, 9, 26, 5, 0, 0))


def test_file_holds_every_complaint_once(served: Serve) -> None:
    server = served(300)

    ids = ids_of(request(server))

    assert sorted(ids) == sorted(server.sandbox.index.rows)


def test_rows_have_the_values_of_the_index(served: Serve) -> None:
    server = served(300)

    rows = {row["Complaint ID"]: row for row in rows_of(request(server))}

    for identifier, row in server.sandbox.index.rows.items():
        source = row.source
        assert rows[identifier]["Company"] == source["company"]
        assert rows[identifier]["Tags"] == (source["tags"] or "")
        assert rows[identifier]["Date received"] == source["date_received"][:10]
        assert rows[identifier]["Date sent to company"] == (source["date_sent_to_company"] or "")[:10]


def test_narratives_are_unchanged_in_an_era_with_narratives(served: Serve) -> None:
    server = served(100, era="2025-11")

    rows = rows_of(request(server))

    narratives = {row["Complaint ID"]: row["Consumer complaint narrative"] for row in rows}
    assert any("\n" in narrative for narrative in narratives.values())
    assert narratives == {
        identifier: row.source["complaint_what_happened"]
        for identifier, row in server.sandbox.index.rows.items()
    }


def test_rows_end_in_lf_and_quotes_are_only_where_needed(served: Serve) -> None:
    _, content = open_csv(request(served(300)).content)

    lines = content.decode().splitlines()
    assert b"\r" not in content
    assert content.endswith(b"\n")
    assert len(lines) == 301
    assert ",Debt collection," in content.decode()
    assert ',"EQUIFAX, INC.",' in content.decode()


def test_rows_are_unsorted_but_the_same_for_the_same_complaints(served: Serve) -> None:
    first, second = rows_of(request(served(300))), rows_of(request(served(300)))

    days = [row["Date received"] for row in first]
    ids = [row["Complaint ID"] for row in first]
    assert first == second
    assert days not in (sorted(days), sorted(days, reverse=True))
    assert ids not in (sorted(ids), sorted(ids, key=int))


def test_file_of_an_empty_index_has_only_a_header(served: Serve) -> None:
    _, content = open_csv(request(served(0)).content)

    assert content.decode().splitlines() == [
        ",".join(column for column in COLUMNS if column not in CONSENT | NARRATIVE)
    ]


@pytest.mark.slow
def test_memory_for_writing_a_file_does_not_grow_with_it() -> None:
    (source,) = Generator(1, ERAS["2026-08"], 90).complaints(1)
    rows = itertools.repeat(row_of(source), 50_000)
    morning = datetime(2026, 9, 26, 5, tzinfo=timezone.utc)

    files = ZipFiles()

    tracemalloc.start()
    found = files.open("x.zip", ZipSource("x.csv", morning, {"Company": "company"}, rows))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    with ZipFile(found.file) as archive:
        assert archive.getinfo("x.csv").file_size > 500_000
    assert peak < 500_000
    files.close()


# --- editions ------------------------------------------------------------------------------------


def test_file_stays_while_the_index_is_not_loaded_anew(served: Serve) -> None:
    server = served()
    first = request(server)

    server.sandbox.index.arrive(5)
    server.sandbox.index.vanish(5)

    assert request(server).content == first.content


def test_file_holds_the_index_as_loaded_not_as_first_requested(served: Serve) -> None:
    server = served()
    loaded = set(server.sandbox.index.rows)

    server.sandbox.index.arrive(5)

    assert set(ids_of(request(server))) == loaded


def test_reindex_publishes_a_new_file(served: Serve) -> None:
    server = served()
    first = request(server)
    server.sandbox.index.arrive(5)
    server.sandbox.index.reindex()

    second = request(server)

    assert set(ids_of(second)) == set(server.sandbox.index.rows)
    assert first.headers["ETag"] != second.headers["ETag"]
    assert second.headers["Last-Modified"] == "Sat, 26 Sep 2026 05:01:00 GMT"


def test_file_of_the_next_day_has_the_date_of_that_day(served: Serve) -> None:
    server = served()
    server.sandbox.index.move_on(datetime(2026, 9, 27, 12, tzinfo=timezone.utc))
    server.sandbox.index.reindex()

    assert request(server).headers["Last-Modified"] == "Sun, 27 Sep 2026 05:00:00 GMT"


def test_same_complaints_on_another_day_are_another_file(served: Serve) -> None:
    server = served()
    first = request(server)
    server.sandbox.index.reindex()

    second = request(server)

    assert rows_of(first) == rows_of(second)
    assert first.headers["ETag"] != second.headers["ETag"]


def test_file_of_a_sandbox_started_before_five_is_of_the_day_before(served: Serve) -> None:
    night = datetime(2026, 9, 26, 3, tzinfo=timezone.utc)
    server = served(index=generated_index(5, 1, ERAS["2026-08"], 90, night))

    assert request(server).headers["Last-Modified"] == "Fri, 25 Sep 2026 05:00:00 GMT"


def test_era_of_a_file_is_that_of_its_load(served: Serve) -> None:
    server = served(5, "2:yesterday", era="2025-11")
    server.sandbox.index.enter(ERAS["2026-08"])
    server.sandbox.index.reindex()

    today, yesterday = rows_of(request(server))[0], rows_of(request(server))[0]

    assert (len(today), len(yesterday)) == (15, 18)


def test_only_the_newest_files_stay_on_disk(
    served: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = served(5)

    for _ in range(MOST_FILES + 5):
        server.sandbox.index.reindex()
        request(server)

    assert len(list(tmp_path.rglob("*.zip"))) == MOST_FILES


# --- the server ----------------------------------------------------------------------------------


def test_files_are_removed_with_the_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serve(Sandbox(generated_index(5, 1, ERAS["2026-08"], 90))) as url:
        requests.get(url[: url.index("/data-")] + DAILY, timeout=10)
        written = [path for path in tmp_path.rglob("*") if path.is_file()]

    assert len(written) == 1
    assert list(tmp_path.iterdir()) == []


def test_sandbox_without_requests_for_files_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with serve(Sandbox(generated_index(5, 1, ERAS["2026-08"], 90))) as url:
        requests.get(url, timeout=10)

        assert list(tmp_path.iterdir()) == []


def test_concurrent_first_requests_get_the_same_file(served: Serve) -> None:
    server = served(300)

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(request, [server] * 16))

    assert len({response.content for response in responses}) == 1


def test_files_have_no_rate_limit(served: Serve) -> None:
    server = served(1, throttle=Throttle())

    assert {request(server).status_code for _ in range(30)} == {200}


def test_files_are_counted_and_recorded_with_the_api(served: Serve) -> None:
    server = served(1, "3:status=503")

    requests.get(server.url, {"size": "1"}, timeout=10)
    statuses = [request(server, method=method).status_code for method in ("HEAD", "GET")]

    assert statuses == [200, 503]
    assert server.statuses == [200, 200, 503]
    assert server.asked[1:] == [DAILY, DAILY]


def test_unknown_file_is_404(served: Serve) -> None:
    server = served(1)

    for path in ("/ccdb/complaints.json.zip", "/f/documents/CCDB_Export_99.zip", "/f/documents/%2e%2e/x"):
        assert request(server, path).status_code == 404


def test_file_is_not_compressed_again(served: Serve) -> None:
    response = request(served(5, compress=True), Accept_Encoding="gzip")

    assert "Content-Encoding" not in response.headers
    assert len(rows_of(response)) == 5


def test_file_can_not_be_posted(served: Serve) -> None:
    assert request(served(1), method="POST").status_code == 405


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 429, 500, 503])
def test_status_is_an_error_page(served: Serve, status: int) -> None:
    server = served(1, f"1:status={status}")

    response = request(server)

    assert (response.status_code, response.headers["Content-Type"]) == (status, HTML)
    assert response.headers.get("Retry-After") == ("1" if status == 429 else None)
    assert request(server).status_code == 200


def test_status_302_leads_to_an_unreachable_host(served: Serve) -> None:
    assert request(served(1, "1:status=302")).headers["Location"] == "https://elsewhere.example/"


def test_redirect_leads_to_the_file_under_another_host_name(served: Serve) -> None:
    server = served(1, "1:redirect")

    response = request(server)

    target = urlsplit(response.headers["Location"])
    assert response.status_code == 302
    assert (target.hostname, target.port) == ("localhost", urlsplit(server.url).port)
    assert len(rows_of(requests.get(target.geturl(), timeout=10))) == 1


def test_html_is_a_page_with_status_200(served: Serve) -> None:
    response = request(served(1, "1:html"))

    assert (response.status_code, response.headers["Content-Type"]) == (200, HTML)


def test_cut_file_is_shorter_than_its_content_length(served: Serve) -> None:
    server = served(300, "1:cut")

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        request(server)

    assert len(rows_of(request(server))) == 300


def test_cut_file_is_resumed_by_a_range(served: Serve) -> None:
    server = served(300, "2:cut")
    whole = request(server)
    half = len(whole.content) // 2

    with requests.get(server.url[: server.url.index("/data-")] + DAILY, stream=True, timeout=10) as broken:
        received = broken.raw.read(half)
    rest = request(server, Range=f"bytes={half}-", If_Range=whole.headers["ETag"])

    assert rest.status_code == 206
    assert received + rest.content == whole.content


def test_cut_range_is_half_of_the_range(served: Serve) -> None:
    server = served(300, "1:cut")

    with pytest.raises(requests.exceptions.ChunkedEncodingError, match=r"IncompleteRead\(50 bytes read, 50"):
        request(server, Range="bytes=0-99")


def test_truncated_file_is_half_a_zip_with_a_matching_length(served: Serve) -> None:
    server = served(300, "every 2:truncate")
    whole, half = request(server), request(server)
    size = len(whole.content) // 2

    assert (half.status_code, half.headers["Content-Length"]) == (200, str(size))
    assert half.content == whole.content[:size]
    assert request(server, Range="bytes=0-9").headers["Content-Range"].endswith(f"/{len(whole.content)}")
    assert request(server, Range="bytes=0-9").headers["Content-Range"].endswith(f"/{size}")


def test_hanging_file_outlasts_the_client(served: Serve) -> None:
    server = served(1, "1:hang")

    with pytest.raises(requests.ReadTimeout):
        requests.get(server.url[: server.url.index("/data-")] + DAILY, timeout=0.1)


def test_reset_closes_the_connection_without_a_response(served: Serve) -> None:
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        request(served(1, "1:reset"))


@pytest.mark.slow
def test_dripping_file_is_slow_and_complete(served: Serve) -> None:
    server = served(300, "1:drip=0.6")
    start = time.monotonic()

    response = request(server)

    assert time.monotonic() - start >= 0.6
    assert len(rows_of(response)) == 300


def test_dripping_head_sends_no_body(served: Serve) -> None:
    server = served(1, "1:drip=0.1")
    address = urlsplit(server.url)

    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        connection.sendall(b"HEAD %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % DAILY.encode())
        received = b"".join(iter(lambda: connection.recv(65536), b""))

    assert received.endswith(b"\r\n\r\n")


def test_file_without_ranges_is_sent_whole(served: Serve) -> None:
    server = served(1, "1:no_ranges")

    response = request(server, Range="bytes=5-9")

    assert (response.status_code, response.content) == (200, request(server).content)
    assert "Accept-Ranges" not in response.headers


def test_file_without_validators_meets_no_condition(served: Serve) -> None:
    server = served(1, "every 1:no_validators")

    responses = [
        request(server),
        request(server, If_None_Match='"x"', If_Modified_Since="Sun, 27 Sep 2026 05:00:00 GMT"),
        request(server, Range="bytes=5-9", If_Range="Sat, 26 Sep 2026 05:00:00 GMT"),
    ]

    assert [response.status_code for response in responses] == [200, 200, 200]
    assert [validators(response) for response in responses] == [(None, None)] * 3


def test_file_without_a_length_ends_with_the_connection(served: Serve) -> None:
    server = served(300, "1:no_length")

    response = request(server)

    assert "Content-Length" not in response.headers
    assert response.headers["Connection"] == "close"
    assert response.content == request(server).content


def test_cut_file_without_a_length_looks_complete(served: Serve) -> None:
    server = served(300, "1:cut", "1:no_length")

    half, whole = request(server).content, request(server).content

    assert half == whole[: len(whole) // 2]


def test_replaced_file_is_sent_whole_instead_of_a_range(served: Serve) -> None:
    server = served(300, "2:replaced")
    first = request(server)

    second = request(server, Range="bytes=5-", If_Range=first.headers["ETag"])

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["ETag"] != first.headers["ETag"]
    assert second.headers["Last-Modified"] == "Sat, 26 Sep 2026 06:00:00 GMT"


def test_file_published_during_a_download_shows_in_the_next_request(served: Serve) -> None:
    server = served(300, "1:during:arrive=5", "1:during:reindex")
    first = request(server)

    second = request(server, Range="bytes=5-", If_Range=first.headers["ETag"])

    assert len(rows_of(first)) == 300
    assert (second.status_code, len(rows_of(second))) == (200, 305)


def test_change_before_a_request_shows_in_the_file_after_a_reindex(served: Serve) -> None:
    server = served(300, "1:vanish=10", "1:reindex")

    assert len(rows_of(request(server))) == 290


def test_yesterday_is_the_file_of_the_load_before(served: Serve) -> None:
    server = served(300, "1:vanish=10", "1:reindex", "every 2:yesterday")

    today, yesterday, again = request(server), request(server), request(server)

    assert [len(rows_of(response)) for response in (today, yesterday, again)] == [290, 300, 290]
    assert yesterday.headers["Last-Modified"] < today.headers["Last-Modified"]


def test_half_has_the_same_half_of_the_rows_each_time(served: Serve) -> None:
    server = served(300, "2:half", "3:half")

    whole, half, again = request(server), request(server), request(server)

    assert 100 < len(rows_of(half)) < 200
    assert half.content == again.content
    assert set(ids_of(half)) < set(ids_of(whole))
    assert half.headers["ETag"] != whole.headers["ETag"]


def test_empty_file_has_no_rows(served: Serve) -> None:
    assert rows_of(request(served(300, "1:empty"))) == []
