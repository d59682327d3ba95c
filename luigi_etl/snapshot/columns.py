"""The columns of a complaint: order, labels and types."""

from typing import NamedTuple

from luigi_etl.common.errors import SettingError


class Column(NamedTuple):
    """A column of the CSV: the API's `field`, the CFPB's `label`, the Table Schema `type`."""

    field: str
    label: str
    type: str
    description: str


# The first 18 have the order and labels of the CFPB's complaints.csv; only the API has the last one.
COLUMNS = (
    Column("date_received", "Date received", "date", "Day (UTC) the CFPB received the complaint"),
    Column("product", "Product", "string", "Type of product the consumer named"),
    Column("sub_product", "Sub-product", "string", "Type of sub-product"),
    Column("issue", "Issue", "string", "Issue the consumer named"),
    Column("sub_issue", "Sub-issue", "string", "Sub-issue"),
    Column(
        "complaint_what_happened",
        "Consumer complaint narrative",
        "string",
        "The consumer's account, personal data masked by the CFPB with X; not published since 2026-08",
    ),
    Column("company_public_response", "Company public response", "string", "The company's public response"),
    Column("company", "Company", "string", "Company the complaint is about"),
    Column("state", "State", "string", "State or territory of the consumer's mailing address"),
    Column(
        "zip_code", "ZIP code", "string", "ZIP code, or its first three digits and XX; text, not a number"
    ),
    Column("tags", "Tags", "string", "Older American, Servicemember, or both"),
    Column(
        "consumer_consent_provided",
        "Consumer consent provided?",
        "string",
        "Whether the consumer agreed to publish the narrative; not published since 2026-06",
    ),
    Column("submitted_via", "Submitted via", "string", "How the complaint reached the CFPB"),
    Column(
        "date_sent_to_company", "Date sent to company", "date", "Day (UTC) the CFPB sent it to the company"
    ),
    Column("company_response", "Company response to consumer", "string", "How the company responded"),
    Column("timely", "Timely response?", "string", "Whether the company responded in time: Yes or No"),
    Column(
        "consumer_disputed",
        "Consumer disputed?",
        "string",
        "Whether the consumer disputed the response; not published since 2026-06",
    ),
    Column("complaint_id", "Complaint ID", "string", "The complaint's number; compare it as text"),
    Column(
        "has_narrative", "Has narrative?", "boolean", "Whether there is a narrative; not sent since 2026-08"
    ),
)
DEFAULT_COLUMNS = COLUMNS[:-1]
_BY_FIELD = {column.field: column for column in COLUMNS}
_BY_LABEL = {column.label: column for column in COLUMNS}


def parse_columns(text: str) -> tuple[Column, ...]:
    """Return the columns for comma-separated API field names; the CFPB's 18 columns for an empty text.

    Raises:
        SettingError: a name is unknown or repeated.

    """
    fields = [name.strip() for name in text.split(",") if name.strip()]
    for name in fields:
        if name not in _BY_FIELD:
            import difflib

            near = difflib.get_close_matches(name, _BY_FIELD, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(_BY_FIELD)}"
            raise SettingError(f"[storage] columns: there is no column {name!r}; {hint}")
    if len(set(fields)) < len(fields):
        raise SettingError(f"[storage] columns: a column is named twice in {text!r}")
    return tuple(_BY_FIELD[name] for name in fields) or DEFAULT_COLUMNS


def find_columns(labels: list[str]) -> tuple[Column, ...]:
    """Return the columns of a header.

    Raises:
        ValueError: a label is unknown or repeated, or there is no label.

    """
    if not labels or len(set(labels)) < len(labels):
        raise ValueError("its header is empty or names a column twice")
    try:
        return tuple(_BY_LABEL[label] for label in labels)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is not a column") from None
