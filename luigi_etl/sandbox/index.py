"""An index of complaints in memory that sorts, filters and pages like the API's search engine."""

import gzip
import json
import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zlib import crc32

from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.generate import NOW, Generator, Source
from luigi_etl.sandbox.terms import TermError, UnsupportedTermError, matcher

Key = tuple[float, str]
LARGEST_WINDOW = 10_000
LOOK_AHEAD = 200
SCORE = 1.0
NO_DATE = -(2**63)  # the engine's sort value, in milliseconds, of a complaint without a date
YOUNG = 60  # days during which a company's response still changes
AGGREGATED = (
    "company",
    "company_public_response",
    "company_response",
    "issue",
    "product",
    "state",
    "submitted_via",
    "tags",
    "timely",
    "zip_code",
)


class EngineError(Exception):
    """The engine refuses the request; the API answers 424."""


@dataclass(frozen=True)
class Row:
    """A complaint in the index; its id is compared as text."""

    identifier: str
    milliseconds: int
    sent: str
    source: Source
    envelope: dict[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Return a field, or None: a recorded hit may have any format."""
        return self.source.get(name) if isinstance(self.source, dict) else None

    @property
    def key(self) -> Key:
        """The sort key of `created_date`."""
        return (self.milliseconds, self.identifier)

    @property
    def received(self) -> str:
        """The UTC day on which it was received; empty without a date."""
        return "" if self.milliseconds == NO_DATE else _moment(self.milliseconds).date().isoformat()


@dataclass(frozen=True)
class Search:
    """A checked request; the values of one of its `filters` are alternatives."""

    size: int = 25
    sort: str = "relevance_desc"
    search_after: str | None = None
    search_term: str = ""
    field: str = "complaint_what_happened"
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    no_aggs: bool = False


@dataclass(frozen=True)
class Found:
    """The result of a search: a page, the number of all matches, and the rest of the answer."""

    rows: Sequence[Row]
    total: int
    break_points: dict[str, list[Any]]
    aggregations: dict[str, Any]
    relation: str = "eq"


class Index:
    """Complaints by id, safe to change during a search: each search sees one state."""

    def __init__(
        self, rows: Iterable[Row], last_indexed: str, generator: Generator, description: str
    ) -> None:
        self.rows = {row.identifier: row for row in rows}
        self.last_indexed = last_indexed
        self.description = description
        self.lock = threading.RLock()
        self._generator = generator
        self._sorted: dict[tuple[object, ...], list[Row]] = {}

    @property
    def last_updated(self) -> str:
        """The newest day on which a complaint was received."""
        with self.lock:
            newest = self._matches(Search(sort="created_date_desc"))[:1]
        return newest[0].received if newest else "1970-01-01"

    def arrive(self, number: int) -> None:
        """Add complaints, received today or published weeks late."""
        self._put(row_of(self._generator.late()) for _ in range(number))

    def change(self, number: int) -> None:
        """Change complaints as companies respond to them, those of the last weeks first."""
        since = self._generator.now.timestamp() * 1000 - YOUNG * 86_400_000
        with self.lock:
            young = self._some(number, lambda row: row.milliseconds >= since)
            old = self._some(number - len(young), lambda row: row.milliseconds < since)
            self._put(replace(row, source=self._generator.changed(row.source)) for row in [*young, *old])

    def vanish(self, number: int) -> None:
        """Remove complaints at random."""
        with self.lock:
            self.remove([row.identifier for row in self._some(number)])

    def redate(self, number: int) -> None:
        """Move the newest complaints to the day before the oldest, past the cursor of a walk."""
        with self.lock:
            rows = sorted(self._some(len(self.rows), lambda row: bool(row.received)), key=_by_date)
            earlier = _moment(rows[0].milliseconds) - timedelta(days=1)
            self._put(row_of(self._generator.redated(row.source, earlier)) for row in rows[-number:])

    def put(self, sources: Iterable[Source]) -> None:
        """Add complaints, or replace those with the same ids."""
        self._put(map(row_of, sources))

    def remove(self, identifiers: Iterable[str]) -> None:
        """Remove complaints by their ids."""
        with self.lock:
            for identifier in identifiers:
                del self.rows[identifier]
            self._sorted.clear()

    def enter(self, era: Era) -> None:
        """Remove the fields that an era does not send, also from existing complaints."""
        self._generator.era = era
        self.put(
            {name: value for name, value in row.source.items() if name not in era.gone}
            for row in list(self.rows.values())
        )

    def move_on(self, now: datetime) -> None:
        """Set the time (aware) up to which new complaints are received."""
        self._generator.now = now

    def reindex(self, _: int = 0) -> None:
        """Move the day of the last indexing forward by one."""
        self.last_indexed = (date.fromisoformat(self.last_indexed) + timedelta(days=1)).isoformat()

    def part(self, divisor: int) -> "Index":
        """Return an index with one complaint in `divisor`, always the same ones; 0: an empty index."""
        with self.lock:
            rows = [
                row for row in self.rows.values() if divisor and crc32(row.identifier.encode()) % divisor == 0
            ]
        return Index(rows, self.last_indexed, self._generator, self.description)

    def search(self, search: Search) -> Found:
        """Find a page of complaints.

        Raises:
            EngineError: the page is too large, or the cursor or the search term is invalid.
            UnsupportedTermError: the sandbox does not know the engine's matches, or their order.

        """
        if search.size > LARGEST_WINDOW:
            raise EngineError
        with self.lock:
            matches = self._matches(search)
            by_date = search.sort.startswith("created_date")
            if search.search_term and search.size and len(matches) > 1 and not by_date:
                raise UnsupportedTermError("the order of relevance is not known; add sort=created_date_desc")
            start = _after(search, matches, by_date) if search.search_after is not None else 0
            page = matches[start : start + search.size]
            return Found(
                page,
                len(matches),
                _break_points(matches, search.size, by_date),
                {} if search.no_aggs else _aggregations(matches),
            )

    def all_matching(self, search: Search) -> list[Row]:
        """Return every match, in the order of an export."""
        with self.lock:
            return self._matches(search)

    def _put(self, rows: Iterable[Row]) -> None:
        with self.lock:
            self.rows.update({row.identifier: row for row in rows})
            self._sorted.clear()

    def _texts(self, name: str) -> set[str]:
        return {value for row in self.rows.values() if isinstance(value := row.value(name), str)}

    def _some(self, number: int, wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
        rows = list(filter(wanted, self.rows.values()))
        return self._generator.random.sample(rows, min(number, len(rows)))

    def _matches(self, search: Search) -> list[Row]:
        """Return all matches in the requested order; they are cached until the index changes."""
        asked = (search.sort, search.search_term, search.field, search.filters)
        if asked not in self._sorted:
            wanted = _predicate(search, self._texts)
            order, _, direction = search.sort.rpartition("_")
            key: Callable[[Row], Any] = _by_date if order == "created_date" else _by_id
            self._sorted[asked] = sorted(
                filter(wanted, self.rows.values()), key=key, reverse=direction == "desc"
            )
        return self._sorted[asked]


def generated_index(number: int, seed: int, era: Era, days: int, now: datetime = NOW) -> Index:
    """Return an index of generated complaints, received in the `days` before `now` (aware)."""
    generator = Generator(seed, era, days, now)
    rows = map(row_of, generator.complaints(number))
    description = f"{number:,} generated complaints, seed {seed}, era {era.name}"
    return Index(rows, now.date().isoformat(), generator, description)


def replayed_index(files: Sequence[Path], seed: int, era: Era) -> Index:
    """Return an index of the hits in recorded answers; for one id, the last file counts.

    Raises:
        ValueError: a file is not a recorded answer.

    """
    rows: list[Row] = []
    for file in files:
        try:
            for answer in _recorded_answers(file):
                rows += map(_recorded_row, json.loads(answer)["hits"]["hits"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{file} is not a recorded answer of the search API ({type(error).__name__})"
            ) from None
    description = f"complaints replayed from {', '.join(file.name for file in files)}"
    last_indexed = max((row.received for row in rows), default="1970-01-01")
    return Index(rows, last_indexed, Generator(seed, era, 90), description)


def _recorded_answers(file: Path) -> list[bytes]:
    """Return the answers in a file: a single one, or one per line of a gzip file, as extractions are."""
    content = file.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content).splitlines()
    return [content]


def sort_values(row: Row, by_date: bool) -> list[Any]:
    """Return the values of the cursor `search_after`."""
    return [row.milliseconds if by_date else SCORE, row.identifier]


def row_of(source: Source) -> Row:
    """Return the row of a complaint."""
    sent = source.get("date_sent_to_company") or ""
    return Row(str(source["complaint_id"]), _milliseconds(source.get("date_received")), sent[:10], source)


def _recorded_row(hit: dict[str, Any]) -> Row:
    """Return the row of a recorded hit, unchanged; only its sort values are read."""
    source = hit["_source"]
    sort: tuple[Any, Any] = hit.get("sort") or (None, hit["_id"])
    # In a search by relevance the first sort value is the score, a float or null.
    milliseconds = sort[0] if isinstance(sort[0], int) else _milliseconds(source.get("date_received"))
    sent = source.get("date_sent_to_company") if isinstance(source, dict) else None
    envelope = {key: hit[key] for key in hit if key not in ("_source", "sort")}
    return Row(str(sort[1]), milliseconds, str(sent or "")[:10], source, envelope)


def _milliseconds(instant: str | None) -> int:
    if instant is None:
        return NO_DATE
    return int(datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _by_date(row: Row) -> Key:
    return row.key


def _by_id(row: Row) -> Key:
    return (SCORE, row.identifier)


def _after(search: Search, matches: list[Row], by_date: bool) -> int:
    """Return the position of the first row after the cursor.

    Without a sort by date, the date in a cursor is read as a score above all others, which gives page 1.
    """
    parts = str(search.search_after).split("_")
    if len(parts) != 2 or (by_date and not parts[0].isdecimal()):
        raise EngineError
    try:
        cursor = (float(parts[0]), parts[1])
    except ValueError:
        raise EngineError from None
    key = _by_date if by_date else _by_id
    if search.sort.endswith("_asc"):
        return bisect_right(matches, cursor, key=key)
    # bisect needs an ascending order, so count from the end
    return len(matches) - bisect_left(matches[::-1], cursor, key=key)


def _break_points(matches: list[Row], size: int, by_date: bool) -> dict[str, list[Any]]:
    """Return the cursors of the pages that begin within the next 200 rows, for the web page."""
    if not 0 < size < LOOK_AHEAD:
        return {}
    begins = range(size, min(LOOK_AHEAD, len(matches)), size)
    return {str(page): sort_values(matches[begin - 1], by_date) for page, begin in enumerate(begins, 2)}


def _aggregations(matches: list[Row]) -> dict[str, Any]:
    result = {}
    for name in AGGREGATED:
        counted = Counter(row.value(name) for row in matches)
        counted.pop(None, None)
        buckets = [{"key": key, "doc_count": count} for key, count in counted.most_common()]
        result[name] = {"doc_count": len(matches), name: {"sum_other_doc_count": 0, "buckets": buckets}}
    return result


def _predicate(search: Search, texts: Callable[[str], set[str]]) -> Callable[[Row], bool]:
    """Return the condition of a search: filters by AND, values by OR, all `not_` names together."""
    tests = [_filter(name, values) for name, values in search.filters if not name.startswith("not_")]
    excluded = [
        _filter(name.removeprefix("not_"), values)
        for name, values in search.filters
        if name.startswith("not_")
    ]
    if search.search_term:
        try:
            found = matcher(search.search_term, search.field, texts)
        except TermError:
            raise EngineError from None
        tests.append(lambda row: found(row.value))

    def wanted(row: Row) -> bool:
        if excluded and all(test(row) for test in excluded):
            return False
        return all(test(row) for test in tests)

    return wanted


def _filter(name: str, values: tuple[str, ...]) -> Callable[[Row], bool]:
    if name.endswith("_min"):
        return lambda row: _day_of(row, name) >= values[-1]
    if name.endswith("_max"):
        return lambda row: "" < _day_of(row, name) <= values[-1]
    if name in ("product", "issue"):
        families = _families(values)
        return lambda row: _is_or_is_below(row, name, families)
    if name == "has_narrative":
        if not set(values) <= {"true", "false"}:
            raise EngineError
        return lambda row: row.value(name) in [value == "true" for value in values]
    return lambda row: row.value(name) in values


def _day_of(row: Row, name: str) -> str:
    return row.received if name.startswith("date_received") else row.sent


def _families(values: tuple[str, ...]) -> dict[str, set[str]]:
    """Return the requested children by parent; a parent with children stands only for these."""
    families: dict[str, set[str]] = {}
    for value in values:
        parent, bullet, child = value.partition("\u2022")
        families.setdefault(parent, set()).update({child} if bullet else ())
    return families


def _is_or_is_below(row: Row, name: str, families: dict[str, set[str]]) -> bool:
    children = families.get(str(row.value(name)))
    return children is not None and (not children or row.value(f"sub_{name}") in children)
