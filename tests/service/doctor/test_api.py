"""The check of the API and the clock."""

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import luigi
import pytest

from tests.conftest import Chain, Serve
from tests.service.doctor.helpers import (
    HOUR,
    ONE,
    RunCheck,
    failure_of,
    findings_of,
)

pytestmark = pytest.mark.slow


def test_answering_api_passes_after_one_request(chain: Chain, served: Serve) -> None:
    server = served()

    ((well, message),) = findings_of(chain, "API and clock", server.url)

    assert (well, message) == (True, f"{server.url.split('/')[2]} answers")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("status=403", "blocked at the edge (403, reference 18.5d7a1002.1790000000.1a2b3c4d): set [ccdb]"),
        ("html", "the response is text/html, not JSON: is the address wrong? [ccdb] url must end"),
        ("status=302", "status 302 to 'https://elsewhere.example/', which is not followed: check"),
        ("status=429", "status 429: Request was throttled. "),
        ("status=503", "status 503: if this persists, check the network and [ccdb] url"),
        ("status=424", "the search engine did not answer (424: "),
        ("cut", "if this persists, check the network and [ccdb] url"),
        ("reset", "if this persists, check the network and [ccdb] url"),
    ],
)
def test_failing_api_is_reported_after_one_request(
    chain: Chain, served: Serve, event: str, message: str
) -> None:
    server = served(50, f"every 1:{event}")

    assert message in failure_of(chain, "API and clock", server.url)
    assert len(server.asked) == 1


def test_unreachable_api_fails(chain: Chain) -> None:
    message = failure_of(chain, "API and clock")

    assert message.startswith("127.0.0.1:9: Failed to establish a new connection: ")
    assert message.endswith("Connection refused: if this persists, check the network and [ccdb] url")


def test_unusable_pace_file_fails_without_a_request(chain: Chain, served: Serve) -> None:
    chain.configure("ccdb", pace_file=chain.folder)

    server = served()

    assert "make room or give access there, or set [ccdb] pace_file to another file" in failure_of(
        chain, "API and clock", server.url
    )
    assert server.asked == []


@contextlib.contextmanager
def dated(date: str) -> Iterator[str]:
    """Serve an API with this Date header, or without one; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Content-Type", "application/json")
            if date:
                self.send_header("Date", date)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def http_date(since_now: timedelta = timedelta()) -> str:
    return format_datetime(datetime.now(timezone.utc) + since_now, usegmt=True)


@pytest.mark.parametrize("off", [HOUR, -HOUR])
def test_wrong_clock_fails(chain: Chain, off: timedelta) -> None:
    with dated(http_date(off)) as url:
        message = failure_of(chain, "API and clock", url)

    ours, theirs = map(datetime.fromisoformat, re.findall(r"[0-9-]{10} [0-9:]{4}[0-9]", message))

    assert abs(theirs - ours - off) <= ONE
    assert message.endswith(": set the clock, and keep it right with NTP")


@pytest.mark.parametrize(
    "date",
    [
        lambda: http_date(4 * ONE),
        lambda: http_date(-4 * ONE),
        lambda: http_date().replace("GMT", "-0000"),
        lambda: "",
        lambda: "soon",
        lambda: "Sun, 22 Nov 2026 09:26:00 +99999999999999999999",
    ],
    ids=["ahead", "behind", "unknown zone", "missing", "not a date", "invalid zone"],
)
def test_small_or_unknown_clock_skew_passes(here: RunCheck, date: Callable[[], str]) -> None:
    with dated(date()) as url:
        luigi.configuration.get_config().set("ccdb", "url", url)
        assert [well for well, _ in here("API and clock")] == [True]
