"""Simulate half a year of the API day by day, and sync both kinds of database with it.

Each day complaints arrive late, change, vanish, return, and get other dates and other states. In June and
August the API begins to send less, and for an hour it sends complaints in another form. Requests fail, the
index is empty or half loaded for a while, a clock is wrong, and syncs stop half way. After each day the
database must equal the sandbox's index, and its history must have exactly the changes that were made. A
ledger computes both from the minutes and the days that the pipeline read; it shares no code with it.
"""

import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import groupby
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from sqlalchemy import Connection

from luigi_etl import MergeComplaints, SyncComplaints
from luigi_etl.sandbox.eras import ERAS, Era
from luigi_etl.sandbox.generate import PUBLIC_RESPONSES, RESPONSES, TAGS, Source
from luigi_etl.sandbox.index import Index, generated_index
from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Pipeline, Serve, Served

pytestmark = pytest.mark.slow

FIRST = date(2026, 4, 1)
LAST = date(2026, 9, 27)
OLDEST = date(2025, 10, 1)  # the earliest day of a complaint
TRAILING = 90  # days that each sync reads again
DAY = timedelta(days=1)
ERA_BEGINS = {date(2026, 6, 2): ERAS["2026-06"], date(2026, 8, 14): ERAS["2026-08"]}
STATES = ("CA", "FL", "GA", "IL", "NC", "NY", "OH", "PA", "TX", "VA")  # the query: most complaints match
QUERY = "&".join(f"state={state}" for state in STATES)
FIELDS = (
    *("date_received", "product", "sub_product", "issue", "sub_issue", "complaint_what_happened"),
    *("company_public_response", "company", "state", "zip_code", "tags", "consumer_consent_provided"),
    *("submitted_via", "date_sent_to_company", "company_response", "timely", "consumer_disputed"),
    "has_narrative",
)

Values = dict[str, str | None]  # a complaint's fields as text, as in the history
Truth = Mapping[str, Values]  # the index's complaints by id


class Line(NamedTuple):
    """A line of the history."""

    complaint_id: str
    change: str
    field: str | None
    old: str | None
    new: str | None
    minute: datetime


class IndexRead(NamedTuple):
    """A read of the index in one minute: all complaints of some days, the newest ones, or some ids."""

    minute: datetime
    seen: Truth
    first: str = ""
    last: str = ""
    ids: frozenset[str] = frozenset()

    def covers(self, values: Values) -> bool:
        return self.first <= str(values["date_received"]) <= self.last and is_in_query(values)


def is_in_query(values: Values) -> bool:
    return values["state"] in STATES


def read_days(minute: datetime, truth: Truth, first: str, last: str) -> IndexRead:
    read = IndexRead(minute, {}, first, last)
    return read._replace(seen={one: values for one, values in truth.items() if read.covers(values)})


def read_ids(minute: datetime, truth: Truth, ids: Iterable[str]) -> IndexRead:
    wanted = frozenset(ids)
    return IndexRead(minute, {one: truth[one] for one in wanted & truth.keys()}, ids=wanted)


def read_newest(minute: datetime, truth: Truth, ids: Iterable[str]) -> IndexRead:
    return IndexRead(minute, {one: truth[one] for one in ids})


# --- the expected database -----------------------------------------------------------------------


class Ledger:
    """The expected database and history, computed from each read of the index."""

    def __init__(self) -> None:
        self.held: dict[str, Values] = {}
        self.withdrawn: dict[str, datetime] = {}
        self.lines: list[Line] = []
        self.missed: set[str] = set()

    @property
    def current(self) -> dict[str, Values]:
        return {one: values for one, values in self.held.items() if one not in self.withdrawn}

    def follow(self, reads: Iterable[IndexRead]) -> None:
        """Record reads of the index; withdraw a missing complaint once a lookup by its id finds nothing."""
        for minute, of_minute in groupby(sorted(reads, key=_minute_of), _minute_of):
            in_order = list(of_minute)
            self._note(minute, [read for read in in_order if not read.ids])
            for read in in_order:
                self._look_up(read)

    def _look_up(self, read: IndexRead) -> None:
        self._see(read.minute, read.seen)
        for one in sorted((self.missed & read.ids) - read.seen.keys()):
            self.withdrawn[one] = read.minute
            self.lines.append(Line(one, "withdrawn", None, None, None, read.minute))
        self.missed -= read.ids

    def _note(self, minute: datetime, reads: list[IndexRead]) -> None:
        """Record the reads of one minute."""
        seen: dict[str, Values] = {}
        for read in reads:
            seen |= read.seen
        self._see(minute, seen)
        self.missed -= seen.keys()
        self.missed |= {
            one
            for one, values in self.current.items()
            if one not in seen and any(read.covers(values) for read in reads)
        }

    def _see(self, minute: datetime, seen: Truth) -> None:
        """Record complaints as sent; fields that were not sent keep their values."""
        for one, sent in seen.items():
            if one not in self.held:
                self.held[one] = dict.fromkeys(FIELDS) | sent
                self.lines.append(Line(one, "new", None, None, None, minute))
            before = self.held[one]
            for field, value in sent.items():
                if before[field] != value:
                    self.lines.append(Line(one, "changed", field, before[field], value, minute))
            if self.withdrawn.pop(one, None):
                self.lines.append(Line(one, "returned", None, None, None, minute))
            self.held[one] = before | sent


def _minute_of(read: IndexRead) -> datetime:
    return read.minute


def truth_of(index: Index) -> Truth:
    """Return the complaints of an index, with UTC days, and None for an empty text."""
    return {row.identifier: _values(row.source) for row in index.rows.values()}


def _values(source: Source) -> Values:
    return {field: _text(field, source[field]) for field in FIELDS if field in source}


def _text(field: str, sent: Any) -> str | None:
    if sent is None or sent == "":
        return None
    if field == "has_narrative":
        return "true" if sent else "false"
    if field.startswith("date_"):
        instant = datetime.fromisoformat(str(sent).replace("Z", "+00:00"))
        return instant.astimezone(timezone.utc).date().isoformat() if instant.tzinfo else str(sent)[:10]
    return str(sent)


# --- the life of the complaints ------------------------------------------------------------------


class Life:
    """Random changes of an index's complaints, the same for the same seed."""

    def __init__(self, index: Index, seed: int) -> None:
        self.index = index
        self.era = ERAS["2025-11"]
        self.random = random.Random(seed)
        self.gone: list[Source] = []
        self._fields = frozenset(FIELDS)

    def live(self, today: date) -> None:
        """Simulate a busy day that ends with an update of the index."""
        self.index.move_on(_noon(today))
        begun = [era for day, era in ERA_BEGINS.items() if day <= today]
        if begun and self.era is not begun[-1]:
            self._enter(begun[-1])
        self.index.arrive(self._few(4))
        self.index.put(self._changed(source) for source in self._some(self._few(6), today))
        self._vanish(today)
        self._return()
        self._move(today)
        self.index.reindex()

    def _few(self, most: int) -> int:
        return self.random.randint(0, most)

    def _enter(self, era: Era) -> None:
        self.index.enter(era)
        self._fields -= era.gone
        if era.instants and not self.era.instants:  # old dates become instants, some of the next day
            late = {row.identifier for row in self.random.sample(self._rows(), 25)}
            self.index.put(_as_instant(row.source, row.identifier in late) for row in self._rows())
        self.era = era

    def _rows(self) -> list[Any]:
        return sorted(self.index.rows.values(), key=lambda row: row.identifier)

    def _some(self, number: int, today: date) -> list[Source]:
        """Pick complaints, nine in ten from the trailing days."""
        first = (today - (TRAILING if self.random.random() < 0.9 else 400) * DAY).isoformat()
        rows = [row.source for row in self._rows() if row.received >= first]
        return self.random.sample(rows, min(number, len(rows)))

    def _changed(self, source: Source) -> Source:
        field, values = self.random.choice(
            [
                ("company_response", (*RESPONSES, None)),
                ("company_public_response", (*PUBLIC_RESPONSES, None, "")),
                ("tags", (*TAGS, None, "")),
                ("timely", ("Yes", "No")),
                ("complaint_what_happened", ("It says XXXX \u2022 'now'.\n\nSecond", "")),
                ("date_sent_to_company", (None, source["date_received"])),
            ]
        )
        return {**source, field: self.random.choice(values)} if field in source else source

    def _vanish(self, today: date) -> None:
        going = self._some(self._few(2), today)
        self.index.remove(str(source["complaint_id"]) for source in going)
        self.gone += going

    def _return(self) -> None:
        self.random.shuffle(self.gone)
        back = [self.gone.pop() for _ in range(min(len(self.gone), self._few(1)))]
        self.index.put(self._changed(self._as_sent_now(source)) for source in back)

    def _as_sent_now(self, source: Source) -> Source:
        return {name: value for name, value in source.items() if name in self._fields | {"complaint_id"}}

    def _move(self, today: date) -> None:
        moving = self.random.sample([row.source for row in self._rows()], self._few(3))
        self.index.put(self._moved(source, today) for source in moving)
        reclassified = self.random.sample([row.source for row in self._rows()], self._few(2))
        self.index.put({**source, "state": self._another_state()} for source in reclassified)

    def _another_state(self) -> str | None:
        """Return a state; half of the time one outside the query."""
        return self.random.choice([*STATES, *("PR", "AE", "WA", "NJ", None) * 2])

    def _moved(self, source: Source, today: date) -> Source:
        """Move a complaint to a near day, any trailing day, or a day before those."""
        ago = self.random.choice([self.random.randint(0, 5), self.random.randint(0, TRAILING), TRAILING + 30])
        received = _noon(today - ago * DAY) + timedelta(minutes=self.random.randint(-700, 0))
        text = _instant(received) if self.era.instants else f"{received:%Y-%m-%d}T12:00:00-05:00"
        return {**source, "date_received": text}


def _as_instant(source: Source, is_of_the_next_day: bool) -> Source:
    noon = datetime.fromisoformat(source["date_received"])
    return {**source, "date_received": _instant(noon + timedelta(hours=11 if is_of_the_next_day else 0))}


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)


def _instant(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- the days ------------------------------------------------------------------------------------


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
            before = _held(connection), _withdrawn(connection), _lines(connection)
        self._pipeline.configure("ccdb", retries=0, page_size=150)
        assert not self._run([f"{number}:{rule}" for number in range(1, 30)])
        with self._pipeline.database.reading() as connection:
            assert (_held(connection), _withdrawn(connection), _lines(connection)) == before
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
            held, withdrawn, lines = _held(connection), _withdrawn(connection), _lines(connection)
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


def _held(connection: Connection) -> dict[str, Values]:
    rows = connection.exec_driver_sql(f"SELECT complaint_id, {', '.join(FIELDS)} FROM current_complaints")
    return {row[0]: dict(zip(FIELDS, map(_as_text, FIELDS, row[1:]), strict=True)) for row in rows}


def _withdrawn(connection: Connection) -> dict[str, datetime]:
    rows = connection.exec_driver_sql(
        "SELECT complaint_id, withdrawn FROM complaints WHERE withdrawn IS NOT NULL"
    )
    return {row[0]: _moment(row[1]) for row in rows}


def _lines(connection: Connection) -> Counter[Line]:
    rows = connection.exec_driver_sql("SELECT complaint_id, change, field, old, new, snapshot FROM changes")
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


# --- half a year ---------------------------------------------------------------------------------


PASSING = ("status=503", "status=424", "status=500", "cut", "truncate", "reset", "timed_out", "shards")
GROWING = ("arrive=1", "during:arrive=2", "during:vanish=1")


def quiet(days: Days, chance: random.Random) -> None:
    days.sync(page_size=chance.choice([40, 150, 150, 150]))


def faulty(days: Days, chance: random.Random) -> None:
    days.sync(*(f"{number}:{chance.choice(PASSING)}" for number in chance.sample(range(1, 8), 3)))
    assert days.sync() == 1


def growing(days: Days, chance: random.Random) -> None:
    """Change the index during a sync; the next sync completes the database."""
    days.sync(f"{chance.randint(1, 9)}:{chance.choice(GROWING)}", page_size=12)
    days.sync()


def killed(days: Days, chance: random.Random) -> None:
    days.fail(chance.randint(1, 12))
    if chance.random() < 0.5:
        days.merge_newest()
    days.sync(page_size=12)


def abandoned(days: Days, chance: random.Random) -> None:
    """Stop a sync; the next day resumes it, then syncs again."""
    days.fail(chance.randint(2, 12))
    days.live(days.today + DAY)
    if chance.random() < 0.5:
        days.merge_newest()
    days.sync(page_size=12)
    days.sync()


def backfill(days: Days, _: random.Random) -> None:
    days.sync(since=OLDEST, page_size=12)
    days.check(OLDEST)


def emptied(days: Days, _: random.Random) -> None:
    days.sync_in_vain("empty")
    days.sync()


def halved(days: Days, _: random.Random) -> None:
    days.sync()
    days.sync_in_vain("half")
    days.sync()


def clock_ahead(days: Days, _: random.Random) -> None:
    days.sync_in_vain("behind=3600")
    days.sync()


def ignoring(days: Days, _: random.Random) -> None:
    """Ignore the filters: the wrong count makes the next sync read once more."""
    days.sync_in_vain("ignore_filters")
    days.sync()
    days.sync()


def drifted(days: Days, chance: random.Random) -> None:
    """Send another form for an hour: a list in place of text, or another field name."""
    days.sync()
    days.reload()
    days.sync_in_vain(chance.choice(["tags_list", "rename"]))
    days.wait()
    days.sync()


DRIFTS = (date(2026, 6, 9), date(2026, 6, 10), date(2026, 8, 19), date(2026, 8, 20))
KINDS = {quiet: 14, faulty: 4, growing: 2, killed: 4, abandoned: 4, backfill: 1}
TROUBLES = (emptied, halved, clock_ahead, ignoring)


@pytest.fixture
def days(pipeline: Pipeline, served: Serve, monkeypatch: pytest.MonkeyPatch) -> Days:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # saves a sixth of the time; no power fails here
    index = generated_index(120, 1, ERAS["2025-11"], 150, _noon(FIRST))
    return Days(pipeline, served(index=index, era="2025-11"), seed=1)


def test_database_equals_the_index_after_each_day(days: Days) -> None:
    chance = random.Random(1)
    days.sync(since=OLDEST)
    days.check(OLDEST)
    while days.today < LAST:
        days.rest(days.today + DAY)
        if days.today in DRIFTS:
            drifted(days, chance)
        elif chance.random() < 0.05:
            days.live(days.today)
            chance.choice(TROUBLES)(days, chance)
        elif chance.random() < 0.4:
            assert days.sync() == 1
        else:
            days.live(days.today)
            if chance.random() < 0.15:
                days.merge_newest()
            chance.choices(list(KINDS), list(KINDS.values()))[0](days, chance)
            if chance.random() < 0.15:
                days.merge_newest()
        days.check()
    assert days.failed > 10
    assert days.troubles > 8
    counts = Counter(line.change for line in days.ledger.lines)
    assert min(counts[change] for change in ("new", "changed", "withdrawn", "returned")) > 15
