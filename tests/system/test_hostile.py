"""Responses that try to exhaust memory or time: each gives a result or a one-line error."""

import gzip
import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from socket import create_server, socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luigi_etl.api.body import (
    MOST_BYTES,
    MOST_RATIO,
    UnusableBodyError,
    WebError,
    read_beginning,
    read_body,
)
from luigi_etl.api.client import Client
from luigi_etl.api.contradiction import find_contradiction_in_page
from luigi_etl.api.response import read_response
from luigi_etl.api.session import Session, Timeouts
from luigi_etl.api.settings import Settings
from luigi_etl.api.status import check_status
from luigi_etl.common.errors import EtlError, RefusedError, TransientError
from luigi_etl.snapshot.decoding import read_page
from luigi_etl.snapshot.extract import Walk, extract
from tests.api.test_client import response
from tests.raw import Sent, answer, page, serving

MOST_MEMORY = 250_000  # kB
HEAD = "HTTP/1.1 {} X\r\nContent-Type: application/json\r\n"


def fetch(sent: Sent, query: tuple[tuple[str, str], ...] = (), **others: Any) -> None:
    quick = {"requests_per_minute": 0, "backoff": 0.0, **others}
    with serving(sent) as server, Client(Settings(server.url, **quick)) as client:
        client.fetch_page(query, 10, None)


# --- size ----------------------------------------------------------------------------------------


def endless(start: str, piece: bytes, most: int) -> Callable[[socket], None]:
    """Return a sender that repeats a piece."""

    def send(connection: socket) -> None:
        connection.sendall(start.encode())
        for _ in range(most // len(piece)):
            connection.sendall(piece)

    return send


def zipped(body: bytes, *headers: str) -> bytes:
    return answer(gzip.compress(body, 9), *headers)


def wide(hits: bytes) -> bytes:
    return answer(b'{"hits":{"total":1,"hits":[' + hits + b"]}}")


BLANKS = b" " * (1 << 20)


def attacks() -> dict[str, Sent]:
    """Return large responses by name. A constant would cost memory and time in every test process."""
    return {
        "gzip of gzip": zipped(gzip.compress(BLANKS * 64), "Content-Encoding: gzip, gzip"),
        "gzip of blanks": zipped(BLANKS * 64, "Content-Encoding: gzip"),
        "endless blanks": endless(HEAD.format(200) + "\r\n", BLANKS, 1 << 30),
        "error of 100 MB": endless(HEAD.format(500) + "\r\n", BLANKS, 100 << 20),
        "wide text": wide('{{"_id":"{}\U0001f600"}}'.format("x" * (MOST_BYTES - 200)).encode()),
        "damaged wide text": wide('3,{{"_id":"{}\U0001f600"}}'.format("x" * (MOST_BYTES - 200)).encode()),
        "wide field of a complaint": wide(
            '{{"_source":{{"complaint_id":"1","state":"CA","company":"{}\U0001f600"}}}}'.format(
                "x" * (MOST_BYTES - 200)
            ).encode()
        ),
        "empty hits": wide(b"{}," * (MOST_BYTES // 3 - 100) + b"{}"),
        "numbers": wide(b"1," * (MOST_BYTES // 2 - 100) + b"1"),
        "deep hit": wide(b'{"_source":' + b"[" * (MOST_BYTES // 3) + b"]" * (MOST_BYTES // 3) + b"}"),
        "brackets": wide(
            b'{"_source":' + b"[{" * (MOST_BYTES // 4 - 100) + b"}]" * (MOST_BYTES // 4 - 100) + b"}"
        ),
        "wide field": wide(b'{"_source":{"state":[' + b"[]," * 100_000 + b"[]]}}"),
        "many fields": wide(
            b'{"_source":{"complaint_id":"1",'
            + b",".join(b'"%x":0' % number for number in range(590_000))
            + b"}}"
        ),
    }


VISIT = """
import sys
from pathlib import Path
from luigi_etl.database import merge
from luigi_etl.snapshot import parse
from luigi_etl.tasks import chain
from luigi_etl.api.client import Client
from luigi_etl.common.errors import EtlError
from luigi_etl.snapshot.extract import extract
from luigi_etl.api.settings import Settings
for number, url in enumerate(sys.argv[2:]):
    files = [Path(sys.argv[1], f"{number}.{name}") for name in ("gz", "parsed", "rejected", "summary")]
    try:
        with Client(Settings(url, requests_per_minute=0, backoff=0)) as client:
            extract(client, [("state", "CA")], 10, files[0], lambda _: None)
        parse.parse(*files, 10)
    except EtlError as error:
        line = str(error)
        assert line.isprintable() and len(line) < 1000, line
        print(line)
    else:
        print("a result")
    print(next(one for one in open("/proc/self/status") if one.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
def test_no_response_uses_much_memory(tmp_path: Path) -> None:
    answers = attacks()
    with ExitStack() as servers:
        urls = [servers.enter_context(serving(sent)).url for sent in answers.values()]

        visit = subprocess.run(
            [sys.executable, "-c", VISIT, tmp_path, *urls], capture_output=True, text=True, timeout=300
        )

    assert (visit.returncode, visit.stderr) == (0, "")
    (*peaks,) = zip(answers, visit.stdout.splitlines()[::2], visit.stdout.splitlines()[1::2], strict=True)
    assert max(int(peak) for _, _, peak in peaks) < MOST_MEMORY, peaks


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br", "zstd", "gzip, identity"])
def test_only_gzip_once_is_accepted(encoding: str) -> None:
    with pytest.raises(RefusedError, match=f"encoded as {encoding}; only plain gzip was requested"):
        fetch(zipped(page(), f"Content-Encoding: {encoding}"))


def test_too_long_response_names_the_setting() -> None:
    with pytest.raises(UnusableBodyError, match=r"longer than 1 MiB; lower \[ccdb\] page_size"):
        read_body([b"x" * 600_000] * 2, "", 1 << 20)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 100_000])
def test_gzip_in_any_chunks_is_read(chunk: int) -> None:
    text = bytes(range(256)) * 1000
    members = gzip.compress(text) + gzip.compress(b"") + gzip.compress(text)
    chunks = [members[at : at + chunk] for at in range(0, len(members), chunk)]

    assert read_body(chunks, "gzip") == 2 * text
    assert read_body([*chunks, b"\0padding"], "GZIP") == 2 * text


@pytest.mark.parametrize("cut", [1, 9, 12, 500])
def test_gzip_that_is_cut_is_an_error(cut: int) -> None:
    whole = gzip.compress(Random(1).randbytes(1000))

    with pytest.raises(WebError, match="the response is (truncated|damaged)"):
        read_body([whole[:-cut]], "gzip")


def test_ratio_is_checked_before_size() -> None:
    whole = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunks = [whole.compress(BLANKS) for _ in range(20)]

    with pytest.raises(UnusableBodyError, match=f"inflates more than {MOST_RATIO}-fold"):
        read_body(chunks, "gzip")


def test_beginning_of_an_error_body_is_read() -> None:
    def chunks() -> Any:
        yield b"x" * 10
        raise WebError("cut")

    assert read_beginning(chunks(), "") == b"x" * 10
    assert read_beginning(chunks(), "br") == b""
    assert read_beginning([b"x" * 100_000], "", 5) == b"xxxxx"


# --- time ----------------------------------------------------------------------------------------


def drip(start: str, piece: str) -> Callable[[socket], None]:
    def send(connection: socket) -> None:
        connection.sendall(start.encode())
        with suppress(OSError):
            for _ in range(1200):
                time.sleep(0.05)
                connection.sendall(piece.encode())

    return send


@pytest.mark.parametrize(
    "sent",
    [
        drip("", "H"),
        drip("HTTP/1.1 200 OK\r\n", "A: b\r\n"),
        drip("HTTP/1.1 200 OK\r\nA: ", "b"),
        drip("", "HTTP/1.1 100 Continue\r\n\r\n"),
        drip(HEAD.format(200) + "\r\n", " "),
        drip(HEAD.format(500) + "\r\n", " "),
        drip(HEAD.format(200) + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n"),
        drip(HEAD.format(200) + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"),
    ],
    ids=["status", "headers", "header", "continue", "body", "error", "trailers", "chunks"],
)
def test_dripping_response_ends_at_the_deadline(sent: Sent) -> None:
    begun = time.monotonic()

    with pytest.raises(TransientError, match=r"not finished within the deadline of 0\.2 s"):
        fetch(sent, deadline=0.2)

    assert time.monotonic() - begun < 50  # the server drips for 60 s


def test_one_request_has_its_own_time_limit() -> None:
    with (
        serving(drip("HTTP/1.1 200 OK\r\n", "A: b\r\n")) as server,
        pytest.raises(WebError, match=r"the response did not end within 0\.3 s"),
    ):
        Session(server.url, {}).fetch(server.url, Timeouts(5, 5, 0.3))


def test_dripping_tls_handshake_ends_at_the_deadline() -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            drip("\x16\x03\x03\x40\x00\x02\x00\x3f\x7c", "x")(connection)  # a ServerHello of 16 kB

    with create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        begun = time.monotonic()

        with pytest.raises(WebError, match=r"the response did not end within 0\.3 s"):
            Session(url, {}).fetch(url, Timeouts(5, 5, 0.3))

    assert time.monotonic() - begun < 50  # the server drips for 60 s


def test_silent_connection_ends_at_the_deadline() -> None:
    with pytest.raises(TransientError, match="deadline"):
        fetch(drip("", ""), deadline=0.3, read_timeout=60)


@pytest.mark.parametrize(
    "web_page",
    [
        b"Reference" + b" " * 10_000_000 + b"#",
        b"Reference&#" + b"9" * 1_000_000,
        b"&#9;" * 1_000_000,
        b"Reference #" + b"1" * 1_000_000,
        b"\xff" * 1_000_000,
    ],
    ids=["blanks", "reference", "references", "number", "not UTF-8"],
)
def test_block_page_is_parsed_in_linear_time(web_page: bytes) -> None:
    begun = time.process_time()

    with pytest.raises(RefusedError, match="blocked at the edge") as caught:
        fetch(answer(web_page, status="403 Forbidden", kind="text/html"))

    assert len(str(caught.value)) < 500
    assert time.process_time() - begun < 5  # a quadratic search takes minutes


# --- shape ---------------------------------------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [DEEP, b'{"detail":' + DEEP + b"}", b"[" * 900 + b"]" * 900, b"9" * 10_000, b"", b"\xff", b"{"],
    ids=["deep", "deep detail", "less deep", "number", "empty", "not UTF-8", "cut"],
)
@pytest.mark.parametrize("status", [500, 503, 429, 424, 400])
def test_status_decides_for_any_body(status: int, body: bytes) -> None:
    kind = RefusedError if status == 400 else TransientError

    with pytest.raises(kind, match=str(status)) as caught:
        check_status("host", response(status, body, content_type="application/json"))

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (414, (), "the query is too long (414): use fewer or shorter values"),
        (
            301,
            ("Location: https://a.example/\x1b[31m",),
            r"status 301 to 'https://a.example/\\x1b[31m', which",
        ),
        (302, (f"Location: /{'x' * 5000}",), "xxx...', which is not followed"),
        (307, (), "status 307 to 'nowhere'"),
        (204, (), "status 204"),
        (206, (), "status 206"),
        (418, (), "status 418"),
    ],
)
def test_odd_status_is_refused_in_one_line(status: int, headers: tuple[str, ...], message: str) -> None:
    with pytest.raises(RefusedError) as caught:
        fetch(answer(b"", *headers, status=f"{status} X"))

    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b" "])
def test_response_without_content_is_transient(body: bytes) -> None:
    with pytest.raises(TransientError, match="the response is truncated or damaged"):
        fetch(answer(body))


@pytest.mark.parametrize(
    "count", [-1, 2**63, 10**30, 1.5, "7", None, True, [], {"value": -1}, {"value": 2**64}]
)
def test_odd_count_is_one_error(count: object) -> None:
    for body in (page(total=count), page(total=0, _meta={"total_record_count": count}), page(_shards=count)):
        with suppress(TransientError):
            answered = read_response(body)
            assert 0 <= answered.total <= 10**12
            assert (answered.meta.total_record_count or 0) >= 0


@pytest.mark.parametrize("text", ["2026\x1b[31m", "2026\n", "2026\0", "x" * 1_000_000])
def test_odd_index_day_is_one_error(text: str) -> None:
    with pytest.raises(TransientError) as caught:
        fetch(answer(page(_meta={"last_indexed": text})))

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_whole_floats_are_read_as_integers() -> None:
    hit = {"_id": "1", "sort": [1.7e12, "1"], "_source": {}}

    assert read_response(page(hit)).cursor == "1700000000000_1"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SAMPLE: dict[str, Any] = {
    "took": 1,
    "timed_out": False,
    "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {
        "total": {"value": 2, "relation": "eq"},
        "max_score": None,
        "hits": [
            {
                "_id": str(number),
                "_score": None,
                "_source": {
                    "complaint_id": str(number),
                    "state": "CA",
                    "product": "A",
                    "sub_product": "x",
                    "date_received": "2026-07-01T10:00:00.000Z",
                },
                "sort": [1_782_900_000_000 - number, str(number)],
            }
            for number in (1, 2)
        ],
    },
    "_meta": {"last_indexed": "2026-07-02", "total_record_count": 5, "is_data_stale": False},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each value in a document, including the root."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = json.loads(json.dumps(document))
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return changed


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(places(SAMPLE)), json_values, st.sampled_from(["", "_", "\ud800"]))
def test_any_json_gives_a_result_or_one_error(path: tuple[Any, ...], value: Any, more: str) -> None:
    changed = with_value(SAMPLE, path, value)
    if isinstance(changed, dict) and more:
        changed[more] = json.loads(json.dumps(value))
    body = json.dumps(changed).encode()
    query = [("state", "CA"), ("product", "A•x"), ("date_received_min", "2026-07-01"), ("not_state", "NY")]

    try:
        answered = read_response(body)
        find_contradiction_in_page(query, answered, "1782900000005_9")
        walk = Walk(0)
        walk.add(answered, 2)
        read_page(body)
        walk.add(answered, 2)
        line = walk.problem
    except EtlError as error:
        line = str(error)

    assert line.isprintable()
    assert len(line) < 1000


def test_deeply_nested_hit_does_not_stop_a_walk(tmp_path: Path) -> None:
    good = SAMPLE["hits"]["hits"][0]
    deep = b'{"_id":"2","sort":[5,"2"],"_source":{"new":' + DEEP + b"}}"
    body = page(good, total=2).replace(b"}]}}", b"}, " + deep + b"]}}")
    with serving(answer(body)) as server, Client(Settings(server.url, requests_per_minute=0)) as client:
        extract(client, (), 0, tmp_path / "gz", lambda _: None)

    assert [hit.id for hit in read_response(body).hits.hits] == ["1", "2"]
    assert read_response(body).cursor == "5_2"
