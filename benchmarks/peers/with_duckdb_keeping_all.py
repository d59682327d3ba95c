"""The job with DuckDB, keeping the chain's files: compressed pages, complaints as JSON, and CSV.

python with_duckdb_keeping_all.py URL LIMIT TARGET    (LIMIT 0: all)

Each page is converted in a thread, as in with_duckdb.py. Without a table, the query would run for each file,
which was slower. All files are synced to disk, and the CSV is hashed.
"""

import gzip
import hashlib
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from ccdb import COLUMNS
from with_duckdb import COMPLAINTS, THREADS, convert_in_threads, fetch_pages

PAGES = ".jsonl.gz"
KINDS = {".jsonl": "(FORMAT json)", ".csv": "(FORMAT csv, HEADER false)"}


def main(url: str, limit: int, target: Path) -> None:
    """Write the three files."""
    with (
        TemporaryDirectory(dir=target.parent) as folder,
        duckdb.connect(config={"threads": THREADS}) as database,
        ExitStack() as opened,
    ):
        files = {kind: opened.enter_context(target.with_suffix(kind).open("wb")) for kind in (PAGES, *KINDS)}
        files[".csv"].write((",".join(COLUMNS.values()) + "\n").encode())

        def convert(page: Path) -> Path:
            cursor = database.cursor()
            cursor.execute(f"CREATE TABLE page_{page.stem} AS {COMPLAINTS % page}")
            for kind, options in KINDS.items():
                cursor.execute(f"COPY page_{page.stem} TO '{page.with_suffix(kind)}' {options}")
            cursor.execute(f"DROP TABLE page_{page.stem}")
            page.with_suffix(PAGES).write_bytes(gzip.compress(page.read_bytes() + b"\n", 1))
            page.unlink()
            return page

        for page in convert_in_threads(convert, fetch_pages(url, limit, Path(folder))):
            for kind, file in files.items():
                with page.with_suffix(kind).open("rb") as part:
                    shutil.copyfileobj(part, file, 1 << 20)
                page.with_suffix(kind).unlink()
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    with target.open("rb") as csv:
        hashlib.file_digest(csv, "sha256")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
