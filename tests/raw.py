"""Small servers: one sends given bytes, one runs a handler of `http.server`."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Sent = bytes | Callable[[socket.socket], None]


def answer(body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Return a whole HTTP response that closes its connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def page(*hits: object, total: object = None, **others: object) -> bytes:
    """Return the body of a search response."""
    found = {"total": len(hits) if total is None else total, "hits": hits}
    return json.dumps({"hits": found, **others}).encode()


class RawServer:
    """A server that sends its n-th answer to the n-th request, and the last one to all later requests."""

    def __init__(self, answers: tuple[Sent, ...]) -> None:
        self.requests: list[bytes] = []
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"

    def run(self) -> None:
        """Accept connections until the socket closes."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request and (data := connection.recv(65536)):
                request += data
            sent = self._answers[min(len(self.requests), len(self._answers) - 1)]
            self.requests.append(request)
            if callable(sent):
                sent(connection)
            else:
                connection.sendall(sent)


@contextmanager
def serving(*answers: Sent) -> Iterator[RawServer]:
    """Serve until the block ends."""
    server = RawServer(answers)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


@contextmanager
def handling(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve with a handler until the block ends; yield the port on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
