"""The sandbox over HTTP: what it answers in each era, its throttle, and its faults."""

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

from luigi_etl.sandbox import server
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index, replayed_index
from luigi_etl.sandbox.script import Script, read_rule
from luigi_etl.sandbox.server import Sandbox, Throttle, serve
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


def one_hit(url: str) -> dict[str, Any]:
    (hit,) = get(url).json()["hits"]["hits"]
    return dict(hit)


# --- where it is ---------------------------------------------------------------------------------


def test_it_listens_on_loopback_alone(served: Serve) -> None:
    address = urlsplit(served(1).url)

    assert address.hostname == "127.0.0.1"
    with pytest.raises(OSError, match=r"."):
        socket.create_connection(("127.0.0.2", address.port or 0), timeout=1)


@pytest.mark.parametrize("path", ["", "/trends", "/geo/states"])
def test_without_the_trailing_slash_or_elsewhere_a_web_page_is_200(served: Serve, path: str) -> None:
    answer = get(served(1).url.removesuffix("/") + path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")


def test_many_are_answered_at_once(served: Serve) -> None:
    url = served(50).url

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, [url] * 40))

    assert {answer.status_code for answer in answers} == {200}


def test_a_connection_is_kept_for_the_next_request(served: Serve) -> None:
    address = urlsplit(served(1).url)
    connection = http.client.HTTPConnection(address.netloc, timeout=10)
    for _ in range(2):
        connection.request("GET", address.path)
        answer = connection.getresponse()
        answer.read()
        assert not answer.will_close


def test_it_remembers_what_it_was_asked_and_what_it_answered(served: Serve) -> None:
    there = served(1)
    get(there.url, "size=1")
    get(there.url, "size=x")

    assert [path.partition("?")[2] for path in there.asked] == ["size=1", "size=x"]
    assert there.statuses == [200, 400]


# --- methods and content types -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_than_get_are_405(served: Serve, method: str) -> None:
    answer = requests.request(method, served(1).url, timeout=10)

    assert (answer.status_code, answer.json()) == (405, {"detail": f'Method "{method}" not allowed.'})


def test_head_is_405_without_a_body(served: Serve) -> None:
    answer = requests.head(served(1).url, timeout=10)

    assert (answer.status_code, answer.content) == (405, b"")


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
def test_what_is_accepted_decides_what_comes(
    served: Serve, accept: str, status: int, content_type: str
) -> None:
    answer = get(served(1).url, Accept=accept)

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, content_type)


@pytest.mark.parametrize(
    ("era", "status"), [("2021-09", 200), ("2025-11", 200), ("2026-06", 200), ("2026-08", 404)]
)
def test_format_json_is_gone_since_2026_07(served: Serve, era: str, status: int) -> None:
    assert get(served(1, era=era).url, "format=json").status_code == status


@pytest.mark.parametrize("era", ERAS)
def test_an_unknown_format_is_404(served: Serve, era: str) -> None:
    answer = get(served(1, era=era).url, "format=xml")

    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})


def test_answers_are_compressed_for_who_takes_it(served: Serve) -> None:
    there = served(5, compress=True)
    zipped = get(there.url, **{"Accept-Encoding": "gzip"})
    plain = get(there.url, **{"Accept-Encoding": "identity"})

    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.json() == plain.json()


def test_answers_are_not_compressed_unless_told(served: Serve) -> None:
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
def test_format_and_accept_go_together(
    served: Serve, query: str, accept: str, status: int, content_type: str
) -> None:
    answer = get(served(1).url, query, Accept=accept)

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, content_type)


def test_an_error_of_an_export_is_only_its_names(served: Serve) -> None:
    assert get(served(1).url, "format=csv&state=ZZ&company=").text == "companystate"


def test_options_describes_the_api(served: Serve) -> None:
    answer = requests.options(served(1).url, timeout=10)

    assert (answer.status_code, answer.json()["renders"]) == (200, [JSON, "text/csv"])


@pytest.mark.parametrize(("era", "keys"), [("2021-09", 24), ("2026-08", 20)])
def test_a_complaint_is_answered_by_its_id(served: Serve, era: str, keys: int) -> None:
    url = served(3, era=era).url
    found = one_hit(url)

    content = requests.get(f"{url}{found['_id']}", timeout=10).json()

    (hit,) = content["hits"]["hits"]
    assert content.keys() == {"took", "timed_out", "_shards", "hits"}
    assert "sort" not in hit
    assert len(hit["_source"]) == keys
    assert found["_source"].items() <= hit["_source"].items()
    assert requests.get(f"{url}1", timeout=10).json()["hits"]["hits"] == []


def test_a_recorded_complaint_is_answered_as_it_was(served: Serve, recorded: Path) -> None:
    file = recorded / "2021-12-detail.json"
    answer = json.loads(file.read_bytes())
    there = served(era="2021-09", index=replayed_index([file], 1, ERAS["2021-09"]))

    replayed = requests.get(f"{there.url}3146099", timeout=10).json()

    assert replayed["hits"]["hits"][0].keys() == answer["hits"]["hits"][0].keys()
    assert replayed["hits"]["hits"][0]["_source"].keys() == answer["hits"]["hits"][0]["_source"].keys()
    assert replayed["hits"]["total"] == answer["hits"]["total"]


def test_complaints_by_their_ids_have_a_budget_of_five(served: Serve) -> None:
    url = served(1, throttle=Throttle()).url

    assert [requests.get(f"{url}7", timeout=10).status_code for _ in range(6)] == [200] * 5 + [429]
    assert get(url).status_code == 200


def test_a_line_that_is_too_long_is_414(served: Serve) -> None:
    there = served(1)

    assert get(there.url, "&".join(["company=A"] * 700)).status_code == 200
    assert get(there.url, "&".join(["company=A"] * 900)).status_code == 414


# --- the answer, and what it was in each era -----------------------------------------------------


def test_an_answer_has_the_api_s_keys(served: Serve) -> None:
    answer = get(served(3).url).json()

    assert list(answer) == ["took", "timed_out", "_shards", "hits", "_meta"]
    assert answer["timed_out"] is False
    assert answer["_shards"]["failed"] == 0


def test_meta_describes_the_data_whatever_is_asked(served: Serve) -> None:
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
def test_a_complaint_has_the_keys_of_its_era(served: Serve, era: str, number: int, gone: set[str]) -> None:
    keys = one_hit(served(1, era=era).url)["_source"].keys()

    assert len(keys) == number
    assert (CONSENT | NARRATIVE) - keys == gone


@pytest.mark.parametrize(("era", "typed"), [("2021-09", True), ("2025-11", False), ("2026-08", False)])
def test_hits_have_a_type_in_2021_only(served: Serve, era: str, typed: bool) -> None:
    assert ("_type" in one_hit(served(1, era=era).url)) is typed


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
    assert re.fullmatch(pattern, one_hit(served(1, era=era).url)["_source"]["date_received"])


@pytest.mark.parametrize(
    ("era", "honoured"), [("2021-09", False), ("2025-11", False), ("2026-06", False), ("2026-08", True)]
)
def test_no_aggs_is_honoured_since_2026_07(served: Serve, era: str, honoured: bool) -> None:
    assert ("aggregations" not in get(served(1, era=era).url, "no_aggs=true").json()) is honoured


def test_aggregations_come_unless_refused_and_count_all_matches(served: Serve) -> None:
    answer = get(served(60).url, "size=1").json()

    buckets = answer["aggregations"]["product"]["product"]["buckets"]
    assert sum(bucket["doc_count"] for bucket in buckets) == 60


@pytest.mark.parametrize(
    ("era", "engine"), [("2021-09", "Elasticsearch"), ("2025-11", "OpenSearch"), ("2026-08", "OpenSearch")]
)
@pytest.mark.parametrize("query", ["size=10001", "search_after=x_1", "search_term=%22"])
def test_what_the_engine_refuses_is_424(served: Serve, era: str, engine: str, query: str) -> None:
    answer = get(served(1, era=era).url, query)

    assert answer.status_code == 424
    assert answer.json() == {"error": f"There was an error calling {engine}"}


# --- export --------------------------------------------------------------------------------------


def exported(url: str, query: str = "") -> list[dict[str, str]]:
    answer = get(url, f"format=csv&{query}")
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))


@pytest.mark.parametrize(
    ("era", "gone"),
    [
        ("2021-09", set()),
        ("2025-11", set()),
        ("2026-06", CONSENT_COLUMNS),
        ("2026-08", CONSENT_COLUMNS | {"Consumer complaint narrative"}),
    ],
)
def test_an_export_has_the_columns_of_its_era(served: Serve, era: str, gone: set[str]) -> None:
    (row,) = exported(served(1, era=era).url)

    assert list(row) == [column for column in COLUMNS if column not in gone]


def test_rows_of_an_export_end_in_cr_lf(served: Serve) -> None:
    lines = get(served(5).url, "format=csv").content.split(b"\r\n")

    assert len(lines) == 7  # the header, five rows, and nothing after the last
    assert not any(b"\n" in line for line in lines)


def test_null_is_the_text_none_in_an_export(served: Serve) -> None:
    url = served(50).url
    tags = {hit["_id"]: hit["_source"]["tags"] for hit in get(url, "size=50").json()["hits"]["hits"]}

    assert {row["Complaint ID"]: row["Tags"] for row in exported(url)} == {
        key: value or "None" for key, value in tags.items()
    }
    assert None in tags.values()


def test_an_export_ignores_the_size(served: Serve) -> None:
    assert len(exported(served(50).url, "size=2")) == 50


def test_an_export_obeys_the_filters(served: Serve) -> None:
    rows = exported(served(50).url, "state=FL")

    assert 0 < len(rows) < 50
    assert {row["State"] for row in rows} == {"FL"}


def test_an_export_is_refused_for_bad_parameters(served: Serve) -> None:
    assert get(served(1).url, "format=csv&state=ZZ").status_code == 400


@pytest.mark.parametrize(
    ("era", "pattern"),
    [("2025-11", r"\d\d/\d\d/\d\d"), ("2026-06", r"2026-\d\d-\d\d"), ("2026-08", r"2026-\d\d-\d\d")],
)
def test_dates_of_an_export_are_american_before_2026_06(served: Serve, era: str, pattern: str) -> None:
    (row,) = exported(served(1, era=era).url)

    assert re.fullmatch(pattern, row["Date received"])
    assert re.fullmatch(pattern, row["Date sent to company"])


def test_an_export_of_too_many_is_400_size(served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.LARGEST_EXPORT == 100_000
    monkeypatch.setattr(server, "LARGEST_EXPORT", 49)
    there = served(50)

    answer = get(there.url, "format=csv")

    assert (answer.status_code, answer.text.strip('"')) == (400, "size")
    assert len(exported(there.url, "state=FL")) < 49


def test_an_export_had_no_limit_before_2026_07(served: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LARGEST_EXPORT", 49)

    assert get(served(50, era="2026-06").url, "format=csv").status_code == 200


# --- throttle ------------------------------------------------------------------------------------


def test_request_21_of_a_minute_is_429_and_tells_when_to_come_again(served: Serve) -> None:
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


def test_the_window_slides(served: Serve) -> None:
    url = served(1, throttle=Throttle({"json": 2, "csv": 1}, window=0.6)).url
    get(url)
    time.sleep(0.35)
    get(url)
    time.sleep(0.3)  # the first has left the window, the second has not

    assert [get(url).status_code for _ in range(2)] == [200, 429]


def test_requests_answered_with_400_count(served: Serve) -> None:
    url = served(1, throttle=Throttle({"json": 1, "csv": 1})).url

    assert [get(url, "size=x").status_code, get(url).status_code] == [400, 429]


@pytest.mark.parametrize("accept", ["*/*", "text/csv"])
def test_exports_have_a_budget_of_two_of_their_own(served: Serve, accept: str) -> None:
    url = served(1, throttle=Throttle()).url
    query = "" if accept == "text/csv" else "format=csv"

    assert [get(url, query, Accept=accept).status_code for _ in range(3)] == [200, 200, 429]
    assert get(url).status_code == 200


@given(now=st.floats(0, 1e9))
@example(now=262074.293056)  # where now + 90 - now is more than 90
def test_throttle_asks_for_no_more_than_its_window(now: float) -> None:
    with patch("luigi_etl.sandbox.server.time.monotonic", return_value=now):
        assert Throttle({"json": 0}, window=90).wait("json") == 90


def test_a_client_is_throttled_whatever_connection_it_uses(served: Serve) -> None:
    url = served(1, throttle=Throttle()).url

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(get, [url] * 25))

    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [429] * 5


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content_type", "said"),
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
def test_a_status_comes_with_the_body_it_has_in_reality(
    served: Serve, status: int, content_type: str, said: str
) -> None:
    answer = get(served(1, f"1:status={status}").url)

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, content_type)
    assert said in answer.text


def test_a_failing_engine_is_named_as_in_its_era(served: Serve) -> None:
    assert "Elasticsearch" in get(served(1, "1:status=424", era="2021-09").url).text


def test_a_429_on_demand_tells_when_to_come_again(served: Serve) -> None:
    assert get(served(1, "1:status=429").url).headers["Retry-After"] == "1"


def test_a_redirection_leads_elsewhere(served: Serve) -> None:
    answer = requests.get(served(1, "1:status=302").url, allow_redirects=False, timeout=10)

    assert (answer.status_code, answer.headers["Location"]) == (302, "https://elsewhere.example/")


def test_html_is_a_web_page_with_status_200(served: Serve) -> None:
    answer = get(served(1, "1:html").url)

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, HTML)


def test_a_fault_happens_at_its_request_only(served: Serve) -> None:
    url = served(1, "2:status=500").url

    assert [get(url).status_code for _ in range(4)] == [200, 500, 200, 200]


def test_a_fault_may_happen_at_every_nth_request(served: Serve) -> None:
    url = served(1, "every 2:status=500").url

    assert [get(url).status_code for _ in range(4)] == [200, 500, 200, 500]


def test_a_hang_lasts_longer_than_the_client(served: Serve) -> None:
    url = served(1, "1:hang").url

    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=0.1)
    assert get(url).status_code == 200  # meanwhile


def test_a_hang_of_some_seconds_ends_in_the_answer(served: Serve) -> None:
    answer = get(served(1, "1:hang=0.2").url)

    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.2


def test_a_hang_ends_with_the_server() -> None:
    index = generated_index(1, 1, ERAS["2026-08"], 90)
    sandbox = Sandbox(index, throttle=None, script=Script([read_rule("1:hang")]))
    with ThreadPoolExecutor() as pool:
        with serve(sandbox) as url:
            hanging = pool.submit(get, url)
            while not sandbox.requests:
                time.sleep(0.01)
        assert hanging.result(timeout=5).status_code == 200


def test_a_cut_answer_ends_before_its_announced_length(served: Serve) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        get(served(1, "1:cut").url)


def test_a_truncated_answer_is_whole_http_and_half_a_json(served: Serve) -> None:
    url = served(1, "1:truncate").url
    truncated, whole = get(url), get(url)

    assert truncated.status_code == 200
    assert whole.content.startswith(truncated.content)
    assert len(truncated.content) == int(truncated.headers["Content-Length"]) < len(whole.content)
    with pytest.raises(json.JSONDecodeError):
        json.loads(truncated.content)


def test_a_reset_closes_the_connection_without_an_answer(served: Serve) -> None:
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        get(served(1, "1:reset").url)


@pytest.mark.slow
def test_a_dripping_answer_is_slow_and_whole_and_slips_past_a_read_timeout(served: Serve) -> None:
    url = served(1, "1:drip=0.6").url
    start = time.monotonic()

    answer = requests.get(url, {"size": "0", "no_aggs": "true"}, timeout=0.4)

    assert time.monotonic() - start >= 0.6
    assert answer.json()["hits"]["total"]["value"] == 1


def test_a_page_may_have_timed_out_in_the_engine(served: Serve) -> None:
    url = served(1, "1:timed_out").url

    assert [get(url).json()["timed_out"] for _ in range(2)] == [True, False]


def test_shards_may_have_failed(served: Serve) -> None:
    url = served(1, "1:shards").url

    assert [get(url).json()["_shards"]["failed"] for _ in range(2)] == [1, 0]


def test_a_fault_may_hit_a_compressed_answer(served: Serve) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        get(served(1, "1:cut", compress=True).url)
