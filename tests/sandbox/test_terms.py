"""Tests of `search_term`: Lucene's syntax, its analyzers, and unsupported terms."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from luigi_etl.sandbox.analysis import indexed_words, same_stem, standard_words
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.generate import Generator
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.row import row_of
from luigi_etl.sandbox.server import serve
from luigi_etl.sandbox.state import Sandbox

TODAY = ERAS["2026-08"]
COMPLAINTS: list[dict[str, Any]] = [
    {"complaint_id": "11", "company": "Acme Bank, N.A.", "product": "Mortgage", "state": "CA", "tags": None},
    {"complaint_id": "12", "company": "The Wi-Fi Bank", "product": "Debt collection", "state": "NY"},
    {"complaint_id": "13", "company": "McDonald & Sons' Loans", "product": "Student loan", "state": "CA"},
    {
        "complaint_id": "14",
        "company": "Zeta",
        "product": "Mortgage",
        "issue": "Problem with a company's answer",
        "state": "TX",
        "tags": "Older American, Servicemember",
        "date_received": "2025-12-31T23:59:59.999Z",
    },
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    rows = [row_of({"date_received": "2026-01-15T12:00:00.000Z", **one}) for one in COMPLAINTS]
    with serve(Sandbox(Index(rows, "2026-01-16", Generator(1, TODAY, 90), ""), throttle=None)) as url:
        yield url


def get(url: str, term: str, **params: str) -> requests.Response:
    fixed = {"no_aggs": "true", "sort": "created_date_desc", "field": "all", "search_term": term}
    return requests.get(url, {**fixed, **params}, timeout=10)


def ids(url: str, term: str, **params: str) -> list[str]:
    response = get(url, term, **params)
    assert response.status_code == 200, response.text
    return sorted(hit["_id"] for hit in response.json()["hits"]["hits"])


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("mortgage", ["11", "14"]),
        ("acme mortgage", []),  # all words must be in one field
        ("acme bank", ["11"]),
        ("wi fi bank", ["12"]),
        ("the", []),
        ("mortgage, debt", ["11", "12", "14"]),  # a comma: OR between words
        ("AUTO mortgage", ["11", "14"]),
        ("acme AND mortgage", ["11"]),  # with AND, the words may be in different fields
        ("mortgage -acme", ["14"]),
        ("+mortgage acme", ["11", "14"]),
        ("NOT mortgage", ["12", "13"]),
        ("mortgage AND NOT state:TX", ["11"]),
        ("zeta debt AND collection", ["12"]),  # AND requires its two words only
        ("(acme OR zeta) AND state:CA", ["11"]),
        ("state:(CA OR NY)", ["11", "12", "13"]),
        ("state:(CA NY)", []),  # without OR, the state must be both words
        ("state:ca", []),
        ("company:(acme zeta!)", None),
        ('company:"wi-fi bank"', []),  # in the index, Wi-Fi takes two positions
        ('company:"acme bank"', ["11"]),
        ('company:"bank wi-fi"', []),
        ('company:"wi bank"~1', ["12"]),
        ("company:donald", ["13"]),
        ("company:mcdonald", ["13"]),
        ("company:sons'", ["13"]),
        ("company:n.a.", ["11"]),
        ("company.raw:Zeta", ["14"]),
        ("company.raw:zeta", []),
        ('tags:"Older American, Servicemember"', ["14"]),
        ("tags:Servicemember", []),
        ("company's", ["14"]),
        ("mort*", ["11", "14"]),
        ("m?rt*ge", ["11", "14"]),
        ("mortgaeg~1", ["11", "14"]),
        ("/mort[a-z]+/", ["11", "14"]),
        ("complaint_id:[12 TO 13]", ["12", "13"]),
        ("complaint_id:{12 TO *]", ["13", "14"]),
        ("complaint_id:>12", ["13", "14"]),
        ("date_received:2025", ["14"]),
        ("date_received:[* TO 2025-12-31]", ["14"]),
        ("date_received:[2026-01-15T12:00 TO *]", ["11", "12", "13"]),
        ("date_received:soon", []),
        ("_exists_:tags", ["14"]),
        ("*:*", ["11", "12", "13", "14"]),
        ("nofield:x", []),
    ],
)
def test_term_finds_the_matches_of_lucene(url: str, term: str, expected: list[str] | None) -> None:
    if expected is None:
        assert get(url, term).status_code == 424
    else:
        assert ids(url, term) == expected


@pytest.mark.parametrize(
    "term", ["a/b", "AND", "a OR", "a^ 2", "a^x", "(a", "a)", '"a', "[1 TO 2", "a:b:", "+", "x\\"]
)
def test_syntax_error_is_424(url: str, term: str) -> None:
    response = get(url, term)

    assert response.status_code == 424
    assert response.json() == {"error": "There was an error calling OpenSearch"}


@pytest.mark.parametrize("term", ["date_received:soon", "date_received:mort*"])
def test_invalid_value_is_424_in_a_single_field(url: str, term: str) -> None:
    """Only a search in all fields ignores values that a field can't have."""
    assert get(url, term, field="company").status_code == 424


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("loan's AND company:loan", "stem"),
        ("company:banks", "'bank'"),
        ("company:/(a~b)/", "regular expression"),
        ("date_received:[now-1d TO *]", "arithmetic"),
        ("date_indexed:2026", "indexed"),
        ("comp\\*:x", "comp*"),
        ("_index:x", "_index"),
        ("mortgage~7", "fuzziness"),
        ("消費者 金融", "script"),
    ],
)
def test_term_with_an_unknown_result_is_501_and_printed(
    url: str, capfd: pytest.CaptureFixture[str], term: str, reason: str
) -> None:
    response = get(url, term)

    assert response.status_code == 501
    assert "is not supported" in response.json()["error"]
    assert reason in response.json()["error"]
    assert response.json()["error"] in capfd.readouterr().err


def test_order_by_relevance_of_several_hits_is_501(url: str) -> None:
    assert get(url, "mortgage", sort="relevance_desc").status_code == 501
    assert get(url, "acme", sort="relevance_desc").status_code == 200
    assert get(url, "mortgage", sort="relevance_desc", size="0").status_code == 200


def test_stop_words_are_ignored(url: str) -> None:
    assert ids(url, "the wi-fi", field="company") == ["12"]
    assert ids(url, "the", field="company") == []
    assert ids(url, "the AND zeta", field="company") == ["14"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Company's A.B.C. 3.5 R&D", ["company's", "a.b.c", "3.5", "r", "d"]),
        ("Escrow, taxes, or insurance", ["escrow", "taxes", "or", "insurance"]),
    ],
)
def test_standard_words_follow_unicode_word_boundaries(text: str, words: list[str]) -> None:
    assert [word for _, word in standard_words(text)] == words


def test_company_words_are_split_into_parts() -> None:
    assert indexed_words("The Systems,Inc. WiFi2") == (
        (1, "systems,inc."),
        (1, "systems"),
        (2, "inc"),
        (1, "systemsinc"),
        (3, "wifi2"),
        (3, "wi"),
        (4, "fi"),
        (5, "2"),
        (3, "wifi"),
        (3, "wifi2"),
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("bank", "bank", True),
        ("companies", "company", True),
        ("american", "america", True),
        ("banks", "bank", None),
        ("lending", "lender", None),
        ("canadian", "canada", None),
        ("bank", "loan", False),
        ("na", "national", False),
        ("company's", "company", False),
        ("café", "cafe", False),
    ],
)
def test_same_stem_is_true_false_or_unknown(one: str, other: str, same: bool | None) -> None:
    assert same_stem(one, other) is same
    assert same_stem(other, one) is same
