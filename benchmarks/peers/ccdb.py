"""Helpers of all peers: the columns of the CFPB's CSV, page addresses, and cursors."""

import re
from urllib.parse import urlencode

PAGE = 10_000
COLUMNS = {
    "date_received": "Date received",
    "product": "Product",
    "sub_product": "Sub-product",
    "issue": "Issue",
    "sub_issue": "Sub-issue",
    "complaint_what_happened": "Consumer complaint narrative",
    "company_public_response": "Company public response",
    "company": "Company",
    "state": "State",
    "zip_code": "ZIP code",
    "tags": "Tags",
    "consumer_consent_provided": "Consumer consent provided?",
    "submitted_via": "Submitted via",
    "date_sent_to_company": "Date sent to company",
    "company_response": "Company response to consumer",
    "timely": "Timely response?",
    "consumer_disputed": "Consumer disputed?",
    "complaint_id": "Complaint ID",
}
DATES = ("date_received", "date_sent_to_company")
LAST_SORT = re.compile(rb'"sort":\[([0-9]+),"([0-9]+)"\]\}\]\}')  # of the last hit
END = 4096  # the last bytes of a page, which contain it


def page_url(url: str, size: int, cursor: str = "") -> str:
    """Return the address of the page after a cursor."""
    parameters = {"sort": "created_date_desc", "size": size, "no_aggs": "true", "no_highlight": "true"}
    return f"{url}?{urlencode(parameters | ({'search_after': cursor} if cursor else {}))}"


def find_cursor(page: bytes) -> str:
    """Return the cursor of the next page without decoding JSON, or "" if the page has no hits."""
    last = LAST_SORT.search(page[-END:])
    return b"_".join(last.groups()).decode() if last else ""
