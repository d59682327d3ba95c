"""The answers of the search API: pages of complaints, one complaint, exports and errors."""

import json
import sys
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from luigi_etl.sandbox.answer import Answer, engine_error, json_answer, scripted_error, throttled
from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.export import american_day, export
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.parameters import read_search
from luigi_etl.sandbox.row import Row, sort_values
from luigi_etl.sandbox.script import CHANGES, Event
from luigi_etl.sandbox.search import EngineError, Search
from luigi_etl.sandbox.state import Sandbox
from luigi_etl.sandbox.terms import UnsupportedTermError

FLAGS = ("is_data_stale", "has_data_issue")


def answer_request(sandbox: Sandbox, identifier: str, query: str, accept: str, events: list[Event]) -> Answer:
    """Check in the order of Django REST framework: format, throttle, parameters."""
    name = parse_qs(query).get("format", [""])[-1]
    try:
        kind = _negotiated(name, accept, sandbox.era)
    except LookupError:
        return json_answer(404, {"detail": "Not found."})
    if not kind:
        return json_answer(406, {"detail": "Could not satisfy the request Accept header."})
    if sandbox.throttle and (wait := sandbox.throttle.wait("detail" if identifier else kind)):
        return _rendered(throttled(wait), kind)
    if identifier:
        return scripted_error(events, sandbox.era) or _detail(sandbox, identifier)
    return scripted_error(events, sandbox.era) or _rendered(_found(sandbox, query, kind, events), kind)


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
        return json_answer(400, messages)
    try:
        return export(sandbox, search) if kind == "csv" else _search(sandbox, search, events)
    except EngineError:
        return engine_error(sandbox.era)
    except UnsupportedTermError as error:
        return _unsupported(search, str(error))


def _rendered(answer: Answer, kind: str) -> Answer:
    """Render an error as the API does: as CSV only the names of its fields remain."""
    if kind != "csv" or answer.content_type == "text/csv" or answer.status == 501:
        return answer
    names = "".join(json.loads(answer.body[:]))
    return replace(answer, body=names.encode(), content_type="text/csv")


def _unsupported(search: Search, reason: str) -> Answer:
    """Refuse a search whose correct answer is unknown, with a line on the terminal, too."""
    message = f"sandbox: search_term {search.search_term!r} is not supported: {reason}"
    sys.stderr.write(f"luigi-etl: {message}\n")
    return json_answer(501, {"error": message})


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
    return json_answer(200, content)


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
    return json_answer(200, content)


def _document(sandbox: Sandbox, row: Row) -> dict[str, Any]:
    hit = _hit(row, sandbox.era, False, {})
    del hit["sort"]
    indexed = f"{sandbox.index.last_indexed}T12:00:00-05:00"
    dates = {name: row.value(name) for name in ("date_received", "date_sent_to_company")}
    formatted = {
        f"{name}_formatted": american_day(value) for name, value in {**dates, "date_indexed": indexed}.items()
    }
    updated = int(datetime.fromisoformat(indexed).timestamp())
    return {**hit, "_source": {**row.source, **formatted, "date_indexed": indexed, ":updated_at": updated}}
