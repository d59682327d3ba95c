"""A loopback server of generated complaints that takes very little CPU time.

    python -m benchmarks.server COMPLAINTS PORT

All complaints are generated and rendered once, newest first, into one block of bytes. A page is a slice of
it. `/N/` serves the newest N complaints. It understands the parameters that the chain and its peers use:
`size`, `search_after`, `date_received_min` and `date_received_max`. `/N/throttled/` adds the API's rate
limit. `/arrivals` returns the time and status of each request since the previous call. The server starts to
listen when it is ready and runs until a signal stops it.
"""

import gc
import re
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

from luigi_etl.sandbox.eras import ERAS, TODAY
from luigi_etl.sandbox.generate import NOW, Generator, Source
from luigi_etl.sandbox.state import Throttle

DAYS = 100  # range of the complaints' dates
DAY = 86_400_000  # milliseconds
LARGEST_PAGE = 10_000
Key = tuple[int, str]  # the date in milliseconds, and the id, which the API sorts as text
_encode = msgspec.json.encode


class PageRequest(NamedTuple):
    """A request for a page: the first and last day, the cursor, and the size."""

    first: str
    last: str
    after: str
    size: int


class Arrival(NamedTuple):
    """A request: its time by the monotonic clock, and the status of the response."""

    seconds: float
    status: int


class Complaints:
    """All complaints, sorted and rendered."""

    def __init__(self, sources: Iterable[Source]) -> None:
        rows = sorted(map(_render, sources))
        self.keys = [key for key, _ in rows]  # ascending for bisect; the bytes are newest first
        rows.reverse()
        self.ends = list(accumulate((len(hit) + 1 for _, hit in rows), initial=0))
        self.hits = memoryview(b",".join(hit for _, hit in rows))

    def render_page(self, newest: int, request: PageRequest) -> list[bytes | memoryview]:
        """Return a page of the `newest` complaints, in parts."""
        total = len(self.keys)
        oldest = max(total - newest, self._count_before(request.first, 0))
        beyond = self._count_before(request.last, DAY) if request.last else total
        end = min(beyond, bisect_left(self.keys, _parse_cursor(request.after))) if request.after else beyond
        start = max(oldest, end - request.size)
        hits = self.hits[self.ends[total - end] : max(0, self.ends[total - start] - 1)]
        return [_render_head(max(0, beyond - oldest)), hits if start < end else b"", _render_tail(newest)]

    def _count_before(self, day: str, milliseconds: int) -> int:
        """Return the number of complaints before a day plus `milliseconds`; 0 without a day."""
        return bisect_left(self.keys, (_to_milliseconds(day) + milliseconds, "")) if day else 0


def main() -> None:
    """Generate the complaints and serve them."""
    number, port = map(int, sys.argv[1:])
    gc.disable()  # the complaints are never garbage
    complaints = Complaints(Generator(1, ERAS[TODAY], DAYS).complaints(number))
    _Server(port, complaints).serve_forever()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, complaints: Complaints) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.complaints = complaints
        self.throttle = Throttle()
        self.arrivals: list[Arrival] = []
        self.lock = threading.Lock()

    def add_arrival(self, arrival: Arrival) -> None:
        """Record a request."""
        with self.lock:
            self.arrivals.append(arrival)

    def take_arrivals(self) -> list[Arrival]:
        """Return the requests since the last call."""
        with self.lock:
            arrivals, self.arrivals = self.arrivals, []
            return arrivals


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Send a page, or the arrivals."""
        arrived = time.monotonic()
        path, _, query = self.path.partition("?")
        index = re.fullmatch(r"/([0-9]+)/(throttled/)?", path)
        if path == "/arrivals":
            self._send(200, [_encode(self.server.take_arrivals())])
        elif not index:
            self._send(404, [b'{"detail":"Not found."}'])
        else:
            wait = self.server.throttle.wait("json") if index[2] else 0
            self.server.add_arrival(Arrival(arrived, 429 if wait else 200))
            if wait:
                self._send(429, [b'{"detail":"Request was throttled."}'], ("Retry-After", str(wait)))
            else:
                self._send(200, self.server.complaints.render_page(int(index[1]), _parse_request(query)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""

    def _send(self, status: int, parts: list[bytes | memoryview], *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(sum(map(len, parts))))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        for part in parts:
            self.wfile.write(part)


def _render(source: Source) -> tuple[Key, bytes]:
    """Return a complaint's sort key and its hit as JSON."""
    identifier = source["complaint_id"]
    key = (_to_milliseconds(source["date_received"]), identifier)
    hit = {"_index": "complaint-public-v1", "_id": identifier, "_score": None, "_source": source, "sort": key}
    return key, _encode(hit)


def _to_milliseconds(instant: str) -> int:
    """Return the epoch milliseconds of an instant or a day in UTC."""
    moment = datetime.fromisoformat(instant.removesuffix("Z"))
    return round(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)


def _parse_request(query: str) -> PageRequest:
    values = {name: given[-1] for name, given in parse_qs(query).items()}
    first, last = (values.get(f"date_received_{end}", "") for end in ("min", "max"))
    return PageRequest(
        first, last, values.get("search_after", ""), min(int(values.get("size", 25)), LARGEST_PAGE)
    )


def _parse_cursor(text: str) -> Key:
    milliseconds, _, identifier = text.partition("_")
    return int(milliseconds), identifier


def _render_head(total: int) -> bytes:
    """Return a response up to its hits."""
    shards = '"_shards":{"total":5,"successful":5,"skipped":0,"failed":0}'
    found = f'{{"total":{{"value":{total},"relation":"eq"}},"max_score":null,"hits":['
    return f'{{"took":17,"timed_out":false,{shards},"hits":{found}'.encode()


def _render_tail(newest: int) -> bytes:
    """Return a response from the end of its hits."""
    noon = f"{NOW:%Y-%m-%d}T12:00:00-05:00"
    meta = {
        "license": "CC0",
        "last_updated": noon,
        "last_indexed": noon,
        "total_record_count": newest,
        "is_data_stale": False,
        "has_data_issue": False,
        "break_points": {},
        "sandbox": "generated complaints of a benchmark",
    }
    return b']},"_meta":' + _encode(meta) + b"}"


if __name__ == "__main__":
    main()
