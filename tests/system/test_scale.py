"""Speed with many stored minutes: listing a day, running the next minute, removing old ones."""

import json
import statistics
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.conftest import Chain, Serve
from tests.made import many, stored

pytestmark = pytest.mark.slow

DAY = 1440  # minutes
FEW, MANY = 2 * DAY, 14 * DAY
TURNS = 5


@pytest.fixture
def roots(chain: Chain) -> tuple[Path, Path]:
    """Provide a storage root with few minutes and one with many, the newest ten minutes ago."""
    chain.environment["COVERAGE_PROCESS_CONFIG"] = ""  # measuring coverage slows the runs
    newest = datetime.now(timezone.utc).replace(tzinfo=None, second=0, microsecond=0) - timedelta(minutes=10)
    few, lots = chain.folder / "few", chain.folder / "many"
    for root, minutes in ((few, FEW), (lots, MANY)):
        many(root, stored(root / "model", newest), newest, minutes)
    return few, lots


def seconds(chain: Chain, *command: str, url: str = "") -> float:
    """Return the wall time of a successful run."""
    began = time.monotonic()
    run = chain.program(*command, url=url)
    took = time.monotonic() - began
    assert run.code == 0, run.err
    return took


def ratio(few: list[float], lots: list[float]) -> float:
    """Return the median slow-down from few to many minutes, over pairs of runs."""
    return statistics.median(more / less for less, more in zip(few, lots, strict=True))


def test_listing_a_day_stays_as_fast(chain: Chain, roots: tuple[Path, Path]) -> None:
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for root, times in zip(roots, took, strict=True):
            chain.configure("storage", root=root)
            times.append(seconds(chain, "luigi-etl", "runs", "--json"))

    listed = json.loads(chain.program("luigi-etl", "runs", "--json").out)
    assert DAY - 15 < len(listed) < DAY
    assert ratio(*took) < 1.3


def test_next_minute_stays_as_fast(chain: Chain, served: Serve, roots: tuple[Path, Path]) -> None:
    url = served(1000).url
    now = datetime.now(timezone.utc)
    took: tuple[list[float], list[float]] = ([], [])
    for turn in range(TURNS + 1):
        minute = f"{now - timedelta(minutes=9 - turn):%Y-%m-%dT%H%M}"
        for root, times in zip(roots, took, strict=True):
            command = chain.luigi_command("--timestamp", minute, "--storage-root", str(root))
            times.append(seconds(chain, *command, url=url))

    assert ratio(took[0][1:], took[1][1:]) < 1.3  # the first turn warms up


def test_removing_a_snapshot_stays_as_fast(chain: Chain, roots: tuple[Path, Path]) -> None:
    took = []
    for root, minutes in zip(roots, (FEW, MANY), strict=True):
        chain.configure("storage", root=root)
        command = "luigi --module luigi_etl PruneSnapshots --local-scheduler --keep-days 1"
        took.append(seconds(chain, *command.split()) / (minutes - DAY))
        assert DAY - 15 < len(list((root / "snapshots").rglob("*.csv"))) < 2 * DAY

    assert took[1] / took[0] < 2
