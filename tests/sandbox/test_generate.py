"""Tests of generated complaints: repeatable, with the shares and lengths of real ones."""

import json
import re
import statistics
from collections import Counter
from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.generate import ISSUES, NOW, ZIP_CODES, Generator

MANY = 6000


@cache
def complaints(era: str = "2026-08", seed: int = 1) -> list[dict[str, Any]]:
    return list(Generator(seed, ERAS[era], 90).complaints(MANY))


def share(field: str, value: object, era: str = "2026-08") -> float:
    return Counter(complaint[field] for complaint in complaints(era))[value] / MANY


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def narratives() -> list[str]:
    texts = [complaint["complaint_what_happened"] for complaint in complaints("2025-11")]
    return [text for text in texts if text]


def test_same_seed_generates_the_same_complaints() -> None:
    again = list(Generator(1, ERAS["2026-08"], 90).complaints(MANY))

    assert json.dumps(again) == json.dumps(complaints())


def test_another_seed_generates_other_complaints() -> None:
    ids = {complaint["complaint_id"] for complaint in complaints()}
    others = {complaint["complaint_id"] for complaint in complaints(seed=2)}

    assert len(ids & others) < 0.01 * MANY


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("product", "Credit reporting or other personal consumer reports", 0.60),
        (
            "product",
            "Credit reporting, credit repair services, or other personal consumer reports",
            0.17,
        ),
        ("product", "Debt collection", 0.075),
        ("product", "Mortgage", 0.035),
        ("state", "FL", 0.135),
        ("state", "TX", 0.127),
        ("state", "CA", 0.102),
        ("company", "EQUIFAX, INC.", 0.26),
        ("company", "TRANSUNION INTERMEDIATE HOLDINGS, INC.", 0.25),
        ("company", "Experian Information Solutions Inc.", 0.23),
        ("tags", None, 0.94),
        ("company_public_response", None, 0.48),
    ],
)
def test_values_have_realistic_shares(field: str, value: object, expected: float) -> None:
    assert share(field, value) == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("field", ["sub_product", "sub_issue", "state", "zip_code", "date_sent_to_company"])
def test_optional_fields_are_sometimes_null(field: str) -> None:
    assert 0 < share(field, None) < 0.5


@pytest.mark.parametrize("character", ["\u00a0", "é", "—", "|", '"', ","])
def test_company_names_have_unusual_characters(character: str) -> None:
    assert any(character in complaint["company"] for complaint in complaints())


def test_company_name_can_begin_with_a_no_break_space() -> None:
    assert any(complaint["company"].startswith("\u00a0") for complaint in complaints())


def test_issues_belong_to_their_products() -> None:
    for complaint in complaints():
        assert (complaint["issue"], complaint["sub_issue"]) in ISSUES[complaint["product"]]


def test_zip_codes_lie_in_their_states() -> None:
    for complaint in complaints():
        if complaint["zip_code"] and complaint["state"]:
            first, last = ZIP_CODES[complaint["state"]]
            assert first <= int(complaint["zip_code"][:3]) <= last


def test_complaints_are_sent_hours_to_days_later() -> None:
    hours = [
        (moment(one["date_sent_to_company"]) - moment(one["date_received"])) / timedelta(hours=1)
        for one in complaints()
        if one["date_sent_to_company"]
    ]

    longer = sum(delay > 24 for delay in hours) / MANY
    assert min(hours) >= 0
    assert statistics.median(hours) > 1
    assert 0.02 < longer < 0.4
    assert max(moment(one["date_received"]) for one in complaints()) <= NOW


def test_only_recent_complaints_are_in_progress() -> None:
    ages = {True: [0.0], False: [0.0]}
    for one in complaints():
        age = (NOW - moment(one["date_received"])) / timedelta(days=1)
        ages[one["company_response"] == "In progress"].append(age)

    assert statistics.mean(ages[True]) < 20 < statistics.mean(ages[False])
    assert max(ages[True]) <= 60


def test_same_seed_gives_the_same_complaints_all_day() -> None:
    noon = datetime(2026, 9, 26, 12, tzinfo=timezone.utc)
    generators = [Generator(1, ERAS["2026-08"], 90, now) for now in (noon, noon.replace(hour=23))]
    at_noon, at_night = (
        {one["complaint_id"]: one["date_received"] for one in generator.complaints(900)}
        for generator in generators
    )

    moved = [key for key in at_noon if at_noon[key] != at_night[key]]
    assert at_noon.keys() == at_night.keys()
    assert 0 < len(moved) < 20
    assert {at_night[key][:10] for key in moved} == {"2026-09-26"}
    assert {at_noon[key][:10] for key in moved} == {"2026-06-28"}


def test_ids_are_unique() -> None:
    assert len({complaint["complaint_id"] for complaint in complaints()}) == MANY


def test_ids_are_text_of_five_to_eight_digits() -> None:
    assert all(complaint["complaint_id"].isdigit() for complaint in complaints())
    assert {len(complaint["complaint_id"]) for complaint in complaints()} == {5, 6, 7, 8}


def test_ids_are_not_chronological() -> None:
    by_date = sorted(complaints(), key=lambda complaint: str(complaint["date_received"]))
    ids = [int(complaint["complaint_id"]) for complaint in by_date]
    ups = sum(after > before for before, after in pairwise(ids))

    assert ups / MANY == pytest.approx(0.5, abs=0.05)


def test_complaints_are_received_in_the_requested_days() -> None:
    days = {complaint["date_received"][:10] for complaint in Generator(1, ERAS["2026-08"], 3).complaints(500)}

    assert max(days) == NOW.date().isoformat()
    assert len(days) == 4  # 72 hours that end in the evening touch four days


@pytest.mark.parametrize(("era", "expected"), [("2021-09", True), ("2026-06", True), ("2026-08", False)])
def test_narrative_fields_depend_on_the_era(era: str, expected: bool) -> None:
    (complaint,) = Generator(1, ERAS[era], 90).complaints(1)

    assert ("complaint_what_happened" in complaint) is expected
    assert ("has_narrative" in complaint) is expected


def test_three_in_ten_complaints_have_a_narrative() -> None:
    assert len(narratives()) / MANY == pytest.approx(0.29, abs=0.02)


def test_has_narrative_is_false_for_an_empty_narrative() -> None:
    for complaint in complaints("2025-11"):
        assert complaint["has_narrative"] is (complaint["complaint_what_happened"] != "")


def test_narratives_have_realistic_lengths() -> None:
    lengths = sorted(map(len, narratives()))

    assert statistics.median(lengths) == pytest.approx(780, rel=0.1)
    assert statistics.mean(lengths) == pytest.approx(1100, rel=0.1)
    assert lengths[-1] <= 22_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n", 0.38),
        ("XXXX", 0.79),
        ("{$1200.00}", 0.38),
    ],
)
def test_narratives_have_typical_texts_at_realistic_shares(text: str, expected: float) -> None:
    matching = sum(text in narrative for narrative in narratives())

    assert matching / len(narratives()) == pytest.approx(expected, abs=0.05)


def test_narrative_begins_with_a_note_on_the_sandbox() -> None:
    long = [narrative for narrative in narratives() if len(narrative) > 100]

    assert all(narrative.startswith("Generated by the sandbox.") for narrative in long)


@pytest.mark.parametrize(
    ("era", "pattern"),
    [
        ("2025-11", r"\d{4}-\d\d-\d\dT12:00:00-05:00"),
        ("2026-08", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
    ],
)
def test_dates_have_the_format_of_their_era(era: str, pattern: str) -> None:
    assert all(re.fullmatch(pattern, complaint["date_received"]) for complaint in complaints(era))
