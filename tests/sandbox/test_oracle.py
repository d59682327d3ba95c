"""Tests of the sandbox against recorded responses of the CFPB's server code over the same rows."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.generate import Generator
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.row import row_of
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox, Throttle
from tests.conftest import RECORDED

Case = tuple[int, dict[str, Any]]

ORACLE = RECORDED.parent / "oracle"
ERA = ERAS["2026-07"]  # of ccdb5-api 1.15.1
REFUSED: frozenset[str] = frozenset()  # query strings that the sandbox refuses with 501

pytestmark = pytest.mark.skipif(not ORACLE.exists(), reason=f"no responses of the server in {ORACLE}")


def cases() -> list[Case]:
    text = (ORACLE / "answers.json").read_text(encoding="utf-8") if ORACLE.exists() else "[]"
    return list(enumerate(json.loads(text)))


def index() -> Index:
    lines = (ORACLE / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    sources = [{name: value for name, value in row.items() if name != "date_indexed"} for row in rows]
    return Index(map(row_of, sources), "2026-09-10", Generator(1, ERA, 90), "the rows of the oracle")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(Sandbox(index(), ERA, throttle=None)) as url:
        yield url


@pytest.fixture(scope="module")
def throttled_url() -> Iterator[str]:
    """Serve the same rows after the two exports that a minute allows."""
    with serve(Sandbox(index(), ERA, throttle=Throttle())) as url:
        for _ in range(2):
            requests.get(f"{url}?format=csv&state=AE", timeout=10)
        yield url


def observed(expected: dict[str, Any], response: requests.Response) -> dict[str, Any]:
    """Return the properties of a response that `expected` has, too."""
    found: dict[str, Any] = {
        "status": response.status_code,
        "content_type": response.headers["Content-Type"].partition(";")[0],
    }
    if "total" in expected:
        assert response.ok, response.text
        content = response.json()
        found["total"] = content["hits"]["total"]["value"]
        found["ids"] = [hit["_id"] for hit in content["hits"]["hits"]]
        found["has_aggregations"] = "aggregations" in content
    if "lines" in expected:
        rows = list(csv.reader(io.StringIO(response.text, newline="")))
        found["lines"] = response.text.count("\n")
        found["header"] = ",".join(rows[0])
    if "body" in expected:
        found["body"] = response.text[:400]
    return found


def name_of(case: Case) -> str:
    return f"{case[0]}-{case[1]['query'].rpartition('search_term=')[2][-60:]}"


@pytest.mark.parametrize("case", cases(), ids=name_of)
def test_response_equals_that_of_the_server(request: pytest.FixtureRequest, case: Case) -> None:
    expected = case[1]
    # The oracle exceeded the rate limit for exports in some cases.
    url = request.getfixturevalue("throttled_url" if expected["status"] == 429 else "url")

    response = requests.request(
        expected["method"], f"{url}?{expected['query']}", headers={"Accept": expected["accept"]}, timeout=10
    )

    if expected["query"] in REFUSED:
        assert response.status_code == 501
        return

    inputs = {"query", "method", "accept"}
    outputs = {name: value for name, value in expected.items() if name not in inputs}
    assert observed(expected, response) == outputs


def test_few_queries_are_refused() -> None:
    assert len(REFUSED) <= 0.02 * len(cases())
