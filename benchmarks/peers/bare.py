"""The bare script: requests, its JSON decoder, and the csv module.

python bare.py URL LIMIT TARGET    (LIMIT 0: all)
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from ccdb import COLUMNS, DATES, PAGE, page_url


def fetch_pages(url: str, limit: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the complaints of each page."""
    size = limit or PAGE
    cursor = ""
    with requests.Session() as session:
        while True:
            response = session.get(page_url(url, size, cursor), timeout=60)
            response.raise_for_status()
            hits = response.json()["hits"]["hits"]
            yield [hit["_source"] for hit in hits]
            if limit or len(hits) < size:
                return
            cursor = "{}_{}".format(*hits[-1]["sort"])


def main(url: str, limit: int, target: Path) -> None:
    """Write the CSV."""
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS.values())
        for complaints in fetch_pages(url, limit):
            for complaint in complaints:
                for field in DATES:
                    complaint[field] = (complaint[field] or "")[:10]
                writer.writerow([complaint.get(field) for field in COLUMNS])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
