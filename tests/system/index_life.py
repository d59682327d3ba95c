"""Random changes of the index, day by day."""

import random
from datetime import date, datetime, timedelta, timezone
from typing import Any

from luigi_etl.sandbox.eras import ERAS, Era
from luigi_etl.sandbox.generate import PUBLIC_RESPONSES, RESPONSES, TAGS, Source
from luigi_etl.sandbox.index import Index
from tests.system.ledger import FIELDS, STATES

TRAILING = 90  # days that each sync reads again
DAY = timedelta(days=1)
ERA_BEGINS = {date(2026, 6, 2): ERAS["2026-06"], date(2026, 8, 14): ERAS["2026-08"]}


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
        self.index.move_on(noon(today))
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
        received = noon(today - ago * DAY) + timedelta(minutes=self.random.randint(-700, 0))
        text = _instant(received) if self.era.instants else f"{received:%Y-%m-%d}T12:00:00-05:00"
        return {**source, "date_received": text}


def _as_instant(source: Source, is_of_the_next_day: bool) -> Source:
    noon = datetime.fromisoformat(source["date_received"])
    return {**source, "date_received": _instant(noon + timedelta(hours=11 if is_of_the_next_day else 0))}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)


def _instant(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
