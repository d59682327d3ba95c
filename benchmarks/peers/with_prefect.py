"""The job with Prefect 3: a flow of four tasks that pass paths and work page by page.

python with_prefect.py URL LIMIT TARGET    (LIMIT 0: all)
"""

import csv
import json
import shutil
import sys
from pathlib import Path

import requests
from ccdb import COLUMNS, DATES, PAGE, page_url
from prefect import flow, task


@task
def create_document(document: Path) -> Path:
    """Write the header."""
    with document.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(COLUMNS.values())
    return document


@task(retries=10, retry_delay_seconds=30)
def extract_complaints(url: str, limit: int, pages: Path) -> Path:
    """Write the API's pages, one per line."""
    size = limit or PAGE
    cursor = ""
    with requests.Session() as session, pages.open("wb") as file:
        while True:
            response = session.get(page_url(url, size, cursor), timeout=60)
            response.raise_for_status()
            file.write(response.content + b"\n")
            hits = response.json()["hits"]["hits"]
            if limit or len(hits) < size:
                return pages
            cursor = "{}_{}".format(*hits[-1]["sort"])


@task
def parse_complaints(pages: Path, parsed: Path) -> Path:
    """Write the complaints, one per line."""
    with pages.open("rb") as file, parsed.open("w", encoding="utf-8") as lines:
        for page in file:
            for hit in json.loads(page)["hits"]["hits"]:
                complaint = hit["_source"]
                for field in DATES:
                    complaint[field] = (complaint[field] or "")[:10]
                lines.write(json.dumps(complaint) + "\n")
    return parsed


@task
def store_complaints(document: Path, parsed: Path, target: Path) -> Path:
    """Append the rows to a copy of the document."""
    shutil.copyfile(document, target)
    with parsed.open(encoding="utf-8") as lines, target.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for complaint in map(json.loads, lines):
            writer.writerow([complaint.get(field) for field in COLUMNS])
    return target


@flow
def complaints(url: str, limit: int, target: Path) -> None:
    """Write the CSV."""
    document = create_document(target.with_suffix(".document.csv"))
    pages = extract_complaints(url, limit, target.with_suffix(".extracted.jsonl"))
    parsed = parse_complaints(pages, target.with_suffix(".parsed.jsonl"))
    store_complaints(document, parsed, target)


if __name__ == "__main__":
    complaints(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
