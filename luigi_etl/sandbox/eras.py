"""Versions of the API over time: it lost fields in 2026."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Era:
    """The API's behaviour from the month `name` on."""

    name: str
    gone: frozenset[str] = frozenset()  # fields of `_source` that are no longer sent
    instants: bool = True  # dates are UTC instants; before, always noon at -05:00
    hit_type: bool = False  # hits have `_type`
    honours_no_aggs: bool = True
    refuses_large_exports: bool = True
    knows_json_format: bool = False  # format=json is answered
    engine: str = "OpenSearch"


_CONSENT = frozenset({"consumer_consent_provided", "consumer_disputed"})
_NARRATIVE = frozenset({"complaint_what_happened", "has_narrative"})

ERAS = {
    era.name: era
    for era in (
        Era(
            "2021-09",
            instants=False,
            hit_type=True,
            honours_no_aggs=False,
            refuses_large_exports=False,
            knows_json_format=True,
            engine="Elasticsearch",
        ),
        Era(
            "2025-11",
            instants=False,
            honours_no_aggs=False,
            refuses_large_exports=False,
            knows_json_format=True,
        ),
        Era(
            "2026-06",
            gone=_CONSENT,
            honours_no_aggs=False,
            refuses_large_exports=False,
            knows_json_format=True,
        ),
        Era("2026-07", gone=_CONSENT, refuses_large_exports=False, knows_json_format=True),
        Era("2026-08", gone=_CONSENT | _NARRATIVE),
    )
}
TODAY = "2026-08"
