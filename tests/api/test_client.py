import json
import re
import time
from datetime import datetime, timezone
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from requests.structures import CaseInsensitiveDict

from luigi_etl.api.client import Client
from luigi_etl.api.page import Page
from luigi_etl.api.rate_limit import WINDOW_MILLISECONDS
from luigi_etl.api.response import SearchResponse
from luigi_etl.api.session import Response
from luigi_etl.api.settings import Settings
from luigi_etl.api.status import check_status, read_retry_after
from luigi_etl.common.errors import PermanentError, RefusedError, StorageError, TransientError
from luigi_etl.sandbox.state import Throttle
from tests.conftest import Serve
from tests.raw import answer, serving

pytestmark = pytest.mark.libraries

NOWHERE = "http://127.0.0.1:9/"


def fetch(client: Client, size: int = 10, search_after: str | None = None) -> tuple[Page, SearchResponse]:
    with client:
        return client.fetch_page((), size, search_after)


def response(status: int = 429, body: bytes = b"", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, CaseInsensitiveDict(named), body, datetime.now(timezone.utc))


def test_request_is_for_the_newest_without_aggregations(served: Serve) -> None:
    server = served()

    fetch(server.client())

    (asked,) = server.asked
    assert asked.endswith("/?sort=created_date_desc&size=10&no_aggs=true&no_highlight=true")


def test_next_page_has_the_cursor_and_the_same_sort(served: Serve) -> None:
    server = served()

    with server.client() as client:
        _, first = client.fetch_page((), 10, None)
        _, second = client.fetch_page((), 10, first.cursor)

    assert "sort=created_date_desc" in server.asked[1]
    assert f"search_after={first.cursor}" in server.asked[1]
    assert not {hit.id for hit in first.hits.hits} & {hit.id for hit in second.hits.hits}


def test_query_is_sent_before_the_paging(served: Serve) -> None:
    server = served()

    with server.client() as client:
        client.fetch_page((("company", "A & B"), ("state", "CA"), ("state", "NY")), 1, None)

    assert "company=A+%26+B&state=CA&state=NY&sort=" in server.asked[0]


def test_body_is_kept_unchanged(served: Serve) -> None:
    page, _ = fetch(served().client())
    assert page.body.startswith(b'{"took":17,"timed_out":false')


def test_compressed_body_is_decoded(served: Serve) -> None:
    page, response = fetch(served(compress=True).client())

    assert len(response.hits.hits) == 10
    assert page.body.startswith(b"{")


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        "1:status=424",
        "1:status=429",
        "1:status=408",
        "1:status=500",
        "1:status=502",
        "1:status=503",
        "1:status=504",
        "1:cut",
        "1:truncate",
        "1:reset",
        "1:timed_out",
        "1:shards",
        "1:hang",
    ],
)
def test_transient_failure_is_retried(served: Serve, rule: str) -> None:
    undisturbed, _ = fetch(served().client())
    server = served(50, rule)

    page, _ = fetch(server.client(read_timeout=0.3))

    assert page.body == undisturbed.body
    assert len(server.asked) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("status=424", "the search engine did not answer (424: There was an error calling OpenSearch)"),
        ("status=500", "status 500: There was a problem retrieving your request"),
        ("status=502", "status 502"),
        ("cut", "IncompleteRead"),
        ("truncate", "the response is truncated or damaged"),
        ("reset", "Connection reset by peer"),
        ("timed_out", "the search timed out on the server"),
        ("shards", "1 shards of the index failed"),
        ("hang", "no answer in time"),
    ],
)
def test_lasting_failure_is_one_line_with_the_host(served: Serve, rule: str, message: str) -> None:
    server = served(50, f"every 1:{rule}")

    with pytest.raises(TransientError) as caught:
        fetch(server.client(read_timeout=0.2))

    assert message in str(caught.value)
    assert str(caught.value).startswith("127.0.0.1:")
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 4  # one try and three short retries


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("status=400", 'the API refuses the query (400: state: "ZZ" is not a valid choice.)'),
        ("status=403", "blocked at the edge (403, reference 18.5d7a1002.1790000000.1a2b3c4d)"),
        ("status=404", "status 404: Not found.: check [ccdb] url"),
        ("status=410", "status 410: check [ccdb] url"),
        ("status=301", "status 301 to 'https://elsewhere.example/'"),
        ("html", "the response is text/html, not JSON: is the address wrong?"),
    ],
)
def test_permanent_failure_is_not_retried(served: Serve, rule: str, message: str) -> None:
    server = served(50, f"every 1:{rule}")

    with pytest.raises(RefusedError) as caught:
        fetch(server.client())

    assert message in str(caught.value)
    assert len(server.asked) == 1


def test_address_without_slash_is_refused(served: Serve) -> None:
    server = served()
    with pytest.raises(RefusedError, match="must end with a slash"):
        fetch(server.client(url=server.url.rstrip("/")))


def test_query_that_the_engine_always_refuses_is_permanent(served: Serve) -> None:
    server = served()

    with server.client() as client, pytest.raises(RefusedError, match="always refuses this query"):
        client.fetch_page((("search_term", '"unbalanced'), ("field", "all")), 10, None)

    assert server.statuses == [424, 424, 424, 424, 200]


def test_search_term_with_the_engine_down_is_transient(served: Serve) -> None:
    server = served(50, "every 1:status=424")
    with server.client() as client, pytest.raises(TransientError, match="did not answer"):
        client.fetch_page((("search_term", "words"), ("field", "all")), 10, None)


@pytest.mark.slow
def test_retry_waits_as_long_as_the_server_asks(served: Serve) -> None:
    server = served(50, "1:status=429")
    begun = time.monotonic()

    fetch(server.client())

    assert time.monotonic() - begun >= 1.0  # Retry-After: 1
    assert server.statuses == [429, 200]


def test_wait_of_over_a_minute_is_left_to_the_caller(served: Serve) -> None:
    server = served(throttle=Throttle({"json": 0}, window=90))

    with pytest.raises(TransientError, match="status 429: Request was throttled") as caught:
        fetch(server.client())

    assert 60 < caught.value.retry_after <= 90
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("9" * 400, float("inf")),
        ("\u00b2", 0),
        ("soon", 0),
        ("", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_retry_after_is_a_number_or_a_past_date(header: str, seconds: float) -> None:
    assert read_retry_after(response(retry_after=header).headers) == seconds


def test_retry_after_may_be_a_future_date() -> None:
    moment = formatdate(time.time() + 500, usegmt=True)
    assert 490 < read_retry_after(response(retry_after=moment).headers) <= 500


def test_server_message_cannot_control_the_terminal() -> None:
    body = b'{"state": ["\\u001b[31mred\\nline"]}'
    refusal = response(400, body, content_type="Application/JSON; charset=utf-8")

    with pytest.raises(RefusedError) as caught:
        check_status("host", refusal)

    assert str(caught.value) == "host: the API refuses the query (400: state: \\x1b[31mred line)"


def test_wait_beyond_the_deadline_is_not_started() -> None:
    refusal = answer(b"{}", "Retry-After: 60", status="429 Too Many Requests")
    begun = time.monotonic()

    with serving(refusal) as server, pytest.raises(TransientError) as caught:
        fetch(Client(Settings(url=server.url, requests_per_minute=0, deadline=50)))

    assert time.monotonic() - begun < 40
    assert caught.value.retry_after == 60.0


def test_slow_response_ends_at_the_deadline(served: Serve) -> None:
    begun = time.monotonic()

    with pytest.raises(TransientError, match=r"not finished within the deadline of 0\.5 s"):
        fetch(served(50, "every 1:drip=60").client(deadline=0.5))

    assert time.monotonic() - begun < 40


def test_no_request_is_sent_after_the_deadline(served: Serve) -> None:
    server = served()

    with server.client(deadline=0.05) as client:
        time.sleep(0.1)
        with pytest.raises(TransientError, match="deadline"):
            client.fetch_page((), 10, None)

    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (NOWHERE, "127.0.0.1:9: Failed to establish a new connection: [Errno 111] Connection refused"),
        ("http://no.such.host.invalid/", "no.such.host.invalid: Failed to resolve 'no.such.host.invalid'"),
    ],
)
def test_unreachable_host_is_named(url: str, message: str) -> None:
    with pytest.raises(TransientError) as caught:
        fetch(Client(Settings(url=url, requests_per_minute=0, backoff=0)))
    assert message in str(caught.value)


def test_server_without_tls_is_an_ssl_error(served: Serve) -> None:
    server = served()
    with pytest.raises(TransientError, match="(?i)ssl"):
        fetch(server.client(url=server.url.replace("http:", "https:")))


def test_malformed_address_is_permanent() -> None:
    with pytest.raises(PermanentError, match=r"check \[ccdb\] url"):
        fetch(Client(Settings(url="http://*.example/", requests_per_minute=0)))


def test_unusable_pace_file_is_named(served: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a count of requests" * 20)
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=r"cannot count requests in .*file.* \[ccdb\] pace_file"):
            fetch(served().client(requests_per_minute=20, pace_file=path))


def test_wait_for_a_turn_after_the_deadline_is_not_started(served: Serve, tmp_path: Path) -> None:
    server = served()
    client = server.client(requests_per_minute=1, pace_file=tmp_path / "pace", deadline=30)
    begun = time.monotonic()

    with (
        client,
        pytest.raises(TransientError, match="the limit of 1 requests per minute allows no request before"),
    ):
        for _ in range(2):
            client.fetch_page((), 10, None)

    assert time.monotonic() - begun < 20  # the deadline is 30
    assert len(server.asked) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "times"), [(8, 1), (1, 0)])
def test_long_wait_for_a_turn_is_reported_once(
    served: Serve, tmp_path: Path, seconds: int, times: int
) -> None:
    url = served().url
    host = urlsplit(url).netloc
    sent = int(time.time() * 1000) - WINDOW_MILLISECONDS + seconds * 1000
    (tmp_path / "pace").write_text(json.dumps({host: [sent]}))
    messages: list[str] = []

    fetch(Client(Settings(url=url, requests_per_minute=1, pace_file=tmp_path / "pace"), messages.append))

    assert len(messages) == times
    then = r"next request at \d\d:\d\d:\d\d UTC, in [78] s"
    wait = rf"{then}: {host}: the limit of 1 requests per minute is reached"
    assert all(re.fullmatch(wait, message) for message in messages)
