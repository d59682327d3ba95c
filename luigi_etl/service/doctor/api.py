"""Check the API and the clock, with one request."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

from luigi_etl.api.client import Client
from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import TransientError
from luigi_etl.common.minutes import as_text
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.tasks.config import ccdb

DEADLINE_SECONDS = 90.0  # of the request, with up to 61 s of waiting for the rate limit


def check_api() -> Iterator[Finding]:
    """Check that the API answers, and compare the clocks."""
    settings = replace(ccdb().settings(), deadline=DEADLINE_SECONDS)
    before = datetime.now(timezone.utc)
    with Client(settings) as client:
        try:
            api_time = client.probe()
        except TransientError as error:
            yield failed(f"{error}: if this persists, check the network and [ccdb] url")
            return
    yield passed(f"{client.host} answers")
    if api_time is not None and abs(api_time - before) > MAXIMUM_CLOCK_SKEW:
        yield failed(
            f"this machine's clock shows {as_text(before)}, the API's clock {as_text(api_time)}: "
            "set the clock, and keep it right with NTP"
        )
