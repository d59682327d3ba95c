"""Check the API and the clock, by one request."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

from luigi_etl.api.client import Client
from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.errors import TransientError
from luigi_etl.common.minutes import as_text
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.tasks.config import ccdb

PATIENCE = 90.0  # seconds for the one request, the wait for its turn (at most 61) included


def check_api() -> Iterator[Finding]:
    """Check that the API answers, and compare the clocks."""
    settings = replace(ccdb().settings(), deadline=PATIENCE)
    before = datetime.now(timezone.utc)
    with Client(settings) as client:
        try:
            told = client.probe()
        except TransientError as error:
            yield failed(f"{error}: if it stays so, see to the network, and to [ccdb] url")
            return
    yield passed(f"{client.host} answers")
    if told is not None and abs(told - before) > MAXIMUM_CLOCK_SKEW:
        yield failed(
            f"this machine's clock says {as_text(before)}, the API's {as_text(told)}: "
            "set it, and let NTP keep it"
        )
