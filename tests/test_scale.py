"""A year of minutes: what it costs to list the last day, to run the next minute, to remove the old ones."""

import json
import re
import statistics
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.conftest import Chain, Serve
from tests.made import many, stored

pytestmark = pytest.mark.slow

WHOLE, YEAR = 100_000, 525_600
DAY = 1440


@dataclass(frozen=True)
class Year:
    """The minutes of a year, up to `newest`, of the chain's default query: the newest 100,000 whole."""

    root: Path
    newest: datetime


@pytest.fixture
def year(chain: Chain) -> Year:
    """Give a year of minutes that leaves the last ten for runs."""
    chain.environment["COVERAGE_PROCESS_CONFIG"] = ""  # it takes time of its own
    now = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0)
    year = Year(chain.folder / "data", now - timedelta(minutes=10))
    model = stored(chain.folder / "model", now)
    many(year.root, model, year.newest, WHOLE)
    many(year.root, model, year.newest - timedelta(minutes=WHOLE), YEAR - WHOLE, whole=False)
    return year


def test_a_year_of_minutes_costs_the_next_one_nothing_and_can_be_removed(
    chain: Chain, served: Serve, year: Year, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = seconds_to_list(chain)
    beside, alone = seconds_of_runs(chain, served(1000).url, year)
    removing = seconds_to_prune(chain)
    with capsys.disabled():
        print(
            f"\n{YEAR:,} minutes: the last day is listed in {listing:.2f} s; the next run takes "
            f"{beside:.3f} s, beside none {alone:.3f} s ({beside / alone:.2f}); "
            f"the old ones are removed in {removing:.1f} s"
        )
    assert listing < 2
    assert beside / alone < 1.25  # on a busy machine; on one at rest it is within a tenth
    assert removing < 60


def seconds_to_list(chain: Chain) -> float:
    began = time.monotonic()
    run = chain.program("luigi-etl", "runs", "--json")
    took = time.monotonic() - began
    assert DAY - 15 < len(json.loads(run.out)) < DAY
    return took


def seconds_of_runs(chain: Chain, url: str, year: Year) -> tuple[float, float]:
    """Return the medians of whole runs beside the year and beside none, which take turns."""
    took: dict[str, list[float]] = {str(year.root): [], str(chain.folder / "empty"): []}
    for turn in range(8):
        for root, seconds in took.items():
            minute = f"{year.newest + timedelta(minutes=turn + 1):%Y-%m-%dT%H%M}"
            began = time.monotonic()
            run = chain.luigi("--timestamp", minute, "--storage-root", root, url=url)
            seconds.append(time.monotonic() - began)
            assert run.code == 0, run.err
    beside, alone = (statistics.median(each[1:]) for each in took.values())  # the first warms up
    return beside, alone


def seconds_to_prune(chain: Chain) -> float:
    began = time.monotonic()
    run = chain.program(
        "luigi", "--module", "luigi_etl", "PruneSnapshots", "--local-scheduler", "--keep-days", "1"
    )
    took = time.monotonic() - began
    assert run.code == 0, run.err
    assert re.match(r"older than 1 day: removed 524,1\d\d snapshots and 0 temporary files", run.out)
    return took
