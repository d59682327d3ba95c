"""The sandbox answers as the CFPB's own server code did over the same rows, or refuses loudly."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.generate import Generator
from luigi_etl.sandbox.index import Index, row_of
from luigi_etl.sandbox.server import Sandbox, Throttle, serve
from tests.conftest import RECORDED

Case = tuple[int, dict[str, Any]]

ORACLE = RECORDED.parent / "oracle"
ERA = ERAS["2026-07"]  # that of ccdb5-api 1.15.1
REFUSED: frozenset[str] = frozenset()  # query strings that the sandbox refuses rather than answers

pytestmark = pytest.mark.skipif(not ORACLE.exists(), reason=f"no answers of the API's code in {ORACLE}")


def answers() -> list[Case]:
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
    """Serve the same after the two exports that a minute allows."""
    with serve(Sandbox(index(), ERA, throttle=Throttle())) as url:
        for _ in range(2):
            requests.get(f"{url}?format=csv&state=AE", timeout=10)
        yield url


def facts(expected: dict[str, Any], answer: requests.Response) -> dict[str, Any]:
    """Return of an answer what the oracle tells of its own."""
    found: dict[str, Any] = {
        "status": answer.status_code,
        "content_type": answer.headers["Content-Type"].partition(";")[0],
    }
    if "total" in expected:
        assert answer.ok, answer.text
        content = answer.json()
        found["total"] = content["hits"]["total"]["value"]
        found["ids"] = [hit["_id"] for hit in content["hits"]["hits"]]
        found["has_aggregations"] = "aggregations" in content
    if "lines" in expected:
        rows = list(csv.reader(io.StringIO(answer.text, newline="")))
        found["lines"] = answer.text.count("\n")
        found["header"] = ",".join(rows[0])
    if "body" in expected:
        found["body"] = answer.text[:400]
    return found


def name_of(case: Case) -> str:
    return f"{case[0]}-{case[1]['query'].rpartition('search_term=')[2][-60:]}"


@pytest.mark.parametrize("case", answers(), ids=name_of)
def test_answer_is_that_of_the_server(
    request: pytest.FixtureRequest, case: tuple[int, dict[str, Any]]
) -> None:
    expected = case[1]
    # The oracle's own exports came too soon after one another.
    url = request.getfixturevalue("throttled_url" if expected["status"] == 429 else "url")

    answer = requests.request(
        expected["method"], f"{url}?{expected['query']}", headers={"Accept": expected["accept"]}, timeout=10
    )

    if expected["query"] in REFUSED:
        assert answer.status_code == 501
        return
    asked = {"query", "method", "accept"}
    assert facts(expected, answer) == {name: value for name, value in expected.items() if name not in asked}


def test_most_answers_are_given_rather_than_refused() -> None:
    assert len(REFUSED) <= 0.02 * len(answers())
