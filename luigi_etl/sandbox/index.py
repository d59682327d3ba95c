"""An index of complaints in memory that sorts, filters and pages like the API's search engine."""

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from luigi_etl.sandbox.editions import Editions, is_in_part
from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.generate import NOW, Generator, Source
from luigi_etl.sandbox.row import Row, key_by_date, key_by_id, moment_of, row_of, sort_values
from luigi_etl.sandbox.search import EngineError, Search, condition_of
from luigi_etl.sandbox.terms import UnsupportedTermError

LARGEST_WINDOW = 10_000
LOOK_AHEAD = 200
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
        self.editions = Editions()
        self._generator = generator
        self._sorted: dict[tuple[object, ...], list[Row]] = {}
        self._publish()

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
            rows = sorted(self._some(len(self.rows), lambda row: bool(row.received)), key=key_by_date)
            earlier = moment_of(rows[0].milliseconds) - timedelta(days=1)
            self._put(row_of(self._generator.redated(row.source, earlier)) for row in rows[-number:])

    def put(self, sources: Iterable[Source]) -> None:
        """Add complaints, or replace those with the same ids."""
        self._put(map(row_of, sources))

    def remove(self, identifiers: Iterable[str]) -> None:
        """Remove complaints by their ids."""
        with self.lock:
            self.editions.keep_narratives([self.rows.pop(identifier) for identifier in identifiers])
            self._sorted.clear()

    def enter(self, era: Era) -> None:
        """Remove the fields that an era does not send, also from existing complaints."""
        self._generator.era = era
        self.editions.keep_narratives(self.rows.values())
        self.put(
            {name: value for name, value in row.source.items() if name not in era.gone}
            for row in list(self.rows.values())
        )

    def move_on(self, now: datetime) -> None:
        """Set the time (aware) up to which new complaints are received."""
        self._generator.now = now

    def reindex(self, _: int = 0) -> None:
        """Move the day of the last indexing forward by one, and publish a new daily file."""
        self.last_indexed = (date.fromisoformat(self.last_indexed) + timedelta(days=1)).isoformat()
        self._publish()

    def withdrawn(self, number: int, days: int, now: datetime) -> list[Row]:
        """Return complaints of earlier days that the index no longer holds."""
        with self.lock:
            return list(map(row_of, self._generator.apart(days, now).complaints(number)))

    def part(self, divisor: int) -> "Index":
        """Return an index with one complaint in `divisor`, always the same ones; 0: an empty index."""
        with self.lock:
            rows = [row for row in self.rows.values() if is_in_part(row, divisor)]
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

    def _publish(self) -> None:
        with self.lock:
            self.editions.publish(self._generator.now, self._generator.era, self.rows.values())

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
            is_match = condition_of(search, self._texts)
            order, _, direction = search.sort.rpartition("_")
            key: Callable[[Row], Any] = key_by_date if order == "created_date" else key_by_id
            self._sorted[asked] = sorted(
                filter(is_match, self.rows.values()), key=key, reverse=direction == "desc"
            )
        return self._sorted[asked]


def generated_index(number: int, seed: int, era: Era, days: int, now: datetime = NOW) -> Index:
    """Return an index of generated complaints, received in the `days` before `now` (aware)."""
    generator = Generator(seed, era, days, now)
    rows = map(row_of, generator.complaints(number))
    description = f"{number:,} generated complaints, seed {seed}, era {era.name}"
    return Index(rows, now.date().isoformat(), generator, description)


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
    key = key_by_date if by_date else key_by_id
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
