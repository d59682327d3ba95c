"""Tests of conditional requests and byte ranges of the sandbox's files (RFC 9110)."""

import http.client
from urllib.parse import urlsplit

import pytest

from tests.conftest import Serve
from tests.sandbox.requested_files import DAILY, request

BEFORE = "Fri, 25 Sep 2026 05:00:00 GMT"
PUBLISHED = "Sat, 26 Sep 2026 05:00:00 GMT"
AFTER = "Sun, 27 Sep 2026 05:00:00 GMT"
OTHER = '"other"'


# --- byte ranges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-100", slice(100, 101)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-100", slice(-100, None)),
        ("bytes=-99999999", slice(0, None)),
        ("bytes=100-99999999", slice(100, None)),
        ("Bytes= 0-9 ", slice(0, 10)),
    ],
)
def test_range_is_sent_with_its_place(served: Serve, asked: str, part: slice) -> None:
    server = served()
    whole = request(server).content

    response = request(server, Range=asked)

    start, stop, _ = part.indices(len(whole))
    assert (response.status_code, response.content) == (206, whole[part])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert response.headers["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=99999999-999999999", "bytes=-0"])
def test_range_outside_of_the_file_is_416(served: Serve, asked: str) -> None:
    server = served()
    size = len(request(server).content)

    response = request(server, Range=asked)

    assert (response.status_code, response.content) == (416, b"")
    assert response.headers["Content-Range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=9-0",
        "bytes=0-9,20-29",
        "bytes=-",
        "bytes=a-b",
        "bytes=+1-2",
        "lines=0-9",
        f"bytes=0-{'9' * 5000}",
    ],
)
def test_range_that_is_not_one_of_bytes_is_ignored(served: Serve, asked: str) -> None:
    server = served()

    response = request(server, Range=asked)

    assert (response.status_code, response.content) == (200, request(server).content)
    assert "Content-Range" not in response.headers


def test_file_is_complete_from_ranges(served: Serve) -> None:
    server = served()
    whole = request(server).content

    parts = [request(server, Range=f"bytes={at}-{at + 999}").content for at in range(0, len(whole), 1000)]

    assert b"".join(parts) == whole


# --- If-Range ------------------------------------------------------------------------------------


def test_range_of_the_same_file_is_sent(served: Serve) -> None:
    server = served()
    headers = request(server).headers

    by_tag = request(server, Range="bytes=5-9", If_Range=headers["ETag"])
    by_date = request(server, Range="bytes=5-9", If_Range=headers["Last-Modified"])

    assert (by_tag.status_code, by_date.status_code) == (206, 206)


@pytest.mark.parametrize("validator", [OTHER, BEFORE, AFTER, "nonsense"])
def test_range_of_another_file_gets_the_whole_file(served: Serve, validator: str) -> None:
    server = served()

    for asked in ("bytes=5-9", "bytes=99999999-"):
        response = request(server, Range=asked, If_Range=validator)

        assert (response.status_code, response.content) == (200, request(server).content)


def test_weak_etag_is_not_enough_for_a_range(served: Serve) -> None:
    server = served()

    response = request(server, Range="bytes=5-9", If_Range=f"W/{request(server).headers['ETag']}")

    assert response.status_code == 200


# --- If-None-Match, If-Modified-Since ------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_file_with_the_same_etag_is_304(served: Serve, form: str) -> None:
    server = served()
    etag = request(server).headers["ETag"]

    response = request(server, If_None_Match=form.format(etag))

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["ETag"] == etag


def test_file_with_another_etag_is_sent(served: Serve) -> None:
    assert request(served(), If_None_Match=OTHER).status_code == 200


@pytest.mark.parametrize(("date", "status"), [(BEFORE, 200), (PUBLISHED, 304), (AFTER, 304), ("today", 200)])
def test_file_is_304_unless_modified_since(served: Serve, date: str, status: int) -> None:
    assert request(served(), If_Modified_Since=date).status_code == status


def test_etag_counts_more_than_the_date(served: Serve) -> None:
    assert request(served(), If_None_Match=OTHER, If_Modified_Since=AFTER).status_code == 200


def test_unchanged_file_is_304_despite_a_range(served: Serve) -> None:
    assert request(served(), Range="bytes=5-9", If_None_Match="*").status_code == 304


def test_connection_is_reused_after_304(served: Serve) -> None:
    address = urlsplit(served().url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)

    for _ in range(2):
        connection.request("GET", DAILY, headers={"If-None-Match": "*"})
        response = connection.getresponse()
        response.read()

        assert (response.status, response.will_close) == (304, False)


# --- If-Match, If-Unmodified-Since ---------------------------------------------------------------


def test_file_with_another_etag_than_demanded_is_412(served: Serve) -> None:
    server = served()
    etag = request(server).headers["ETag"]

    statuses = [request(server, If_Match=tag).status_code for tag in (etag, "*", OTHER, f"W/{etag}")]

    assert statuses == [200, 200, 412, 412]


@pytest.mark.parametrize(("date", "status"), [(BEFORE, 412), (PUBLISHED, 200), (AFTER, 200), ("today", 200)])
def test_file_modified_since_is_412_on_demand(served: Serve, date: str, status: int) -> None:
    assert request(served(), If_Unmodified_Since=date).status_code == status


# --- HEAD ----------------------------------------------------------------------------------------


def test_head_has_the_headers_of_get(served: Serve) -> None:
    server = served()
    whole = request(server)

    response = request(server, method="HEAD")

    names = ("Content-Type", "Content-Length", "ETag", "Last-Modified", "Accept-Ranges")
    assert (response.status_code, response.content) == (200, b"")
    assert [response.headers[name] for name in names] == [whole.headers[name] for name in names]


def test_head_ignores_a_range(served: Serve) -> None:
    response = request(served(), method="HEAD", Range="bytes=5-9")

    assert response.status_code == 200
    assert "Content-Range" not in response.headers


def test_head_of_an_unchanged_file_is_304(served: Serve) -> None:
    assert request(served(), method="HEAD", If_None_Match="*").status_code == 304
