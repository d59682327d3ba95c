"""The job with DuckDB: one statement per page file converts it to CSV, in threads.

python with_duckdb.py URL LIMIT TARGET    (LIMIT 0: all)

Slower: one statement for all pages, which DuckDB runs in one thread (half more time); a table filled page by
page; read_json in place of read_text (much slower); a page from memory as a parameter (a third more time, and
five times as long where DuckDB folds it as a constant).
"""

import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import requests
from ccdb import COLUMNS, DATES, END, PAGE, find_cursor, page_url

THREADS = os.cpu_count() or 1
SHAPE = json.dumps({"hits": {"hits": [{"_source": dict.fromkeys(COLUMNS, "VARCHAR")}]}})
CELLS = ", ".join(f"source.{field}{'[:10]' if field in DATES else ''} AS {field}" for field in COLUMNS)
COMPLAINTS = f"""
    SELECT {CELLS}
    FROM (SELECT unnest(from_json(content, '{SHAPE}').hits.hits)._source AS source FROM read_text('%s'))
"""  # noqa: S608


def fetch_pages(url: str, limit: int, folder: Path) -> Iterator[Path]:
    """Download the pages and yield their files."""
    size = limit or PAGE
    after = ""
    with requests.Session() as session:
        for number in range(sys.maxsize):
            page = folder / f"{number}.json"
            with (
                session.get(page_url(url, size, after), stream=True, timeout=60) as response,
                page.open("w+b") as file,
            ):
                response.raise_for_status()
                shutil.copyfileobj(response.raw, file, 1 << 20)
                file.seek(max(0, file.tell() - END))
                after = find_cursor(file.read())
            yield page
            if limit or not after:
                return


def convert_in_threads(convert: Callable[[Path], Path], pages: Iterable[Path]) -> Iterator[Path]:
    """Convert pages in threads during the download; yield the results in order."""
    running: deque[Future[Path]] = deque()
    with ThreadPoolExecutor(THREADS) as threads:
        for page in pages:
            running.append(threads.submit(convert, page))
            while running and running[0].done():
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def main(url: str, limit: int, target: Path) -> None:
    """Write the CSV."""
    with (
        TemporaryDirectory(dir=target.parent) as folder,
        duckdb.connect(config={"threads": THREADS}) as database,
        target.open("wb") as file,
    ):

        def convert(page: Path) -> Path:
            part = page.with_suffix(".csv")
            database.cursor().execute(f"COPY ({COMPLAINTS % page}) TO '{part}' (HEADER false)")
            page.unlink()
            return part

        file.write((",".join(COLUMNS.values()) + "\n").encode())
        for part in convert_in_threads(convert, fetch_pages(url, limit, Path(folder))):
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file, 1 << 20)
            part.unlink()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
