"""Simulate six weeks of daily files: after each morning the database equals the index, whatever its age.

Complaints arrive late, change, vanish, return, and get other dates and other states. In June the files lose
two columns. Some mornings the download breaks, the file is half, or the server sends a web page.
"""

import os
import random
from datetime import date

import pytest

from luigi_etl import ReconcileComplaints, SyncComplaints
from luigi_etl.common.minutes import read_parameter
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.script import Script, read_rule
from tests.conftest import Pipeline, Serve, Served
from tests.sandbox.requested_files import DAILY
from tests.system.index_life import DAY, Life, noon
from tests.system.ledger import FIELDS, Truth, Values, truth_of
from tests.system.simulated_days import held_complaints

pytestmark = pytest.mark.slow

FIRST, LAST = date(2026, 5, 10), date(2026, 6, 21)
RESUMED = ("cut", "reset", "status=503", "no_ranges", "no_validators", "no_length")
FAILED = ("html", "redirect", "half", "status=404")


class Mornings:
    """Simulated mornings on which the pipeline reads the daily file."""

    def __init__(self, pipeline: Pipeline, server: Served) -> None:
        self._pipeline = pipeline
        self._sandbox = server.sandbox
        self._life = Life(server.sandbox.index, seed=3)
        self._known: dict[str, Values] = {}
        self.today = FIRST
        daily_file = server.url.partition("/data-research")[0] + DAILY
        pipeline.configure("ccdb", url=server.url, daily_file=daily_file, retries=2, retry_delay=0)
        pipeline.configure("guard", lost_complaints=10)

    def live(self) -> None:
        """Simulate the next day, which ends with a new file."""
        self.today += DAY
        self._life.live(self.today)
        self._sandbox.era = self._life.era

    def reconcile(self, *events: str) -> bool:
        """Read the daily file, with events at the next requests."""
        begun = len(self._sandbox.requests)
        rules = [read_rule(f"{begun + at}:{event}") for at, event in enumerate(events, 1)]
        self._sandbox.script = Script(rules)
        return self._pipeline.run(ReconcileComplaints)

    def sync(self) -> bool:
        """Read the last days again from the API, an hour before the file."""
        self._sandbox.script = Script([])
        minute = read_parameter(f"{self.today}T0400")
        return self._pipeline.run(SyncComplaints, timestamp=minute, days=90)

    def check(self) -> None:
        """Compare the database with the index; a field that is no longer sent keeps its value."""
        truth = truth_of(self._sandbox.index)
        for one, values in truth.items():
            self._known[one] = self._known.get(one, dict.fromkeys(FIELDS)) | values
        with self._pipeline.database.reading() as connection:
            found = held_complaints(connection)
        assert _in_files(found) == _in_files({one: self._known[one] for one in truth})


def _in_files(complaints: Truth) -> Truth:
    """Leave out the field that only the API sends."""
    return {one: {**values, "has_narrative": None} for one, values in complaints.items()}


@pytest.fixture
def mornings(pipeline: Pipeline, served: Serve, monkeypatch: pytest.MonkeyPatch) -> Mornings:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here
    index = generated_index(120, 1, ERAS["2025-11"], 400, noon(FIRST))
    return Mornings(pipeline, served(index=index, era="2025-11"))


def test_database_equals_the_index_of_each_morning(mornings: Mornings) -> None:
    chance = random.Random(5)
    failed = 0
    while mornings.today < LAST:
        mornings.live()
        if chance.random() < 0.3:
            assert mornings.sync()
        if chance.random() < 0.25:
            failed += not mornings.reconcile(chance.choice(FAILED))
        assert mornings.reconcile(*([chance.choice(RESUMED)] if chance.random() < 0.4 else []))
        mornings.check()
    assert failed > 5
