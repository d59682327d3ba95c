"""A loopback server of generated complaints that costs next to nothing, so that the client is measured.

    python -m benchmarks.server COMPLAINTS PORT

The complaints are made and rendered once, newest first, into one long run of bytes: a page is a slice of
it. The newest N of them are an index of their own at /N/, which answers what the chain and its peers ask
for (`size`, `search_after`, `date_received_min` and `_max`) as the sandbox does; /N/throttled/ is the same
behind the API's own throttle. /arrivals tells when requests came since it was last asked, and how each
was answered. It listens when it is ready, until a signal ends it.
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
from luigi_etl.sandbox.server import Throttle

DAYS = 100  # that the complaints are of
DAY = 86_400_000  # milliseconds
LARGEST_PAGE = 10_000
Key = tuple[int, str]  # the milliseconds of its date, and its id, which compares as text
_encode = msgspec.json.encode


class SnapshotSpec(NamedTuple):
    """A request for a page: the first and last day, the cursor, and how many."""

    first: str
    last: str
    after: str
    size: int


class Arrival(NamedTuple):
    """A request as it came: by the machine's monotonic clock, and with which status it was answered."""

    seconds: float
    status: int


class Complaints:
    """Every complaint, rendered, in order."""

    def __init__(self, sources: Iterable[Source]) -> None:
        rows = sorted(map(_rendered, sources))
        self.keys = [key for key, _ in rows]  # ascending, as bisect needs them; the bytes are newest first
        rows.reverse()
        self.ends = list(accumulate((len(hit) + 1 for _, hit in rows), initial=0))
        self.hits = memoryview(b",".join(hit for _, hit in rows))

    def answer(self, newest: int, asked: SnapshotSpec) -> list[bytes | memoryview]:
        """Return the page of an index of the `newest` complaints, in parts."""
        total = len(self.keys)
        oldest = max(total - newest, self._place(asked.first, 0))
        beyond = self._place(asked.last, DAY) if asked.last else total
        end = min(beyond, bisect_left(self.keys, _cursor(asked.after))) if asked.after else beyond
        start = max(oldest, end - asked.size)
        hits = self.hits[self.ends[total - end] : max(0, self.ends[total - start] - 1)]
        return [_head(max(0, beyond - oldest)), hits if start < end else b"", _tail(newest)]

    def _place(self, day: str, after: int) -> int:
        """Return how many were received before a day, or so many milliseconds later; none for no day."""
        return bisect_left(self.keys, (_milliseconds(day) + after, "")) if day else 0


def main() -> None:
    """Make the complaints, and serve them."""
    number, port = map(int, sys.argv[1:])
    gc.disable()  # nothing made here is ever garbage
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

    def arrived(self, arrival: Arrival) -> None:
        """Remember a request."""
        with self.lock:
            self.arrivals.append(arrival)

    def told(self) -> list[Arrival]:
        """Return what came since this was last asked."""
        with self.lock:
            told, self.arrivals = self.arrivals, []
            return told


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer a request for a page, or for what was asked."""
        came = time.monotonic()
        path, _, query = self.path.partition("?")
        index = re.fullmatch(r"/([0-9]+)/(throttled/)?", path)
        if path == "/arrivals":
            self._send(200, [_encode(self.server.told())])
        elif not index:
            self._send(404, [b'{"detail":"Not found."}'])
        else:
            wait = self.server.throttle.wait("json") if index[2] else 0
            self.server.arrived(Arrival(came, 429 if wait else 200))
            if wait:
                self._send(429, [b'{"detail":"Request was throttled."}'], ("Retry-After", str(wait)))
            else:
                self._send(200, self.server.complaints.answer(int(index[1]), _asked(query)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _send(self, status: int, parts: list[bytes | memoryview], *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(sum(map(len, parts))))
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        for part in parts:
            self.wfile.write(part)


def _rendered(source: Source) -> tuple[Key, bytes]:
    """Return a complaint as a hit, and what it is sorted by."""
    identifier = source["complaint_id"]
    key = (_milliseconds(source["date_received"]), identifier)
    hit = {"_index": "complaint-public-v1", "_id": identifier, "_score": None, "_source": source, "sort": key}
    return key, _encode(hit)


def _milliseconds(instant: str) -> int:
    """Return the epoch milliseconds of an instant or a day, both of UTC."""
    moment = datetime.fromisoformat(instant.removesuffix("Z"))
    return round(moment.replace(tzinfo=timezone.utc).timestamp() * 1000)


def _asked(query: str) -> SnapshotSpec:
    values = {name: said[-1] for name, said in parse_qs(query).items()}
    first, last = (values.get(f"date_received_{end}", "") for end in ("min", "max"))
    return SnapshotSpec(
        first, last, values.get("search_after", ""), min(int(values.get("size", 25)), LARGEST_PAGE)
    )


def _cursor(text: str) -> Key:
    milliseconds, _, identifier = text.partition("_")
    return int(milliseconds), identifier


def _head(total: int) -> bytes:
    """Return an answer up to its hits."""
    shards = '"_shards":{"total":5,"successful":5,"skipped":0,"failed":0}'
    found = f'{{"total":{{"value":{total},"relation":"eq"}},"max_score":null,"hits":['
    return f'{{"took":17,"timed_out":false,{shards},"hits":{found}'.encode()


def _tail(newest: int) -> bytes:
    """Return an answer from the end of its hits."""
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
