"""Servers, proxies and certificates on the loopback interface."""

import base64
import gzip
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from luigi_etl.api.body import MOST_BYTES_OF_ERRORS, WebError
from luigi_etl.api.client import Client
from luigi_etl.api.session import CERTIFICATE_VARIABLES, Session, Timeouts
from luigi_etl.api.settings import Settings
from luigi_etl.common.errors import PermanentError, TransientError

pytestmark = pytest.mark.libraries

CERTIFICATE = Path(__file__).with_name("loopback.pem")
QUICK = Timeouts(5, 5)


class Server(ThreadingHTTPServer):
    """A server that records its requests and connections."""

    daemon_threads = True

    def __init__(self, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer  # with status line and headers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        self.connections.append(connection)
        return connection, peer

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:  # http.server's name
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.wfile.write(self.server.answer)
        self.close_connection = b"close" in self.server.answer

    def do_CONNECT(self) -> None:  # http.server's name
        self.do_GET()
        self.close_connection = True
        if b" 200 " not in self.server.answer:
            return
        with socket.create_connection((self.path.split(":")[0], int(self.path.split(":")[1]))) as there:
            back = threading.Thread(target=forward, args=(there, self.connection))
            back.start()
            forward(self.connection, there)
            back.join()

    def log_message(self, *_: object) -> None: ...


def forward(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Yield a function that starts a server with one fixed response."""

    @contextmanager
    def running(answer: bytes, is_tls: bool) -> Iterator[Server]:
        with Server(answer) as server:
            if is_tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(CERTIFICATE)
                server.socket = context.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield server
            server.shutdown()
            thread.join()

    with ExitStack() as servers:
        yield lambda answer=b"", is_tls=False: servers.enter_context(running(answer or ok(b"{}"), is_tls))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove proxies and certificates from the environment."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def ok(body: bytes, *headers: str) -> bytes:
    return answer(200, body, "Content-Type: application/json", f"Content-Length: {len(body)}", *headers)


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} So", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def body(session: Session, address: str) -> bytes:
    return session.fetch(address, QUICK).body


# --- the connection ------------------------------------------------------------------------------


def test_connection_is_reused(start: Start) -> None:
    server = start()
    session = Session(f"http://{server.host}/", {})

    assert [body(session, f"http://{server.host}/{number}?a=b") for number in range(3)] == [b"{}"] * 3
    assert [path for path, _ in server.asked] == ["/0?a=b", "/1?a=b", "/2?a=b"]
    assert len(server.connections) == 1


def test_closed_connection_is_opened_again(start: Start) -> None:
    server = start()
    session = Session(f"http://{server.host}/", {})
    body(session, f"http://{server.host}/")

    server.connections[0].shutdown(socket.SHUT_RDWR)

    assert body(session, f"http://{server.host}/") == b"{}"
    assert len(server.connections) == 2


def test_connection_close_leads_to_a_new_connection(start: Start) -> None:
    server = start(ok(b"{}", "Connection: close"))
    session = Session(f"http://{server.host}/", {})

    assert [body(session, f"http://{server.host}/") for _ in range(2)] == [b"{}"] * 2
    assert len(server.connections) == 2


def test_unread_error_body_does_not_reach_the_next_response(start: Start) -> None:
    server = start(answer(500, b"x" * 3_000_000, "Content-Length: 3000000"))
    session = Session(f"http://{server.host}/", {})

    answers = [session.fetch(f"http://{server.host}/", QUICK) for _ in range(2)]

    assert [(one.status, one.body) for one in answers] == [(500, b"x" * MOST_BYTES_OF_ERRORS)] * 2


def test_headers_name_the_agent_and_accepted_types(start: Start) -> None:
    server = start(ok(b""))
    for agent in ("", "me/1"):
        client = Client(
            Settings(url=f"http://{server.host}/", requests_per_minute=0, backoff=0, user_agent=agent)
        )
        with client, suppress(TransientError):
            client.fetch_page((), 10, None)

    first, last = server.asked[0][1], server.asked[-1][1]

    assert first["user-agent"].startswith("python-requests/")
    assert last["user-agent"] == "me/1"
    assert (first["accept"], first["accept-encoding"]) == ("application/json", "gzip")
    assert first["host"] == server.host


def test_no_credentials_are_sent(start: Start, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = start()
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    environment.setenv("NETRC", str(tmp_path / "netrc"))

    for user in ("", "me:secret@"):
        url = f"http://{user}{server.host}/"
        Session(url, {}).fetch(url, QUICK)

    assert len(server.asked) == 2
    assert not any("authorization" in headers for _, headers in server.asked)


def test_cookies_are_not_sent_back(start: Start) -> None:
    server = start(ok(b"{}", "Set-Cookie: a=b; Path=/"))
    session = Session(f"http://{server.host}/", {})

    for _ in range(2):
        session.fetch(f"http://{server.host}/", QUICK)

    assert "cookie" not in server.asked[1][1]


def test_redirect_is_not_followed_or_fully_read(start: Start) -> None:
    other = start()
    server = start(
        answer(302, b"x" * 3_000_000, f"Location: http://{other.host}/", "Content-Length: 3000000")
    )

    redirect = Session(f"http://{server.host}/", {}).fetch(f"http://{server.host}/", QUICK)

    assert (redirect.status, redirect.headers["Location"]) == (302, f"http://{other.host}/")
    assert len(redirect.body) == MOST_BYTES_OF_ERRORS
    assert other.asked == []


# --- the body ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whole",
    [
        ok(b'{"a": 1}'),
        ok(gzip.compress(b'{"a": 1}'), "Content-Encoding: gzip"),
        ok(gzip.compress(b'{"a"') + gzip.compress(b": 1}"), "Content-Encoding: GZIP"),
        answer(200, b'4\r\n{"a"\r\n4\r\n: 1}\r\n0\r\n\r\n', "Transfer-Encoding: chunked"),
        answer(200, b'{"a": 1}', "Connection: close"),
    ],
    ids=["plain", "gzip", "gzip in two", "chunked", "until the end"],
)
def test_body_is_complete_in_every_encoding(start: Start, whole: bytes) -> None:
    server = start(whole)
    session = Session(f"http://{server.host}/", {})

    assert [json.loads(body(session, f"http://{server.host}/")) for _ in range(2)] == [{"a": 1}] * 2


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (
            answer(200, b"{", "Content-Length: 10", "Connection: close"),
            r"IncompleteRead\(1 bytes read, 9 more",
        ),
        (answer(200, b"4\r\n{", "Transfer-Encoding: chunked", "Connection: close"), "IncompleteRead"),
        (ok(b"no gzip", "Content-Encoding: gzip"), "incorrect header check"),
        (
            answer(200, b"{}", "Content-Length: 1", "Content-Length: 2", "Connection: close"),
            "Content-Length contained multiple unmatching values",
        ),
        (b"what is \x1b[31mthis? close\r\n\r\n", r"what is \\x1b\[31mthis"),
    ],
    ids=["length", "chunks", "no gzip", "two lengths", "no HTTP"],
)
def test_truncated_or_damaged_response_is_an_error(start: Start, cut: bytes, message: str) -> None:
    server = start(cut)
    with pytest.raises(WebError, match=message):
        body(Session(f"http://{server.host}/", {}), f"http://{server.host}/")


# --- proxies -------------------------------------------------------------------------------------


def test_proxy_receives_the_whole_address(start: Start, environment: pytest.MonkeyPatch) -> None:
    proxy = start()
    environment.setenv("HTTP_PROXY", f"http://me:p%40ss@{proxy.host}")
    session = Session("http://api.example/", {})

    assert [body(session, "http://api.example/?a=b") for _ in range(2)] == [b"{}"] * 2
    (path, headers), _ = proxy.asked
    assert (path, headers["host"]) == ("http://api.example/?a=b", "api.example")
    assert base64.b64decode(headers["proxy-authorization"].removeprefix("Basic ")) == b"me:p@ss"
    assert len(proxy.connections) == 1


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_tls_uses_a_tunnel_of_the_proxy(start: Start, environment: pytest.MonkeyPatch, name: str) -> None:
    server, proxy = start(is_tls=True), start(b"HTTP/1.1 200 Connected\r\n\r\n")
    environment.setenv(name, f"me:pass@{proxy.host}")
    environment.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    session = Session(f"https://{server.host}/", {})

    assert [body(session, f"https://{server.host}/page") for _ in range(2)] == [b"{}"] * 2
    ((path, headers),) = proxy.asked
    assert (path, headers["proxy-authorization"]) == (server.host, "Basic bWU6cGFzcw==")
    assert [path for path, _ in server.asked] == ["/page", "/page"]
    assert "proxy-authorization" not in server.asked[0][1]


def test_tls_works_inside_a_tls_proxy(start: Start, environment: pytest.MonkeyPatch) -> None:
    server, proxy = start(is_tls=True), start(b"HTTP/1.1 200 Connected\r\n\r\n", is_tls=True)
    environment.setenv("HTTPS_PROXY", f"https://{proxy.host}")
    environment.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    assert body(Session(f"https://{server.host}/", {}), f"https://{server.host}/page") == b"{}"
    assert [path for path, _ in proxy.asked] == [server.host]


@pytest.mark.parametrize("spared", ["127.0.0.1", "example.org, 127.0.0.1", "127.0.0.0/8", "{host}", "*"])
def test_no_proxy_is_respected(start: Start, environment: pytest.MonkeyPatch, spared: str) -> None:
    server = start()
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", spared.format(host=server.host))

    assert body(Session(f"http://{server.host}/", {}), f"http://{server.host}/") == b"{}"


@pytest.mark.parametrize("spared", ["example.org", "127.0.0.1.example.org"])
def test_proxy_is_used_for_hosts_outside_no_proxy(environment: pytest.MonkeyPatch, spared: str) -> None:
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", spared)

    with pytest.raises(WebError, match=r"^proxy: Failed to establish a new .*refused$"):
        Session("http://127.0.0.1/", {}).fetch("http://127.0.0.1/", QUICK)


def test_refusing_proxy_is_named(start: Start, environment: pytest.MonkeyPatch) -> None:
    proxy = start(answer(407, b"", "Content-Length: 0", "Connection: close"))
    environment.setenv("HTTPS_PROXY", f"http://{proxy.host}")

    with pytest.raises(WebError, match="^proxy: Tunnel connection failed: 407"):
        Session("https://api.example/", {}).fetch("https://api.example/", QUICK)


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("socks5://me:secret@127.0.0.1:9", "a SOCKS proxy: install requests[socks]"),
        ("http://me:sec/ret@proxy.example:3128", "not a web address: correct it"),
        ("http://me:sec[ret@proxy.example:3128", "not a web address: correct it"),
        ("ftp://me:secret@proxy.example", "not a web address: correct it"),
        ("http://", "not a web address: correct it"),
    ],
)
def test_unusable_proxy_is_reported_without_password(
    environment: pytest.MonkeyPatch, proxy: str, message: str
) -> None:
    environment.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(PermanentError) as caught:
        Session("https://api.example/", {})

    assert str(caught.value) == f"HTTPS_PROXY or ALL_PROXY in the environment is {message}"


# --- certificates --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CERTIFICATE_VARIABLES)
def test_certificate_bundle_of_the_environment_is_trusted(
    start: Start, environment: pytest.MonkeyPatch, name: str
) -> None:
    server = start(is_tls=True)
    environment.setenv(name, str(CERTIFICATE))

    assert body(Session(f"https://{server.host}/", {}), f"https://{server.host}/") == b"{}"


def test_folder_of_certificates_is_accepted(
    start: Start, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = start(is_tls=True)
    shutil.copy(CERTIFICATE, tmp_path / "2101a20a.0")  # openssl x509 -subject_hash
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))

    assert body(Session(f"https://{server.host}/", {}), f"https://{server.host}/") == b"{}"


def test_self_signed_certificate_is_refused(start: Start) -> None:
    server = start(is_tls=True)

    with pytest.raises(WebError, match="certificate verify failed: self.signed certificate"):
        body(Session(f"https://{server.host}/", {}), f"https://{server.host}/")

    assert server.asked == []


def test_certificate_of_another_host_is_refused(start: Start, environment: pytest.MonkeyPatch) -> None:
    server = start(is_tls=True)
    environment.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    other = server.host.replace("127.0.0.1", "localhost")

    with pytest.raises(WebError, match="certificate verify failed: .*'localhost'"):
        body(Session(f"https://{other}/", {}), f"https://{other}/")


def test_missing_certificates_are_reported(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("CURL_CA_BUNDLE", str(tmp_path / "bundle"))
    with pytest.raises(PermanentError, match=r"no certificates at /.*bundle: correct CURL_CA_BUNDLE"):
        Session("https://api.example/", {})


# --- addresses and timeouts ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://*.example/",
        "http:///",
        f"http://{'a' * 64}.example/",
        "http://a..b/",
        "ftp://a/",
        "http://a:b/",
    ],
)
def test_unusable_address_is_permanent(url: str) -> None:
    with pytest.raises(PermanentError, match=r"check \[ccdb\] url"):
        Session(url, {}).fetch(url, QUICK)


def test_address_without_path_requests_the_root(start: Start) -> None:
    server = start()

    assert body(Session(f"http://{server.host}", {}), f"http://{server.host}?a=b") == b"{}"
    assert server.asked[0][0] == "/?a=b"


def test_empty_refusal_keeps_its_headers(start: Start) -> None:
    server = start(answer(429, b"", "Content-Encoding: gzip", "Content-Length: 0", "Retry-After: 30"))

    refused = Session(f"http://{server.host}/", {}).fetch(f"http://{server.host}/", QUICK)

    assert (refused.status, refused.headers["Retry-After"], refused.body) == (429, "30", b"")


def test_silent_server_ends_at_the_read_timeout() -> None:
    with socket.socket() as silent, pytest.raises(WebError, match=r"^no answer in time$"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        Session(url, {}).fetch(url, Timeouts(5, 0.1))
