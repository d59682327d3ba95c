"""The API's export as CSV."""

import csv
import io

from luigi_etl.sandbox.answer import Answer
from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.row import Row
from luigi_etl.sandbox.search import Search
from luigi_etl.sandbox.state import Sandbox

LARGEST_EXPORT = 100_000
COLUMNS = {
    "Date received": "date_received",
    "Product": "product",
    "Sub-product": "sub_product",
    "Issue": "issue",
    "Sub-issue": "sub_issue",
    "Consumer complaint narrative": "complaint_what_happened",
    "Company public response": "company_public_response",
    "Company": "company",
    "State": "state",
    "ZIP code": "zip_code",
    "Tags": "tags",
    "Consumer consent provided?": "consumer_consent_provided",
    "Submitted via": "submitted_via",
    "Date sent to company": "date_sent_to_company",
    "Company response to consumer": "company_response",
    "Timely response?": "timely",
    "Consumer disputed?": "consumer_disputed",
    "Complaint ID": "complaint_id",
}


def export(sandbox: Sandbox, search: Search) -> Answer:
    """Answer `format=csv`: size and sort are ignored, null is the text None, lines end in CR LF."""
    everything = Search(search_term=search.search_term, field=search.field, filters=search.filters)
    matches = sandbox.index.all_matching(everything)
    if sandbox.era.refuses_large_exports and len(matches) > LARGEST_EXPORT:
        return Answer(400, b"size", "text/csv")
    columns = {label: name for label, name in COLUMNS.items() if name not in sandbox.era.gone}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in matches:
        writer.writerow([_export_cell(row, name, sandbox.era) for name in columns.values()])
    return Answer(200, text.getvalue().encode(), "text/csv")


def _export_cell(row: Row, name: str, era: Era) -> str:
    value = row.source.get(name)
    if name.startswith("date_") and value:
        return value[:10] if era.instants else str(american_day(value))
    return str(value)


def american_day(value: str | None) -> str | None:
    """Return the day of an instant as MM/DD/YY."""
    return f"{value[5:7]}/{value[8:10]}/{value[2:4]}" if value else None
