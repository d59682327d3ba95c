"""The job with Polars: each page is a frame, appended to the CSV.

python with_polars.py URL LIMIT TARGET    (LIMIT 0: all)

Slower: json_decode of a column of pages; scan_ndjson and sink_csv for all pages; read_ndjson; one frame
concatenated from all pages; two threads.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import polars
import requests
from ccdb import COLUMNS, DATES, PAGE, find_cursor, page_url

SOURCE = polars.Struct(dict.fromkeys(COLUMNS, polars.String))
SCHEMA = {"hits": polars.Struct({"hits": polars.List(polars.Struct({"_source": SOURCE}))})}
CELLS = [
    (polars.col(field).str.head(10) if field in DATES else polars.col(field)).alias(label)
    for field, label in COLUMNS.items()
]


def fetch_pages(url: str, limit: int) -> Iterator[bytes]:
    """Download the pages."""
    size = limit or PAGE
    after = ""
    with requests.Session() as session:
        while True:
            with session.get(page_url(url, size, after), stream=True, timeout=60) as response:
                response.raise_for_status()
                page = b"".join(response.iter_content(1 << 20))
            yield page
            after = find_cursor(page)
            if limit or not after:
                return


def main(url: str, limit: int, target: Path) -> None:
    """Write the CSV."""
    source = polars.col("hits").struct.field("hits").explode().struct.field("_source")
    with target.open("wb") as file:
        for number, page in enumerate(fetch_pages(url, limit)):
            frame = (
                polars.read_json(page, schema=SCHEMA)
                .select(source)
                .unnest("_source")
                .drop_nulls("complaint_id")
            )
            frame.select(CELLS).write_csv(file, include_header=number == 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
