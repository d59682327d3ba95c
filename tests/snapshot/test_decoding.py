"""Each hit of a page becomes a complaint or a rejected hit, independently of the others."""

import base64
import json
from typing import Any

import msgspec
import pytest

from luigi_etl.common.errors import TransientError
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.generate import Generator
from luigi_etl.snapshot.complaint import Complaint, Rejection
from luigi_etl.snapshot.decoding import read_page

pytestmark = pytest.mark.libraries

FULL: dict[str, Any] = {
    "product": "Mortgage",
    "complaint_what_happened": 'They said "XXXX",\nthen {$1200.00}.',
    "date_sent_to_company": "2024-11-07",
    "issue": "Trouble during payment process",
    "sub_product": "FHA mortgage",
    "zip_code": "03301",
    "tags": "Older American, Servicemember",
    "has_narrative": True,
    "complaint_id": "10702013",
    "timely": "Yes",
    "consumer_consent_provided": "Consent provided",
    "company_response": "In progress",
    "submitted_via": "Web",
    "company": "\xa0Söhne \u2014 Inc. | Co",
    "date_received": "2024-11-06",
    "state": "UNITED STATES MINOR OUTLYING ISLANDS",
    "consumer_disputed": "N/A",
    "company_public_response": "Company has responded",
    "sub_issue": "Escrow",
}
JUNE = {"consumer_consent_provided", "consumer_disputed"}
KEYS = {
    19: FULL.keys(),
    17: FULL.keys() - JUNE,
    16: FULL.keys() - JUNE - {"has_narrative"},
    15: FULL.keys() - JUNE - {"has_narrative", "complaint_what_happened"},
}
OPTIONAL = sorted(FULL.keys() - {"complaint_id"})
GOOD = b'{"_source":{"complaint_id":"1"}}'


def page(*hits: bytes) -> bytes:
    """Return a page of hits in the API's format; the hits are unchanged bytes."""
    return b'{"hits":{"total":{"value":9,"relation":"eq"},"hits":[' + b",".join(hits) + b"]}}"


def hit(**source: Any) -> bytes:
    return json.dumps({"_id": "1", "_source": source, "sort": [1, "1"]}).encode()


def read(raw: bytes) -> Any:
    """Read a page of one hit."""
    (result,) = read_page(page(raw)).results
    return result


def read_rejected(raw: bytes) -> Rejection:
    """Read a page with a hit between two valid ones; return the rejected hit."""
    before, result, after = read_page(page(GOOD, raw, GOOD)).results
    assert before == after == Complaint(complaint_id="1")
    assert isinstance(result, Rejection)
    return result


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", KEYS)
def test_complaint_of_each_era_has_exactly_its_fields(keys: int) -> None:
    source = {name: value for name, value in FULL.items() if name in KEYS[keys]}

    assert len(source) == keys
    assert msgspec.to_builtins(read(hit(**source))) == source


@pytest.mark.parametrize("field", OPTIONAL)
def test_missing_field_stays_missing(field: str) -> None:
    source = {name: value for name, value in FULL.items() if name != field}

    assert msgspec.to_builtins(read(hit(**source))) == source


@pytest.mark.parametrize("field", OPTIONAL)
def test_null_stays_null(field: str) -> None:
    source = {**FULL, field: None}

    assert msgspec.to_builtins(read(hit(**source))) == source


@pytest.mark.parametrize("field", OPTIONAL)
def test_empty_text_is_valid(field: str) -> None:
    assert isinstance(read(hit(**{**FULL, field: ""})), Complaint)


def test_empty_text_stays_empty() -> None:
    assert read(hit(complaint_id="1", complaint_what_happened="")).complaint_what_happened == ""


@pytest.mark.parametrize("identifier", ["10702013", 10702013])
def test_id_may_be_text_or_a_number(identifier: str | int) -> None:
    assert read(hit(complaint_id=identifier)).complaint_id == "10702013"


def test_last_value_of_a_repeated_key_counts() -> None:
    assert read(b'{"_source":{"complaint_id":"1","state":"CA","state":"TX"}}').state == "TX"


def test_complaints_keep_the_order_of_the_page() -> None:
    results = read_page(page(*[hit(complaint_id=text) for text in ("3", "x", "1", "2")])).results

    assert [getattr(result, "complaint_id", None) for result in results] == ["3", None, "1", "2"]


def test_page_without_hits_is_valid() -> None:
    outcome = read_page(page())

    assert (outcome.results, outcome.unknown_fields) == ([], set())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"hits":[]}',
        page(GOOD)[:-2],
        b'{"hits":{"hits":5}}',
    ],
)
def test_body_that_is_not_a_page_is_refused(body: bytes) -> None:
    with pytest.raises(TransientError, match="the response is truncated or damaged"):
        read_page(body)


# --- dates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["date_received", "date_sent_to_company"])
@pytest.mark.parametrize(
    ("sent", "day"),
    [
        ("2025-06-30T23:45:02.000Z", "2025-06-30"),
        ("2025-06-30T23:45:02Z", "2025-06-30"),
        ("2025-06-30T23:45:02", "2025-06-30"),
        ("2025-06-30", "2025-06-30"),
        ("2024-11-06T12:00:00-05:00", "2024-11-06"),
        ("2024-11-06T21:00:00-05:00", "2024-11-07"),
        ("2024-12-31T19:00:00-05:00", "2025-01-01"),
        ("2024-11-06T02:00:00+05:30", "2024-11-05"),
        ("2024-02-29T12:00:00+00:00", "2024-02-29"),
    ],
)
def test_date_is_the_utc_day_of_its_instant(field: str, sent: str, day: str) -> None:
    assert msgspec.to_builtins(read(hit(complaint_id="1", **{field: sent})))[field] == day


@pytest.mark.parametrize("field", ["date_received", "date_sent_to_company"])
@pytest.mark.parametrize(
    "sent",
    [
        "2025-02-30",
        "2025-02-30T12:00:00Z",
        "2025-06-30T25:00:00Z",
        "0000-01-01",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:00:00-05:00",
        "04/04/25",
        "06/30/2025",
        "1751327102000",
        "yesterday",
        "None",
        " ",
    ],
)
def test_impossible_date_is_rejected(field: str, sent: str) -> None:
    rejection = read_rejected(hit(complaint_id="1", **{field: sent}))

    assert (rejection.reason, rejection.path) == (f"not a date: {sent!r}", f"$._source.{field}")


# --- rejections -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason", "path"),
    [
        (b"5", "Expected `object`, got `int`", "$"),
        (b"null", "Expected `object`, got `null`", "$"),
        (b'"text"', "Expected `object`, got `str`", "$"),
        (b"[]", "Expected `object`, got `array`", "$"),
        (b"{}", "Object missing required field `_source`", "$"),
        (b'{"_source":null}', "Expected `object`, got `null`", "$._source"),
        (b'{"_source":[]}', "Expected `object`, got `array`", "$._source"),
        (b'{"_source":{}}', "Object missing required field `complaint_id`", "$._source"),
        (b'{"_source":{"complaint_id":null}}', "got `null`", "$._source.complaint_id"),
        (b'{"_source":{"complaint_id":true}}', "got `bool`", "$._source.complaint_id"),
        (b'{"_source":{"complaint_id":1.5}}', "got `float`", "$._source.complaint_id"),
        (b'{"_source":{"complaint_id":""}}', "the id is not a number: ''", "$._source.complaint_id"),
        (b'{"_source":{"complaint_id":"12a"}}', "not a number: '12a'", "$._source.complaint_id"),
        (b'{"_source":{"complaint_id":-5}}', "not a number: '-5'", "$._source.complaint_id"),
        (
            '{"_source":{"complaint_id":"\u0661"}}'.encode(),
            "the id is not a number: '\u0661'",
            "$._source.complaint_id",
        ),
        (
            b'{"_source":{"complaint_id":"1","zip_code":33460}}',
            "Expected `str | null`, got `int`",
            "$._source.zip_code",
        ),
        (
            b'{"_source":{"complaint_id":"1","company":["A"]}}',
            "Expected `str | null`, got `array`",
            "$._source.company",
        ),
        (
            b'{"_source":{"complaint_id":"1","has_narrative":"yes"}}',
            "Invalid enum value 'yes'",
            "$._source.has_narrative",
        ),
        (
            b'{"_source":{"complaint_id":"1","date_received":20250630}}',
            "Expected `str | null`, got `int`",
            "$._source.date_received",
        ),
    ],
)
def test_invalid_hit_is_kept_verbatim_with_reason_and_path(raw: bytes, reason: str, path: str) -> None:
    rejection = read_rejected(raw)

    assert reason in rejection.reason
    assert rejection.path == path
    assert bytes(rejection.hit) == raw


def test_rejection_keeps_spaces_order_and_repeated_keys() -> None:
    raw = b'{ "b":1.10,"a" : 1e3,"a":2, "_source":{"complaint_id":"x","q":"\\u00e9"} }'

    assert bytes(read_rejected(raw).hit) == raw


HALF_A_PAIR = b'{"_source":{"complaint_id":"2","company":"caf\\u00e9 \\ud83d"}}'


def test_half_a_surrogate_pair_is_rejected() -> None:
    rejection = read_rejected(HALF_A_PAIR)

    assert rejection.reason.startswith("not Unicode text")
    assert json.loads(bytes(rejection.hit)) == json.loads(HALF_A_PAIR)


def test_half_a_surrogate_pair_is_kept_verbatim() -> None:
    assert bytes(read_rejected(HALF_A_PAIR).hit) == HALF_A_PAIR


def test_invalid_utf_8_is_rejected_and_kept_as_base64() -> None:
    raw = b'{"_source":{"complaint_id":"2","company":"caf\xe9"}}'

    rejection = read_rejected(raw)

    assert rejection.reason.startswith("not Unicode text")
    assert base64.b64decode(json.loads(bytes(rejection.hit))["base64"]) == raw


def test_invalid_text_rejects_only_its_own_hit() -> None:
    bad_bytes = b'{"_source":{"complaint_id":"3","company":"\xff"}}'

    results = read_page(page(GOOD, HALF_A_PAIR, bad_bytes, GOOD)).results

    assert [type(result) for result in results] == [Complaint, Rejection, Rejection, Complaint]


@pytest.mark.slow
@pytest.mark.parametrize("place", range(3))
def test_deep_nesting_rejects_only_its_own_hit(place: int) -> None:
    deep = b'{"_id":"2","_source":{"new\\"{":' + b'[{"a":' * 50_000 + b"0" + b"}]" * 50_000 + b"}}"
    hits = [GOOD, GOOD]
    hits.insert(place, deep)

    results = read_page(page(*hits)).results

    rejected = results.pop(place)
    assert isinstance(rejected, Rejection)
    assert rejected.reason == "nested too deeply"
    assert json.loads(bytes(rejected.hit)) == {"_id": "2", "base64": base64.b64encode(deep).decode()}
    assert [type(result) for result in results] == [Complaint, Complaint]


def test_deep_nesting_outside_the_hits_refuses_the_page() -> None:
    with pytest.raises(TransientError, match="the response is truncated or damaged"):
        read_page(b'{"_meta":' + b"[" * 500_000 + b"]" * 500_000 + b"," + page(GOOD)[1:])


# --- three ways of decoding -----------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_three_ways_of_decoding_give_the_same_complaints(era: str) -> None:
    sources = list(Generator(1, ERAS[era], days=90).complaints(300))
    hits = [hit(**source) for source in sources]

    at_once = read_page(page(*hits))
    with_an_unknown_field = read_page(page(*hits, hit(complaint_id="1", risk=5)))
    hit_by_hit = read_page(page(*hits, hit(complaint_id="1", date_received="2026-02-30")))

    assert with_an_unknown_field.unknown_fields == {"risk"}
    assert isinstance(hit_by_hit.results[-1], Rejection)
    for outcome in (with_an_unknown_field, hit_by_hit):
        assert msgspec.json.encode(outcome.results[:-1]) == msgspec.json.encode(at_once.results)
    assert all(type(result) is not Complaint for result in at_once.results)  # decoded in the current form


@pytest.mark.parametrize("odd", [[], [hit(complaint_id="2", risk=5)], [hit(complaint_id="x"), b"7"]])
def test_three_ways_of_decoding_give_the_same_metadata(odd: list[bytes]) -> None:
    response = read_page(page(GOOD, *odd)).response

    assert (response.total, len(response.hits.hits)) == (9, 1 + len(odd))


# --- unknown fields -------------------------------------------------------------------------------


def test_unknown_fields_are_listed_and_lose_nothing() -> None:
    outcome = read_page(page(GOOD, hit(**FULL, risk=5), hit(complaint_id="3", **{"écran": {"a": [1]}})))

    assert outcome.unknown_fields == {"risk", "écran"}
    assert [msgspec.to_builtins(result) for result in outcome.results] == [
        {"complaint_id": "1"},
        FULL,
        {"complaint_id": "3"},
    ]


def test_fields_beside_source_are_ignored() -> None:
    assert read_page(page(hit(complaint_id="1"))).unknown_fields == set()
