"""The types of a complaint and of a rejected hit.

`Complaint` has every field that the API ever sent: 19 until June 2026, 17 until August, 15 since (16 in pages
that the publisher edited). A field can be missing, null or empty. A missing field stays `UNSET`, because
"no longer sent" differs from "empty".
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

Text = str | UnsetType | None


class Complaint(msgspec.Struct, kw_only=True, gc=False):
    """A complaint, with the fields of the API's `_source`.

    `read_page` replaces a date with its UTC day, a `date`. The types do not show this, because msgspec can't
    decode a union of `str` and `date`, and a date can be an empty text.
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
    """A rejected hit: the reason, the JSON path of the problem, and the hit itself."""

    reason: str
    path: str
    hit: msgspec.Raw
