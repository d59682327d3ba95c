"""Simulate half a year of the API day by day, and sync both kinds of database with it.

Each day complaints arrive late, change, vanish, return, and get other dates and other states. In June and
August the API begins to send less, and for an hour it sends complaints in another form. Requests fail, the
index is empty or half loaded for a while, a clock is wrong, and syncs stop half way. After each day the
database must equal the sandbox's index, and its history must have exactly the changes that were made. A
ledger computes both from the minutes and the days that the pipeline read; it shares no code with it.
"""

import os
import random
from collections import Counter
from datetime import date

import pytest

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from tests.conftest import Pipeline, Serve
from tests.system.index_life import DAY, noon
from tests.system.simulated_days import FIRST, Days

pytestmark = pytest.mark.slow

LAST = date(2026, 9, 27)
OLDEST = date(2025, 10, 1)  # the earliest day of a complaint
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
    index = generated_index(120, 1, ERAS["2025-11"], 150, noon(FIRST))
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
