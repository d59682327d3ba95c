"""Tests of the sandbox over HTTP: responses in each era, exports, rate limit and faults."""

import csv
import http.client
import io
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.export import LARGEST_EXPORT
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.replay import replayed_index
from luigi_etl.sandbox.script import Script, read_rule
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox, Throttle
from tests.conftest import Serve

CONSENT = {"consumer_consent_provided", "consumer_disputed"}
NARRATIVE = {"complaint_what_happened", "has_narrative"}
COLUMNS = (
    "Date received,Product,Sub-product,Issue,Sub-issue,Consumer complaint narrative,Company public response,"
    "Company,State,ZIP code,Tags,Consumer consent provided?,Submitted via,Date sent to company,"
    "Company response to consumer,Timely response?,Consumer disputed?,Complaint ID"
).split(",")
JSON = "application/json"
HTML = "text/html; charset=utf-8"
CONSENT_COLUMNS = {"Consumer consent provided?", "Consumer disputed?"}


def get(url: str, query: str = "size=1&no_aggs=true", **headers: str) -> requests.Response:
    return requests.get(f"{url}?{query}", headers=headers, timeout=10)


def get_hit(url: str) -> dict[str, Any]:
    (hit,) = get(url).json()["hits"]["hits"]
    return dict(hit)


# --- connections ---------------------------------------------------------------------------------


def test_sandbox_listens_on_loopback_only(served: Serve) -> None:
    address = urlsplit(served(1).url)

    assert address.hostname == "127.0.0.1"
    with pytest.raises(OSError, match=r"."):
        socket.create_connection(("127.0.0.2", address.port or 0), timeout=1)


@pytest.mark.parametrize("path", ["", "/trends", "/geo/states"])
def test_any_other_path_is_a_web_page_with_status_200(served: Serve, path: str) -> None:
    response = get(served(1).url.removesuffix("/") + path)

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")


def test_concurrent_requests_are_answered(served: Serve) -> None:
    url = served(50).url

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(get, [url] * 40))

    assert {response.status_code for response in responses} == {200}


def test_connection_is_reused(served: Serve) -> None:
    address = urlsplit(served(1).url)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)

    for _ in range(2):
        connection.request("GET", address.path)
        response = connection.getresponse()
        response.read()

        assert not response.will_close


def test_requests_and_statuses_are_recorded(served: Serve) -> None:
    server = served(1)

    get(server.url, "size=1")
    get(server.url, "size=x")

    assert [path.partition("?")[2] for path in server.asked] == ["size=1", "size=x"]
    assert server.statuses == [200, 400]


# --- methods and content types -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_methods_that_write_are_405(served: Serve, method: str) -> None:
    response = requests.request(method, served(1).url, timeout=10)

    assert (response.status_code, response.json()) == (405, {"detail": f'Method "{method}" not allowed.'})


def test_head_is_405_without_a_body(served: Serve) -> None:
    response = requests.head(served(1).url, timeout=10)

    assert (response.status_code, response.content) == (405, b"")


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        ("application/json", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200, "application/json"),
        ("text/html", 406, "application/json"),
        ("text/csv", 200, "text/csv"),
    ],
)
def test_accept_header_selects_the_content_type(
    served: Serve, accept: str, status: int, content_type: str
) -> None:
    response = get(served(1).url, Accept=accept)

    assert (response.status_code, response.headers["Content-Type"]) == (status, content_type)


@pytest.mark.parametrize(
    ("era", "status"), [("2021-09", 200), ("2025-11", 200), ("2026-06", 200), ("2026-08", 404)]
)
def test_json_format_is_404_in_the_latest_era(served: Serve, era: str, status: int) -> None:
    assert get(served(1, era=era).url, "format=json").status_code == status


@pytest.mark.parametrize("era", ERAS)
def test_unknown_format_is_404(served: Serve, era: str) -> None:
    response = get(served(1, era=era).url, "format=xml")

    assert (response.status_code, response.json()) == (404, {"detail": "Not found."})


def test_response_is_compressed_if_the_client_accepts_gzip(served: Serve) -> None:
    server = served(5, compress=True)

    zipped = get(server.url, **{"Accept-Encoding": "gzip"})
    plain = get(server.url, **{"Accept-Encoding": "identity"})

    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.json() == plain.json()


def test_response_is_not_compressed_by_default(served: Serve) -> None:
    assert "Content-Encoding" not in get(served(5).url, **{"Accept-Encoding": "gzip"}).headers


@pytest.mark.parametrize(
    ("query", "accept", "status", "content_type"),
    [
        ("format=csv", "*/*", 200, "text/csv"),
        ("format=csv", "text/*", 200, "text/csv"),
        ("format=csv", JSON, 406, JSON),
        ("format=default", "text/csv", 406, JSON),
        ("", "application/xml", 406, JSON),
        ("", "*/*,text/csv", 200, "text/csv"),
        ("format=csv&state=ZZ", "*/*", 400, "text/csv"),
    ],
)
def test_format_and_accept_select_the_content_type(
    served: Serve, query: str, accept: str, status: int, content_type: str
) -> None:
    response = get(served(1).url, query, Accept=accept)

    assert (response.status_code, response.headers["Content-Type"]) == (status, content_type)


def test_export_error_lists_only_parameter_names(served: Serve) -> None:
    assert get(served(1).url, "format=csv&state=ZZ&company=").text == "companystate"


def test_options_describes_the_api(served: Serve) -> None:
    response = requests.options(served(1).url, timeout=10)

    assert (response.status_code, response.json()["renders"]) == (200, [JSON, "text/csv"])


@pytest.mark.parametrize(("era", "keys"), [("2021-09", 24), ("2026-08", 20)])
def test_complaint_is_served_by_its_id(served: Serve, era: str, keys: int) -> None:
    url = served(3, era=era).url
    found = get_hit(url)

    content = requests.get(f"{url}{found['_id']}", timeout=10).json()

    (hit,) = content["hits"]["hits"]
    assert content.keys() == {"took", "timed_out", "_shards", "hits"}
    assert "sort" not in hit
    assert len(hit["_source"]) == keys
    assert found["_source"].items() <= hit["_source"].items()
    assert requests.get(f"{url}1", timeout=10).json()["hits"]["hits"] == []


def test_recorded_complaint_keeps_its_keys(served: Serve, recorded: Path) -> None:
    file = recorded / "2021-12-detail.json"
    recording = json.loads(file.read_bytes())
    server = served(era="2021-09", index=replayed_index([file], 1, ERAS["2021-09"]))

    replayed = requests.get(f"{server.url}3146099", timeout=10).json()

    assert replayed["hits"]["hits"][0].keys() == recording["hits"]["hits"][0].keys()
    assert replayed["hits"]["hits"][0]["_source"].keys() == recording["hits"]["hits"][0]["_source"].keys()
    assert replayed["hits"]["total"] == recording["hits"]["total"]


def test_requests_by_id_are_limited_to_five_a_minute(served: Serve) -> None:
    url = served(1, throttle=Throttle()).url

    assert [requests.get(f"{url}7", timeout=10).status_code for _ in range(6)] == [200] * 5 + [429]
    assert get(url).status_code == 200


def test_long_request_line_is_414(served: Serve) -> None:
    server = served(1)

    assert get(server.url, "&".join(["company=A"] * 700)).status_code == 200
    assert get(server.url, "&".join(["company=A"] * 900)).status_code == 414


# --- responses in each era -----------------------------------------------------------------------


def test_response_has_the_keys_of_the_api(served: Serve) -> None:
    content = get(served(3).url).json()

    assert list(content) == ["took", "timed_out", "_shards", "hits", "_meta"]
    assert content["timed_out"] is False
    assert content["_shards"]["failed"] == 0


def test_meta_does_not_depend_on_the_query(served: Serve) -> None:
    url = served(30).url
    newest = get(url, "sort=created_date_desc").json()["hits"]["hits"][0]["_source"]["date_received"]

    assert get(url, "size=0&no_aggs=true&product=Nothing").json()["_meta"] == {
        "license": "CC0",
        "last_updated": f"{newest[:10]}T12:00:00-05:00",
        "last_indexed": "2026-09-26T12:00:00-05:00",
        "total_record_count": 30,
        "is_data_stale": False,
        "has_data_issue": False,
        "break_points": {},
        "sandbox": "30 generated complaints, seed 1, era 2026-08",
    }


@pytest.mark.parametrize(
    ("era", "number", "gone"),
    [
        ("2021-09", 19, set()),
        ("2025-11", 19, set()),
        ("2026-06", 17, CONSENT),
        ("2026-08", 15, CONSENT | NARRATIVE),
    ],
)
def test_complaint_has_the_fields_of_its_era(served: Serve, era: str, number: int, gone: set[str]) -> None:
    keys = get_hit(served(1, era=era).url)["_source"].keys()

    assert len(keys) == number
    assert (CONSENT | NARRATIVE) - keys == gone


@pytest.mark.parametrize(("era", "typed"), [("2021-09", True), ("2025-11", False), ("2026-08", False)])
def test_hits_have_a_type_in_2021_only(served: Serve, era: str, typed: bool) -> None:
    assert ("_type" in get_hit(served(1, era=era).url)) is typed


@pytest.mark.parametrize(
    ("era", "pattern"),
    [
        ("2021-09", r".{10}T12:00:00-05:00"),
        ("2025-11", r".{10}T12:00:00-05:00"),
        ("2026-06", r".{10}T\d\d:\d\d:\d\d\.\d{3}Z"),
        ("2026-08", r".{10}T\d\d:\d\d:\d\d\.\d{3}Z"),
    ],
)
def test_dates_are_instants_since_2026_06(served: Serve, era: str, pattern: str) -> None:
    assert re.fullmatch(pattern, get_hit(served(1, era=era).url)["_source"]["date_received"])


@pytest.mark.parametrize(
    ("era", "honoured"), [("2021-09", False), ("2025-11", False), ("2026-06", False), ("2026-08", True)]
)
def test_no_aggs_is_honoured_since_2026_07(served: Serve, era: str, honoured: bool) -> None:
    assert ("aggregations" not in get(served(1, era=era).url, "no_aggs=true").json()) is honoured


def test_aggregations_are_sent_by_default_and_count_all_matches(served: Serve) -> None:
    content = get(served(60).url, "size=1").json()

    buckets = content["aggregations"]["product"]["product"]["buckets"]
    assert sum(bucket["doc_count"] for bucket in buckets) == 60


@pytest.mark.parametrize(
    ("era", "engine"), [("2021-09", "Elasticsearch"), ("2025-11", "OpenSearch"), ("2026-08", "OpenSearch")]
)
@pytest.mark.parametrize("query", ["size=10001", "search_after=x_1", "search_term=%22"])
def test_request_that_the_engine_refuses_is_424(served: Serve, era: str, engine: str, query: str) -> None:
    response = get(served(1, era=era).url, query)

    assert response.status_code == 424
    assert response.json() == {"error": f"There was an error calling {engine}"}


# --- export --------------------------------------------------------------------------------------


def get_export(url: str, query: str = "") -> list[dict[str, str]]:
    response = get(url, f"format=csv&{query}")
    assert response.status_code == 200, response.text
    return list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))


@pytest.mark.parametrize(
    ("era", "gone"),
    [
        ("2021-09", set()),
        ("2025-11", set()),
        ("2026-06", CONSENT_COLUMNS),
        ("2026-08", CONSENT_COLUMNS | {"Consumer complaint narrative"}),
    ],
)
def test_export_has_the_columns_of_its_era(served: Serve, era: str, gone: set[str]) -> None:
    (row,) = get_export(served(1, era=era).url)

    assert list(row) == [column for column in COLUMNS if column not in gone]


def test_export_rows_end_in_cr_lf(served: Serve) -> None:
    lines = get(served(5).url, "format=csv").content.split(b"\r\n")

    assert len(lines) == 7  # header, five rows, and an empty text after the last line end
    assert not any(b"\n" in line for line in lines)


def test_export_writes_null_as_none(served: Serve) -> None:
    url = served(50).url
    tags = {hit["_id"]: hit["_source"]["tags"] for hit in get(url, "size=50").json()["hits"]["hits"]}

    rows = get_export(url)

    assert {row["Complaint ID"]: row["Tags"] for row in rows} == {
        key: value or "None" for key, value in tags.items()
    }
    assert None in tags.values()


def test_export_ignores_the_size(served: Serve) -> None:
    assert len(get_export(served(50).url, "size=2")) == 50


def test_export_obeys_the_filters(served: Serve) -> None:
    rows = get_export(served(50).url, "state=FL")

    assert 0 < len(rows) < 50
    assert {row["State"] for row in rows} == {"FL"}


def test_export_with_invalid_parameter_is_400(served: Serve) -> None:
    assert get(served(1).url, "format=csv&state=ZZ").status_code == 400


@pytest.mark.parametrize(
    ("era", "pattern"),
    [("2025-11", r"\d\d/\d\d/\d\d"), ("2026-06", r"2026-\d\d-\d\d"), ("2026-08", r"2026-\d\d-\d\d")],
)
def test_export_dates_are_american_before_2026_06(served: Serve, era: str, pattern: str) -> None:
    (row,) = get_export(served(1, era=era).url)

    assert re.fullmatch(pattern, row["Date received"])
    assert re.fullmatch(pattern, row["Date sent to company"])


def test_export_of_too_many_complaints_is_400(served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LARGEST_EXPORT == 100_000
    monkeypatch.setattr("luigi_etl.sandbox.export.LARGEST_EXPORT", 49)
    server = served(50)

    response = get(server.url, "format=csv")

    assert (response.status_code, response.text.strip('"')) == (400, "size")
    assert len(get_export(server.url, "state=FL")) < 49


def test_export_has_no_limit_before_2026_08(served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luigi_etl.sandbox.export.LARGEST_EXPORT", 49)

    assert get(served(50, era="2026-06").url, "format=csv").status_code == 200


# --- rate limit ----------------------------------------------------------------------------------


def test_21st_request_of_a_minute_is_429_with_retry_after(served: Serve) -> None:
    url = served(1, throttle=Throttle()).url

    statuses = [get(url).status_code for _ in range(20)]
    refused = get(url)

    wait = int(refused.headers["Retry-After"])
    assert statuses == [200] * 20
    assert refused.status_code == 429
    assert refused.json() == {"detail": f"Request was throttled. Expected available in {wait} seconds."}
    assert 50 <= wait <= 60


def test_refused_requests_do_not_extend_the_wait(served: Serve) -> None:
    url = served(1, throttle=Throttle({"json": 1, "csv": 1}, window=0.3)).url
    get(url)

    assert get(url).status_code == 429
    limit = time.monotonic() + 5

    while get(url).status_code == 429:
        assert time.monotonic() < limit


def test_rate_limit_window_slides(served: Serve) -> None:
    url = served(1, throttle=Throttle({"json": 2, "csv": 1}, window=0.6)).url

    get(url)
    time.sleep(0.35)
    get(url)
    time.sleep(0.3)  # the first request has left the window, the second has not

    assert [get(url).status_code for _ in range(2)] == [200, 429]


def test_requests_with_status_400_count(served: Serve) -> None:
    url = served(1, throttle=Throttle({"json": 1, "csv": 1})).url

    assert [get(url, "size=x").status_code, get(url).status_code] == [400, 429]


@pytest.mark.parametrize("accept", ["*/*", "text/csv"])
def test_exports_have_a_separate_limit_of_two(served: Serve, accept: str) -> None:
    url = served(1, throttle=Throttle()).url
    query = "" if accept == "text/csv" else "format=csv"

    assert [get(url, query, Accept=accept).status_code for _ in range(3)] == [200, 200, 429]
    assert get(url).status_code == 200


@given(now=st.floats(0, 1e9))
@example(now=262074.293056)  # rounding makes now + 90 - now greater than 90
def test_throttle_wait_is_at_most_its_window(now: float) -> None:
    with patch("luigi_etl.sandbox.state.time.monotonic", return_value=now):
        assert Throttle({"json": 0}, window=90).wait("json") == 90


def test_connections_share_one_rate_limit(served: Serve) -> None:
    url = served(1, throttle=Throttle()).url

    with ThreadPoolExecutor(5) as pool:
        responses = list(pool.map(get, [url] * 25))

    assert sorted(response.status_code for response in responses) == [200] * 20 + [429] * 5


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content_type", "text"),
    [
        (400, JSON, "is not a valid choice"),
        (403, HTML, "Reference #"),
        (404, JSON, "Not found."),
        (424, JSON, "There was an error calling OpenSearch"),
        (429, JSON, "Request was throttled. Expected available in 1 seconds."),
        (500, JSON, "There was a problem retrieving your request"),
        (502, HTML, "502"),
        (503, HTML, "503"),
        (504, HTML, "504"),
    ],
)
def test_error_status_has_the_body_of_the_api(
    served: Serve, status: int, content_type: str, text: str
) -> None:
    response = get(served(1, f"1:status={status}").url)

    assert (response.status_code, response.headers["Content-Type"]) == (status, content_type)
    assert text in response.text


def test_engine_error_names_the_engine_of_the_era(served: Serve) -> None:
    assert "Elasticsearch" in get(served(1, "1:status=424", era="2021-09").url).text


def test_scripted_429_has_retry_after(served: Serve) -> None:
    assert get(served(1, "1:status=429").url).headers["Retry-After"] == "1"


def test_redirect_leads_to_another_host(served: Serve) -> None:
    response = requests.get(served(1, "1:status=302").url, allow_redirects=False, timeout=10)

    assert (response.status_code, response.headers["Location"]) == (302, "https://elsewhere.example/")


def test_html_is_a_web_page_with_status_200(served: Serve) -> None:
    response = get(served(1, "1:html").url)

    assert (response.status_code, response.headers["Content-Type"]) == (200, HTML)


def test_fault_happens_at_its_request_only(served: Serve) -> None:
    url = served(1, "2:status=500").url

    assert [get(url).status_code for _ in range(4)] == [200, 500, 200, 200]


def test_fault_can_happen_at_every_nth_request(served: Serve) -> None:
    url = served(1, "every 2:status=500").url

    assert [get(url).status_code for _ in range(4)] == [200, 500, 200, 500]


def test_hang_outlasts_the_client_and_blocks_nobody_else(served: Serve) -> None:
    url = served(1, "1:hang").url

    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=0.1)

    assert get(url).status_code == 200  # while the first request still hangs


def test_hang_with_a_limit_ends_with_the_response(served: Serve) -> None:
    response = get(served(1, "1:hang=0.2").url)

    assert response.status_code == 200
    assert response.elapsed.total_seconds() >= 0.2


def test_hang_ends_when_the_server_stops() -> None:
    index = generated_index(1, 1, ERAS["2026-08"], 90)
    sandbox = Sandbox(index, throttle=None, script=Script([read_rule("1:hang")]))
    with ThreadPoolExecutor() as pool:
        with serve(sandbox) as url:
            hanging = pool.submit(get, url)
            while not sandbox.requests:
                time.sleep(0.01)

        assert hanging.result(timeout=5).status_code == 200


def test_cut_response_is_shorter_than_its_content_length(served: Serve) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(served(1, "1:cut").url)


def test_truncated_response_is_valid_http_with_half_the_json(served: Serve) -> None:
    url = served(1, "1:truncate").url

    truncated, whole = get(url), get(url)

    assert truncated.status_code == 200
    assert whole.content.startswith(truncated.content)
    assert len(truncated.content) == int(truncated.headers["Content-Length"]) < len(whole.content)
    with pytest.raises(json.JSONDecodeError):
        json.loads(truncated.content)


def test_reset_closes_the_connection_without_a_response(served: Serve) -> None:
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        get(served(1, "1:reset").url)


@pytest.mark.slow
def test_dripping_response_is_complete_despite_the_read_timeout(served: Serve) -> None:
    url = served(1, "1:drip=0.6").url
    start = time.monotonic()

    response = requests.get(url, {"size": "0", "no_aggs": "true"}, timeout=0.4)

    assert time.monotonic() - start >= 0.6
    assert response.json()["hits"]["total"]["value"] == 1


def test_timed_out_sets_its_flag_once(served: Serve) -> None:
    url = served(1, "1:timed_out").url

    assert [get(url).json()["timed_out"] for _ in range(2)] == [True, False]


def test_shards_reports_a_failed_shard_once(served: Serve) -> None:
    url = served(1, "1:shards").url

    assert [get(url).json()["_shards"]["failed"] for _ in range(2)] == [1, 0]


def test_compressed_response_can_be_cut(served: Serve) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(served(1, "1:cut", compress=True).url)
