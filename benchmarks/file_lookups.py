"""Look-ups over a filled database, as docs/database.md shows them."""

import csv
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.file_rows import FIELDS, last_days
from benchmarks.processes import BenchmarkError

LOOKUPS = 20
SAMPLE = 2000  # rows of the file
LARGE = ("EQUIFAX, INC.", "TRANSUNION INTERMEDIATE HOLDINGS, INC.", "Experian Information Solutions Inc.")
BY_ID = "SELECT * FROM current_complaints WHERE complaint_id = {}"
BY_COMPANY = (
    "SELECT complaint_id, date_received, issue, company_response FROM current_complaints "
    "WHERE company = {} ORDER BY date_received DESC LIMIT 100"
)
BY_DAY = "SELECT count(*) FROM current_complaints WHERE date_received = {}"


def time_lookups(connection: Any, content: Path) -> dict[str, list[float]]:
    """Return the milliseconds of each look-up of the rows of a file, after all of a kind ran once."""
    ids, companies = _sample(content)
    is_text = isinstance(connection.execute("SELECT complaint_id FROM complaints LIMIT 1").fetchone()[0], str)
    large = [LARGE[number % len(LARGE)] for number in range(LOOKUPS)]
    queries = {
        "one complaint by id": [BY_ID.format(_quote(one) if is_text else one) for one in ids],
        "the newest hundred of a large company": [BY_COMPANY.format(_quote(one)) for one in large],
        "the newest hundred of another company": [BY_COMPANY.format(_quote(one)) for one in companies],
        "a day's count": [BY_DAY.format(_quote(str(day))) for day in last_days(LOOKUPS)],
    }
    return {name: _time_queries(connection, each) for name, each in queries.items()}


def _sample(content: Path) -> tuple[list[str], list[str]]:
    """Return ids and smaller companies of a file."""
    with content.open(encoding="utf-8", newline="") as file:
        rows = [dict(zip(FIELDS, row, strict=True)) for row in islice(csv.reader(file), 1, SAMPLE)]
    companies = dict.fromkeys(row["company"] for row in rows if row["company"] not in LARGE)
    return [row["complaint_id"] for row in rows[:LOOKUPS]], list(companies)[-LOOKUPS:]


def _time_queries(connection: Any, queries: Sequence[str]) -> list[float]:
    times = []
    for is_warm in (False, True):
        for query in queries:
            start = time.perf_counter()
            rows = connection.execute(query).fetchall()
            if is_warm:
                times.append(1000 * (time.perf_counter() - start))
            if not rows:
                raise BenchmarkError(f"no rows: {query}")
    return times


def _quote(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))
