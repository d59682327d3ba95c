"""The same with DuckDB, keeping what the chain keeps: the pages, compressed, the complaints as JSON, the CSV.

python with_duckdb_keeping_all.py URL LIMIT TARGET    (LIMIT 0: all)

Each page is turned by itself, in threads, as without; slower was the query run for each file, without a
table. All is brought to the disk, and the CSV hashed.
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
from with_duckdb import COMPLAINTS, THREADS, pages, turned

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

        def converted(page: Path) -> Path:
            own = database.cursor()
            own.execute(f"CREATE TABLE page_{page.stem} AS {COMPLAINTS % page}")
            for kind, options in KINDS.items():
                own.execute(f"COPY page_{page.stem} TO '{page.with_suffix(kind)}' {options}")
            own.execute(f"DROP TABLE page_{page.stem}")
            page.with_suffix(PAGES).write_bytes(gzip.compress(page.read_bytes() + b"\n", 1))
            page.unlink()
            return page

        for page in turned(converted, pages(url, limit, Path(folder))):
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
