"""The sandbox's HTTP server: loopback only, one thread per connection."""

import contextlib
import gzip
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from luigi_etl.sandbox.answer import Answer, FilePart, json_answer, web_page
from luigi_etl.sandbox.files import FileRequest, Files, is_file
from luigi_etl.sandbox.script import CHANGES, Event
from luigi_etl.sandbox.search_api import answer_request
from luigi_etl.sandbox.state import Sandbox

PATH = "/data-research/consumer-complaints/search/api/v1/"
ADDRESS = "127.0.0.1"
BLOCK = 1 << 16  # bytes that are sent at once
LONGEST_LINE = 8190  # of a request, as in common web servers


@contextlib.contextmanager
def serve(sandbox: Sandbox, port: int = 0) -> Iterator[str]:
    """Serve on loopback (0: on a free port) and yield the API's address.

    Raises:
        OSError: the port is taken.

    """
    server = _Server((ADDRESS, port), _Handler)
    server.sandbox = sandbox
    server.files = Files(sandbox.index, ADDRESS, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_address[1]}{PATH}"
    finally:
        sandbox.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
        server.files.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    sandbox: Sandbox
    files: Files

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "luigi_etl-sandbox"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _Server
    _seconds_behind = 0.0

    def do_GET(self) -> None:
        """Answer a request, with the faults of the script."""
        path, _, query = self.path.partition("?")
        identifier = path.removeprefix(PATH)
        if len(self.requestline) > LONGEST_LINE:
            self.close_connection = True
            self._send(web_page(414, "Request-URI Too Large"))
        elif is_file(path):
            self._answer_with(lambda events: self._answer_file(path, events))
        elif path.startswith(PATH) and re.fullmatch("[0-9]*", identifier):
            self._answer_with(lambda events: self._answer_search(identifier, query, events))
        else:
            self._send(web_page(200, "Consumer Complaint Database"))

    def do_HEAD(self) -> None:
        """Answer with the headers of a file; the API refuses the method."""
        if is_file(self.path.partition("?")[0]):
            self.do_GET()
        else:
            self.do_POST()

    def do_POST(self) -> None:
        """Refuse the method: the API allows only GET."""
        self.close_connection = True
        self._send(json_answer(405, {"detail": f'Method "{self.command}" not allowed.'}))

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the value of the header `Date`, late by the script's seconds."""
        return super().date_time_string((timestamp or time.time()) - self._seconds_behind)

    def do_OPTIONS(self) -> None:
        """Describe the API as Django REST framework does."""
        renders = ["application/json"] * (1 + self.server.sandbox.era.knows_json_format) + ["text/csv"]
        parses = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
        self._send(
            json_answer(200, {"name": "Search", "description": "", "renders": renders, "parses": parses})
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: the terminal belongs to the command that runs."""

    def _answer_with(self, make: Callable[[list[Event]], Answer]) -> None:
        """Count the request, apply its events, and send the answer."""
        sandbox = self.server.sandbox
        events = sandbox.next_events()
        sandbox.make([event for event in events if event.name in CHANGES and not event.during])
        self._seconds_behind = sum(event.value for event in events if event.name == "behind")
        with contextlib.closing(make(events)) as answer:
            sandbox.requests.append((self.path, answer.status))
            self._deliver(answer, events)

    def _answer_search(self, identifier: str, query: str, events: list[Event]) -> Answer:
        accept = self.headers.get("Accept", "*/*")
        answer = answer_request(self.server.sandbox, identifier, query, accept, events)
        return answer.halved() if any(event.name == "truncate" for event in events) else answer

    def _answer_file(self, path: str, events: list[Event]) -> Answer:
        sandbox = self.server.sandbox
        answer = self.server.files.answer(FileRequest(self.command, path, self.headers), events)
        sandbox.make([event for event in events if event.name in CHANGES and event.during])
        return answer

    def _deliver(self, answer: Answer, events: list[Event]) -> None:
        faults = {event.name: event.value for event in events}
        if "hang" in faults:
            self.server.sandbox.stopping.wait(faults["hang"] or 3600)
        if "reset" in faults:
            # If a socket with unread data is closed without lingering, the kernel sends RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if "cut" in faults:
            self._send(answer, part=0.5)
        elif "drip" in faults and self.command != "HEAD":
            self._drip(answer, faults["drip"])
        else:
            self._send(answer)

    def _send(self, answer: Answer, part: float = 1.0) -> None:
        body = self._head(answer)
        stop = 0 if self.command == "HEAD" else int(len(body) * part)
        for start in range(0, stop, BLOCK):
            self.wfile.write(body[start : min(start + BLOCK, stop)])
        self.close_connection |= part < 1

    def _drip(self, answer: Answer, seconds: float) -> None:
        """Send a body byte by byte, a large one in ten thousand blocks."""
        body = self._head(answer)
        block = len(body) // 10_000 + 1
        for start in range(0, len(body), block):
            self.wfile.write(body[start : start + block])
            self.wfile.flush()
            if self.server.sandbox.stopping.wait(seconds * block / len(body)):
                break
        self.close_connection = True

    def _head(self, answer: Answer) -> bytes | FilePart:
        """Send status and headers; return the body, compressed if the client accepts that."""
        body = answer.body
        compress = self.server.sandbox.compress and "gzip" in self.headers.get("Accept-Encoding", "")
        headers = dict(answer.headers)
        if compress and isinstance(body, bytes):
            body = gzip.compress(body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        if answer.has_length:
            headers["Content-Length"] = str(len(body))
        elif answer.status != 304:  # which has no body
            headers["Connection"] = "close"
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        return body
