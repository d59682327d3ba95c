"""The typed record: a complaint, and a hit that was rejected.

Every field of every era of the API is here: 19 until June 2026, 17 until August, 15 since (16 in a
page the publisher edited). A field may be missing, null or an empty string; missing stays missing,
so that "no longer sent" can be told from "empty".
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

Text = str | UnsetType | None


class Complaint(msgspec.Struct, kw_only=True, gc=False):
    """A complaint as the API's `_source` has it; a date that `read_page` found is a UTC day, a `date`.

    Its type does not say so, because a text may be empty, and msgspec can't tell that from a date.
    """

    complaint_id: str | int
    date_received: Text = UNSET
    product: Text = UNSET
    sub_product: Text = UNSET
    issue: Text = UNSET
    sub_issue: Text = UNSET
    complaint_what_happened: Text = UNSET
    company_public_response: Text = UNSET
    company: Text = UNSET
    state: Text = UNSET
    zip_code: Text = UNSET
    tags: Text = UNSET
    consumer_consent_provided: Text = UNSET
    submitted_via: Text = UNSET
    date_sent_to_company: Text = UNSET
    company_response: Text = UNSET
    timely: Text = UNSET
    consumer_disputed: Text = UNSET
    has_narrative: bool | Literal[""] | UnsetType | None = UNSET


class Rejection(msgspec.Struct, frozen=True):
    """A hit that is no complaint: why, where in it (a JSON path), and the hit itself."""

    reason: str
    path: str
    hit: msgspec.Raw
