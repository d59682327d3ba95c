"""The narratives archive of the CFPB's reading room: a page of links, and a zip file for some months each."""

import html
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import NamedTuple

from luigi_etl.sandbox.editions import NARRATIVE
from luigi_etl.sandbox.export import COLUMNS
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.narratives import narrative_of
from luigi_etl.sandbox.row import Row

PAGE = "/foia-requests/foia-electronic-reading-room/cfpb-consumer-complaint-database-narratives-archive/"
DOCUMENTS = "/f/documents/"
PUBLISHED = datetime(2026, 9, 14, 4, 0, tzinfo=timezone.utc)
NEWEST = datetime(2026, 8, 31, 22, 0, tzinfo=timezone.utc)  # time of the last complaint
LAST_NARRATIVE = "2026-08-14"
WITHDRAWN_DAYS = 120  # before the last complaint; in them fall complaints that the index has lost since
CONSENT = ("consumer_consent_provided", "consumer_disputed")
ARCHIVE_COLUMNS = {label: field for label, field in COLUMNS.items() if field not in CONSENT}
MONTHS = (  # of each file, from number 1 on: the first and the last
    ("2011-12", "2018-04"),
    ("2018-05", "2021-04"),
    ("2021-05", "2023-11"),
    ("2023-12", "2023-12"),
    ("2024-01", "2024-01"),
    ("2024-02", "2024-05"),
    ("2024-06", "2024-09"),
    ("2024-10", "2024-12"),
    ("2025-01", "2025-02"),
    ("2025-03", "2025-04"),
    ("2025-05", "2025-06"),
    ("2025-07", "2025-08"),
    ("2025-09", "2025-10"),
    ("2025-11", "2025-12"),
    ("2026-01", "2026-02"),
    ("2026-03", "2026-03"),
    ("2026-04", "2026-04"),
    ("2026-05", "2026-05"),
    ("2026-06", "2026-06"),
    ("2026-07", "2026-07"),
    ("2026-08", "2026-08"),
)
LAST_MONTHS = [last for _, last in MONTHS]


class ArchiveFile(NamedTuple):
    """A file of the archive, with every complaint of its months."""

    months: str  # such as December 2023
    rows: list[Row]
    narratives: Mapping[str, str]  # that the index no longer sends, by id

    def with_narratives(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield complaints with narratives: the one that the index sent last, else a made-up one."""
        for row in rows:
            yield replace(row, source={**row.source, NARRATIVE: self._narrative(row)})

    def _narrative(self, row: Row) -> str:
        sent = row.value(NARRATIVE)
        if sent is None:
            sent = self.narratives.get(row.identifier)
        if sent is None:
            return narrative_of(row.identifier) if row.received <= LAST_NARRATIVE else ""
        return str(sent)


def archive_files(index: Index) -> dict[str, ArchiveFile]:
    """Return the files that have complaints, by name; none before the archive's day.

    The files hold complaints that the index has lost since, too.
    """
    edition = index.editions.archive
    if edition is None:
        return {}
    withdrawn = index.withdrawn(len(edition.rows) // 50 + 10, WITHDRAWN_DAYS, NEWEST)
    numbered: dict[int, list[Row]] = {}
    for row in {row.identifier: row for row in [*withdrawn, *edition.rows]}.values():
        if row.received:
            numbered.setdefault(bisect_left(LAST_MONTHS, row.received[:7]), []).append(row)
    files = {}
    for number, (first, last) in enumerate(MONTHS):
        if number in numbered:
            months = _months(first, last)
            name = f"CCDB_Export_{number + 1}_{months.replace(' ', '_')}.zip"
            files[name] = ArchiveFile(months, numbered[number], edition.narratives)
    return files


def archive_page(files: dict[str, ArchiveFile], host: str) -> bytes:
    """Return the page with a link to each file at `host` (scheme and authority), the newest first."""
    items = "\n".join(_items(files, host))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<title>Consumer Complaint Database narratives archive | Consumer Financial Protection Bureau</title>
<link rel="stylesheet" href="/static/css/main.css">
</head>
<body>
<a class="skip-nav" href="#main">Skip to main content</a>
<nav><a href="/">Home</a> <a href="https://www.usa.gov/">USA.gov</a> <a>Menu</a></nav>
<main id="main">
<h1>Consumer Complaint Database narratives archive</h1>
<p>The <a href='/data-research/consumer-complaints/'>Consumer Complaint Database</a> no longer has narratives.
See also the <a href="{html.escape(host)}{DOCUMENTS}cfpb_foia-guide.pdf">FOIA guide</a>.</p>
<ul>
{items}
</ul>
<h2 id="columns">Columns</h2>
<p>Write to <a href="mailto:foia@sandbox.example">the FOIA office</a>.</p>
</main>
</body>
</html>
""".encode()


def _items(files: dict[str, ArchiveFile], host: str) -> Iterator[str]:
    for name, file in reversed(files.items()):
        address = html.escape(f"{host}{DOCUMENTS}{name}")
        link = f'<a class="a-link" href="{address}"><span>{html.escape(file.months)}</span> (ZIP)</a>'
        yield f'<li>{link} <a href="#columns">columns</a></li>'


def _months(first: str, last: str) -> str:
    names = [datetime.fromisoformat(f"{month}-01").strftime("%B %Y") for month in (first, last)]
    return names[0] if first == last else " through ".join(names)
