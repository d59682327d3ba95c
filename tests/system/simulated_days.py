"""Simulated days on which the pipeline runs, and checks of its database."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sqlalchemy import Connection

from luigi_etl import MergeComplaints, SyncComplaints
from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Pipeline, Served
from tests.system.index_life import DAY, TRAILING, Life
from tests.system.ledger import (
    FIELDS,
    STATES,
    IndexRead,
    Ledger,
    Line,
    Truth,
    Values,
    read_days,
    read_ids,
    read_newest,
    truth_of,
)

FIRST = date(2026, 4, 1)
QUERY = "&".join(f"state={state}" for state in STATES)


class Days:
    """Simulated days on which the pipeline runs, and checks of its database."""

    def __init__(self, pipeline: Pipeline, served: Served, seed: int) -> None:
        self.ledger = Ledger()
        self._pipeline = pipeline
        self._sandbox = served.sandbox
        self._index = served.sandbox.index
        self._life = Life(self._index, seed)
        self.today = FIRST
        self.failed = 0
        self.troubles = 0
        self._minute = datetime(FIRST.year, FIRST.month, FIRST.day, 6)
        self._reads: list[IndexRead] = []
        self._truths: dict[datetime, Truth] = {}  # the index at the start of a run
        self._ends: dict[datetime, Truth] = {}  # the index at the end of a run
        self._known = 0  # number of snapshots in the ledger
        self._is_under_way = False
        pipeline.configure("ccdb", url=served.url, backoff=0, retry_delay=0)
        pipeline.configure("guard", lost_complaints=10)

    def rest(self, today: date) -> None:
        """Start a day without changes."""
        self.today = today
        self._minute = datetime(today.year, today.month, today.day, 6)

    def live(self, today: date) -> None:
        """Start a busy day."""
        self.rest(today)
        self._life.live(today)
        self._sandbox.era = self._life.era

    def sync(self, *rules: str, since: date | None = None, page_size: int = 150) -> int:
        """Sync in the next minute, with events at some of its requests; return the number of requests."""
        before = len(self._sandbox.requests)
        self._pipeline.configure("ccdb", retries=3, page_size=page_size)
        assert self._run(rules, since)
        self._settle()
        return len(self._sandbox.requests) - before

    def fail(self, at: int) -> None:
        """Sync in the next minute while the API fails from one request on; the pages so far stay."""
        self._pipeline.configure("ccdb", retries=0, page_size=12)
        self._is_under_way = not self._run([f"{number}:status=503" for number in range(at, at + 100)])
        self.failed += self._is_under_way
        if not self._is_under_way:
            self._settle()

    def _run(self, rules: Sequence[str], since: date | None = None) -> bool:
        truth = self._next_minute()
        first = self._script(rules)
        parameters = {"since": since} if since else {"days": TRAILING}
        is_done = self._pipeline.run(SyncComplaints, timestamp=self._minute, query=QUERY, **parameters)
        self._ends[self._minute] = truth_of(self._index)
        if changes := [rule for rule in rules if "arrive" in rule or "vanish" in rule]:
            since_then = self._sandbox.requests[first + int(changes[0].partition(":")[0]) - 1 :]
            self._truths[self._minute] = self._as_read(truth, since_then)
        return is_done

    def sync_in_vain(self, rule: str) -> None:
        """Sync in the next minute with an event at each request; the database must not change."""
        with self._pipeline.database.reading() as connection:
            before = held_complaints(connection), _withdrawn(connection), _lines(connection)
        self._pipeline.configure("ccdb", retries=0, page_size=150)
        assert not self._run([f"{number}:{rule}" for number in range(1, 30)])
        with self._pipeline.database.reading() as connection:
            assert (held_complaints(connection), _withdrawn(connection), _lines(connection)) == before
        self.troubles += 1

    def reload(self) -> None:
        """Reindex the same complaints."""
        self._index.reindex()

    def wait(self) -> None:
        """Let an hour pass."""
        self._minute += timedelta(hours=1)

    def merge_newest(self) -> None:
        """Merge the ten newest complaints in the next minute, as cron's chain does."""
        truth = self._next_minute()
        self._script(())
        assert self._pipeline.run(MergeComplaints, timestamp=self._minute, query=QUERY, limit=10)
        asked = [row for row in self._index.rows.values() if row.value("state") in STATES]
        newest = sorted(asked, key=lambda row: row.key)[-10:]
        self._reads.append(read_newest(self._minute, truth, [row.identifier for row in newest]))
        if not self._is_under_way:
            self._settle()

    def _next_minute(self) -> Truth:
        """Advance to the next minute; return the index's complaints."""
        self._minute += timedelta(minutes=1)
        self._truths[self._minute] = truth_of(self._index)
        return self._truths[self._minute]

    def _script(self, rules: Iterable[str]) -> int:
        """Schedule events, counted from the next request; return the number of requests so far."""
        before = len(self._sandbox.requests)
        parts = [rule.partition(":") for rule in rules]
        self._sandbox.script = Script(
            [read_rule(f"{before + int(number)}:{event}") for number, _, event in parts]
        )
        return before

    def _as_read(self, before: Truth, since: list[tuple[str, int]]) -> Truth:
        """Return what a run read of an index that changed during it: pages before and after the change."""
        after = truth_of(self._index)
        days = [_days_of(path) for path, _ in since if "size=0" not in path and "search_term" not in path]
        seen = {}
        for one in before.keys() | after.keys():
            day = str((before.get(one) or after[one])["date_received"])
            truth = after if any(first <= day <= last for first, last in days) else before
            if one in truth:
                seen[one] = truth[one]
        return seen

    def _settle(self) -> None:
        """Add the reads since the last call to the ledger."""
        found = self._pipeline.sql("SELECT timestamp, query FROM snapshots WHERE is_complete ORDER BY id")
        for timestamp, query in found[self._known :]:
            minute = _moment(timestamp)
            if "search_term=" in query:
                read = read_ids(minute, self._ends[minute], re.findall("[0-9]{2,}", unquote(query)))
            else:
                read = read_days(minute, self._truths[minute], *_days_of(f"?{query}"))
            self._reads.append(read)
        self._known = len(found)
        self.ledger.follow(self._reads)
        self._reads.clear()
        self._is_under_way = False

    def check(self, since: date | None = None) -> None:
        """Compare the database with the ledger, and the days that were read again with the index."""
        with self._pipeline.database.reading() as connection:
            held, withdrawn, lines = held_complaints(connection), _withdrawn(connection), _lines(connection)
        assert self._pipeline.sql("SELECT * FROM unverified") == []
        assert held == self.ledger.current
        assert withdrawn == self.ledger.withdrawn
        expected = Counter(self.ledger.lines)
        assert (lines - expected, expected - lines) == (Counter(), Counter())
        first = (since or self.today - TRAILING * DAY).isoformat()
        expected_read = read_days(self._minute, held, first, "9999-12-31")
        truth = {
            one: held.get(one, {}) | values
            for one, values in truth_of(self._index).items()
            if expected_read.covers(values)
        }
        assert expected_read.seen == truth


def held_complaints(connection: Connection) -> dict[str, Values]:
    """Return the complaints that are not withdrawn, by id."""
    rows = connection.exec_driver_sql(
        f"SELECT CAST(complaint_id AS text), {', '.join(FIELDS)} FROM current_complaints"
    )
    return {row[0]: dict(zip(FIELDS, map(_as_text, FIELDS, row[1:]), strict=True)) for row in rows}


def _withdrawn(connection: Connection) -> dict[str, datetime]:
    rows = connection.exec_driver_sql(
        "SELECT CAST(complaint_id AS text), withdrawn FROM complaints WHERE withdrawn IS NOT NULL"
    )
    return {row[0]: _moment(row[1]) for row in rows}


def _lines(connection: Connection) -> Counter[Line]:
    rows = connection.exec_driver_sql(
        "SELECT CAST(complaint_id AS text), change, field, old, new, snapshot FROM changes"
    )
    return Counter(
        Line(one, change, field, old, new, _moment(at)) for one, change, field, old, new, at in rows
    )


def _days_of(path: str) -> tuple[str, str]:
    """Return the first and last day of a request."""
    asked = parse_qs(urlsplit(path).query)
    return asked["date_received_min"][0], asked.get("date_received_max", ["9999-12-31"])[0]


def _as_text(field: str, value: Any) -> str | None:
    """Return a value of either database as the text in the history."""
    if value is None:
        return None
    return ("true" if value else "false") if field == "has_narrative" else str(value)


def _moment(value: Any) -> datetime:
    return datetime.fromisoformat(str(value))
