"""The sandbox's HTTP server: loopback only, one thread per connection."""

import contextlib
import csv
import gzip
import html
import io
import json
import re
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from typing import Any
from urllib.parse import parse_qs

import msgspec

from luigi_etl.sandbox.eras import ERAS, TODAY, Era
from luigi_etl.sandbox.index import EngineError, Index, Row, Search, sort_values
from luigi_etl.sandbox.parameters import read_search
from luigi_etl.sandbox.script import CHANGES, Event, Script
from luigi_etl.sandbox.terms import UnsupportedTermError

PATH = "/data-research/consumer-complaints/search/api/v1/"
ADDRESS = "127.0.0.1"
LARGEST_EXPORT = 100_000
LONGEST_LINE = 8190  # of a request, as in common web servers
FLAGS = ("is_data_stale", "has_data_issue")
JSON_ERRORS: dict[int, Any] = {
    400: {"state": {"0": ['"ZZ" is not a valid choice.']}},
    404: {"detail": "Not found."},
    500: {"error": "There was a problem retrieving your request"},
}
EXPORT_COLUMNS = {
    "Date received": "date_received",
    "Product": "product",
    "Sub-product": "sub_product",
    "Issue": "issue",
    "Sub-issue": "sub_issue",
    "Consumer complaint narrative": "complaint_what_happened",
    "Company public response": "company_public_response",
    "Company": "company",
    "State": "state",
    "ZIP code": "zip_code",
    "Tags": "tags",
    "Consumer consent provided?": "consumer_consent_provided",
    "Submitted via": "submitted_via",
    "Date sent to company": "date_sent_to_company",
    "Company response to consumer": "company_response",
    "Timely response?": "timely",
    "Consumer disputed?": "consumer_disputed",
    "Complaint ID": "complaint_id",
}


@dataclass
class Throttle:
    """A rate limit for each kind of request, in any `window` seconds; refused requests do not count."""

    limits: dict[str, int] = field(default_factory=lambda: {"json": 20, "csv": 2, "detail": 5})
    window: float = 60.0
    _taken: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, kind: str) -> int:
        """Count the request and return 0, or return the whole seconds until one is allowed."""
        with self._lock:
            now = time.monotonic()
            taken = self._taken.setdefault(kind, deque())
            while taken and taken[0] <= now - self.window:
                taken.popleft()
            if len(taken) >= self.limits.get(kind, len(taken) + 1):
                return max(1, ceil(self.window - (now - taken[0] if taken else 0)))
            taken.append(now)
            return 0


@dataclass(frozen=True)
class Answer:
    """A response that is not sent yet."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass
class Sandbox:
    """The state of the sandbox; `requests` lists each path and its status, in order."""

    index: Index
    era: Era = ERAS[TODAY]
    throttle: Throttle | None = field(default_factory=Throttle)
    script: Script = field(default_factory=Script)
    compress: bool = False
    requests: list[tuple[str, int]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_events(self) -> list[Event]:
        """Count a request and return its events."""
        with self._lock:
            self._number += 1
            return self.script.events(self._number)

    def make(self, changes: list[Event]) -> None:
        """Apply changes to the index."""
        for event in changes:
            getattr(self.index, event.name)(int(event.value))


@contextlib.contextmanager
def serve(sandbox: Sandbox, port: int = 0) -> Iterator[str]:
    """Serve on loopback (0: on a free port) and yield the API's address.

    Raises:
        OSError: the port is taken.

    """
    server = _Server((ADDRESS, port), _Handler)
    server.sandbox = sandbox
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_address[1]}{PATH}"
    finally:
        sandbox.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    sandbox: Sandbox

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
        sandbox = self.server.sandbox
        path, _, query = self.path.partition("?")
        if len(self.requestline) > LONGEST_LINE:
            self.close_connection = True
            self._send(_web_page(414, "Request-URI Too Large"))
            return
        identifier = path.removeprefix(PATH)
        if not path.startswith(PATH) or not re.fullmatch("[0-9]*", identifier):
            self._send(_web_page(200, "Consumer Complaint Database"))
            return
        events = sandbox.next_events()
        sandbox.make([event for event in events if event.name in CHANGES and not event.during])
        self._seconds_behind = sum(event.value for event in events if event.name == "behind")
        answer = self._answer(identifier, query, events)
        sandbox.requests.append((self.path, answer.status))
        self._deliver(answer, events)

    def do_POST(self) -> None:
        """Refuse the method: the API allows only GET."""
        self.close_connection = True
        self._send(_json(405, {"detail": f'Method "{self.command}" not allowed.'}))

    do_HEAD = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the value of the header `Date`, late by the script's seconds."""
        return super().date_time_string((timestamp or time.time()) - self._seconds_behind)

    def do_OPTIONS(self) -> None:
        """Describe the API as Django REST framework does."""
        renders = ["application/json"] * (1 + self.server.sandbox.era.knows_json_format) + ["text/csv"]
        parses = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
        self._send(_json(200, {"name": "Search", "description": "", "renders": renders, "parses": parses}))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: the terminal belongs to the command that runs."""

    def _answer(self, identifier: str, query: str, events: list[Event]) -> Answer:
        """Check in the order of Django REST framework: format, throttle, parameters."""
        sandbox = self.server.sandbox
        name = parse_qs(query).get("format", [""])[-1]
        try:
            kind = _negotiated(name, self.headers.get("Accept", "*/*"), sandbox.era)
        except LookupError:
            return _json(404, {"detail": "Not found."})
        if not kind:
            return _json(406, {"detail": "Could not satisfy the request Accept header."})
        if sandbox.throttle and (wait := sandbox.throttle.wait("detail" if identifier else kind)):
            return _rendered(_throttled(wait), kind)
        if identifier:
            return _broken(events, sandbox.era) or _detail(sandbox, identifier)
        return _broken(events, sandbox.era) or _rendered(_found(sandbox, query, kind, events), kind)

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
        if "truncate" in faults:
            answer = Answer(answer.status, answer.body[: len(answer.body) // 2], answer.content_type)
        if "cut" in faults:
            self._send(answer, part=0.5)
        elif "drip" in faults:
            self._drip(answer, faults["drip"])
        else:
            self._send(answer)

    def _send(self, answer: Answer, part: float = 1.0) -> None:
        body = self._head(answer)
        if self.command != "HEAD":
            self.wfile.write(body[: int(len(body) * part)])
        self.close_connection |= part < 1

    def _drip(self, answer: Answer, seconds: float) -> None:
        body = self._head(answer)
        for byte in body:
            self.wfile.write(bytes((byte,)))
            self.wfile.flush()
            if self.server.sandbox.stopping.wait(seconds / len(body)):
                break
        self.close_connection = True

    def _head(self, answer: Answer) -> bytes:
        """Send status and headers; return the body, compressed if the client accepts that."""
        body = answer.body
        zipped = self.server.sandbox.compress and "gzip" in self.headers.get("Accept-Encoding", "")
        if zipped:
            body = gzip.compress(body, 1, mtime=0)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        return body


# --- answers -------------------------------------------------------------------------------------


def _json(status: int, content: Any, *headers: tuple[str, str]) -> Answer:
    return Answer(status, msgspec.json.encode(content), headers=headers)


def _negotiated(name: str, accept: str, era: Era) -> str:
    """Return the kind of the answer, json or csv; empty if the client accepts neither.

    Raises:
        LookupError: the era has no such `format`.

    """
    kinds = {"application/json": "json", "text/csv": "csv"}
    if name:
        known = {"csv": "text/csv", "default": "application/json"}
        known |= {"json": "application/json"} if era.knows_json_format else {}
        kinds = {known[name]: kinds[known[name]]}
    ranges = [part.partition(";")[0].strip() for part in accept.split(",")]
    # The most precise range comes first; its quality value is ignored.
    for wanted in sorted(ranges, key=lambda one: one.count("*")):
        for media, kind in kinds.items():
            if wanted in ("*/*", media, f"{media.partition('/')[0]}/*"):
                return kind
    return ""


def _found(sandbox: Sandbox, query: str, kind: str, events: list[Event]) -> Answer:
    search, messages = read_search(query, sandbox.era)
    if messages:
        return _json(400, messages)
    try:
        return _export(sandbox, search) if kind == "csv" else _search(sandbox, search, events)
    except EngineError:
        return _engine_error(sandbox.era)
    except UnsupportedTermError as error:
        return _unsupported(search, str(error))


def _rendered(answer: Answer, kind: str) -> Answer:
    """Render an error as the API does: as CSV only the names of its fields remain."""
    if kind != "csv" or answer.content_type == "text/csv" or answer.status == 501:
        return answer
    names = "".join(json.loads(answer.body))
    return replace(answer, body=names.encode(), content_type="text/csv")


def _unsupported(search: Search, reason: str) -> Answer:
    """Refuse a search whose correct answer is unknown, with a line on the terminal, too."""
    message = f"sandbox: search_term {search.search_term!r} is not supported: {reason}"
    sys.stderr.write(f"luigi-etl: {message}\n")
    return _json(501, {"error": message})


def _web_page(status: int, text: str) -> Answer:
    page = f"<!DOCTYPE html><html><body>{html.escape(text)}</body></html>"
    return Answer(status, page.encode(), "text/html; charset=utf-8")


def _engine_error(era: Era) -> Answer:
    return _json(424, {"error": f"There was an error calling {era.engine}"})


def _throttled(wait: int) -> Answer:
    said = f"Request was throttled. Expected available in {wait} seconds."
    return _json(429, {"detail": said}, ("Retry-After", str(wait)))


def _broken(events: list[Event], era: Era) -> Answer | None:
    """Return the answer of a scripted fault, if there is one."""
    for event in events:
        if event.name == "html":
            return _web_page(200, "Consumer Complaint Database")
        if event.name == "status":
            return _of_status(int(event.value), era)
    return None


def _of_status(status: int, era: Era) -> Answer:
    if status == 429:
        return _throttled(1)
    if status == 403:
        return _web_page(403, "Access Denied. Reference #18.5d7a1002.1790000000.1a2b3c4d")
    if status == 424:
        return _engine_error(era)
    if status in JSON_ERRORS:
        return _json(status, JSON_ERRORS[status])
    if 300 <= status < 400:
        return Answer(status, b"", "text/html", (("Location", "https://elsewhere.example/"),))
    return _web_page(status, f"{status} from the gateway")


def _search(sandbox: Sandbox, search: Search, events: list[Event]) -> Answer:
    named = {event.name: event.value for event in events}
    if not sandbox.era.honours_no_aggs:
        search = replace(search, no_aggs=False)
    search = _distorted(search, named)
    index = _held(sandbox.index, named)
    found = index.search(search)
    during = [event for event in events if event.name in CHANGES and event.during]
    if during:
        sandbox.make(during)
        found = replace(found, total=sandbox.index.search(search).total)
    by_date = search.sort.startswith("created_date")
    content = {
        "took": 17,
        "timed_out": "timed_out" in named,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": int("shards" in named)},
        "hits": {
            "total": {"value": found.total, "relation": found.relation},
            "max_score": None,
            "hits": [_hit(row, sandbox.era, by_date, named) for row in found.rows],
        },
        **({} if search.no_aggs else {"aggregations": found.aggregations}),
        "_meta": {
            "license": "CC0",
            "last_updated": f"{sandbox.index.last_updated}T12:00:00-05:00",
            "last_indexed": f"{sandbox.index.last_indexed}T12:00:00-05:00",
            "total_record_count": len(index.rows),
            **dict.fromkeys(FLAGS, bool({"stale", "empty"} & named.keys())),
            "break_points": found.break_points,
            "sandbox": sandbox.index.description,
        },
    }
    return _json(200, content)


def _distorted(search: Search, named: dict[str, float]) -> Search:
    """Return what the API searches for while it ignores parts of the request."""
    if "ignore_filters" in named:
        search = replace(search, filters=())
    if "ignore_sort" in named:
        search = replace(search, sort="relevance_desc")
    if "repeat" in named:
        search = replace(search, search_after=None)
    return replace(search, size=min(search.size, int(named["cap"]))) if "cap" in named else search


def _held(index: Index, named: dict[str, float]) -> Index:
    """Return the index as this request sees it."""
    if "empty" in named:
        return index.part(0)
    return index.part(2) if "half" in named else index


def _drifted(source: Any, named: dict[str, float]) -> Any:
    """Return a complaint in a changed format, which the API may send one day."""
    if "tags_list" in named:
        source = {**source, "tags": [source["tags"]] if source.get("tags") else []}
    if "rename" in named:
        source = {{"zip_code": "zip5"}.get(name, name): value for name, value in source.items()}
    return source


def _hit(row: Row, era: Era, by_date: bool, named: dict[str, float]) -> dict[str, Any]:
    hit = row.envelope or {
        "_index": "complaint-public-v1",
        **({"_type": "_doc"} if era.hit_type else {}),
        "_id": row.identifier,
    }
    score = {"_score": None if by_date else 1.0}
    return {**hit, **score, "_source": _drifted(row.source, named), "sort": sort_values(row, by_date)}


def _detail(sandbox: Sandbox, identifier: str) -> Answer:
    """Answer `/<id>` with the whole document, without `_meta` and `sort`."""
    row = sandbox.index.rows.get(identifier)
    hits = [_document(sandbox, row)] if row else []
    content = {
        "took": 11,
        "timed_out": False,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {
            "total": {"value": len(hits), "relation": "eq"},
            "max_score": 1.0 if hits else None,
            "hits": hits,
        },
    }
    return _json(200, content)


def _document(sandbox: Sandbox, row: Row) -> dict[str, Any]:
    hit = _hit(row, sandbox.era, False, {})
    del hit["sort"]
    indexed = f"{sandbox.index.last_indexed}T12:00:00-05:00"
    dates = {name: row.value(name) for name in ("date_received", "date_sent_to_company")}
    formatted = {
        f"{name}_formatted": _american(value) for name, value in {**dates, "date_indexed": indexed}.items()
    }
    updated = int(datetime.fromisoformat(indexed).timestamp())
    return {**hit, "_source": {**row.source, **formatted, "date_indexed": indexed, ":updated_at": updated}}


def _american(value: str | None) -> str | None:
    return f"{value[5:7]}/{value[8:10]}/{value[2:4]}" if value else None


def _export(sandbox: Sandbox, search: Search) -> Answer:
    """Answer `format=csv`: size and sort are ignored, null is the text None, lines end in CR LF."""
    everything = Search(search_term=search.search_term, field=search.field, filters=search.filters)
    matches = sandbox.index.all_matching(everything)
    if sandbox.era.refuses_large_exports and len(matches) > LARGEST_EXPORT:
        return Answer(400, b"size", "text/csv")
    columns = {label: name for label, name in EXPORT_COLUMNS.items() if name not in sandbox.era.gone}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in matches:
        writer.writerow([_export_cell(row, name, sandbox.era) for name in columns.values()])
    return Answer(200, text.getvalue().encode(), "text/csv")


def _export_cell(row: Row, name: str, era: Era) -> str:
    value = row.source.get(name)
    if name.startswith("date_") and value:
        return value[:10] if era.instants else str(_american(value))
    return str(value)
