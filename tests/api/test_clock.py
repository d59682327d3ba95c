"""A clock that is ahead of the API's."""

import time
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path

import pytest

from luigi_etl.api.client import Client
from luigi_etl.api.settings import Settings
from luigi_etl.common.errors import PermanentError
from luigi_etl.snapshot.extract import extract
from tests.conftest import Chain
from tests.raw import RawServer, answer, page, serving

HIT = {"_id": "1", "sort": [1_790_000_000_000, "1"], "_source": {"complaint_id": "1"}}


def date(ahead: timedelta) -> str:
    """Return the `Date` header of a server whose clock is behind this machine's."""
    return f"Date: {formatdate(time.time() - ahead.total_seconds(), usegmt=True)}"


def fetch(server: RawServer, path: Path) -> None:
    with Client(Settings(server.url, requests_per_minute=0, backoff=0.01)) as client:
        extract(client, (), 0, path, lambda _: None)


@pytest.mark.parametrize(
    ("ahead", "span"),
    [
        (timedelta(minutes=6, seconds=30), "6 minutes"),
        (timedelta(minutes=90, seconds=30), "90 minutes"),
        (timedelta(hours=30, seconds=30), "30 hours"),
        (timedelta(days=30, seconds=30), "30 days"),
    ],
)
def test_clock_ahead_stops_the_extraction(tmp_path: Path, ahead: timedelta, span: str) -> None:
    expected = rf"^127\.0\.0\.1:\d+: this machine's clock is {span} ahead of the API's.*; set it, and let NTP"

    with (
        serving(answer(page(HIT), date(ahead))) as server,
        pytest.raises(PermanentError, match=expected),
    ):
        fetch(server, tmp_path / "gz")

    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ahead", "headers"),
    [
        (timedelta(minutes=4), ()),
        (timedelta(minutes=-90), ()),
        (timedelta(minutes=90), ("Age: 5400",)),
        (timedelta(minutes=90), ("Age: soon",)),
        (timedelta(minutes=90), (f"Age: {'9' * 30}",)),
    ],
)
def test_clock_within_five_minutes_is_accepted(
    tmp_path: Path, ahead: timedelta, headers: tuple[str, ...]
) -> None:
    with serving(answer(page(HIT), date(ahead), *headers)) as server:
        fetch(server, tmp_path / "gz")

    assert (tmp_path / "gz").exists()


@pytest.mark.parametrize(
    "headers", [(), ("Date: ",), ("Date: yesterday",), ("Date: Thu, 99 Jan 9999 99:99:99 GMT",)]
)
def test_response_without_a_readable_date_is_accepted(tmp_path: Path, headers: tuple[str, ...]) -> None:
    with serving(answer(page(HIT), *headers)) as server:
        fetch(server, tmp_path / "gz")

    assert (tmp_path / "gz").exists()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["MergeComplaints", "SyncComplaints"])
def test_run_with_a_clock_ahead_leaves_nothing(chain: Chain, task: str) -> None:
    with serving(answer(page(HIT), date(timedelta(minutes=90, seconds=30)))) as server:
        run = chain.luigi("--ccdb-retries", "0", task=task, url=server.url)

    assert run.code == 30
    assert "this machine's clock is 90 minutes ahead of the API's" in run.err
    assert "Traceback" not in run.err
    assert not {"complaints.db", "latest"} & {path.name for path in (chain.folder / "data").iterdir()}
    assert not [path for path in chain.files() if ".extracted" in path.name]
