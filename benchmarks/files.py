"""The command that measures the merge of the CFPB's daily files, and writes tables of docs/performance.md.

    python -m benchmarks.files                      # a million rows; half an hour, 5 GB in $TMPDIR
    python -m benchmarks.files --rows 18000000 --rounds 1                      # as many as the CFPB has
    python -m benchmarks.files --rows 20000 --only fill --database sqlite      # a trial

Needs Linux, the extra `test` (`pip install -e '.[test]'`), and Debian's packages `sqlite3` and `postgresql`.

Two daily files are generated. A server on loopback serves them to ReconcileComplaints. ImportComplaints and
the database's own loader read the first one from the disk, as CSV. The loader fills a table with the key and
the indexes of luigi_etl's table; its columns are text. After each run every cell is compared with the file.

Figures cover the whole process tree: wall time, CPU time, peak memory and bytes written. PostgreSQL's server
only counts for the bytes written, which include its write-ahead log. The download is not counted as written.
A run with the default numbers writes its tables into docs/performance.md; a trial only prints them.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bench import log
from benchmarks.environments import PROJECT
from benchmarks.file_bench import FileBench
from benchmarks.file_databases import FileDatabase, Sqlite
from benchmarks.file_parts import PARTS, FileParts
from benchmarks.file_postgres import open_postgres
from benchmarks.file_rows import Numbers
from benchmarks.processes import BenchmarkError, exit_on_signals
from benchmarks.tables import describe_machine, replace_section

ROWS, ROUNDS = 1_000_000, 3
DATABASES = ("sqlite", "postgresql")
BYTES_PER_ROW = 3000  # of files, databases and journals that exist at the same time


def main() -> None:
    """Measure the parts for each database, and write the tables unless this is a trial."""
    exit_on_signals()
    options = _parse_options(sys.argv[1:])
    is_trial = bool(options.only) or (options.rows, options.rounds) != (ROWS, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="luigi_etl.benchmarks.") as folder:
        try:
            _check_room(Path(folder), options.rows)
            bench = FileBench(Path(folder), Numbers.of(options.rows), options.rounds)
            with bench.serving():
                for name in options.database or DATABASES:
                    _measure(bench, name, options.only or list(PARTS), is_trial)
        except BenchmarkError as error:
            sys.exit(f"benchmarks.files: {error}")


def _measure(bench: FileBench, name: str, parts: Sequence[str], is_trial: bool) -> None:
    """Measure parts for a database and print their tables."""
    with _open_database(name) as database, ExitStack() as stack:
        tables = [f"{database.name}, {bench.numbers.rows:,} rows, {bench.rounds} rounds:"]
        measured = FileParts(bench, database, stack)
        for part in parts:
            log(f"--- {database.name}: {part}")
            tables.append(PARTS[part](measured))
            print(f"\n{tables[-1]}\n", flush=True)
    if not is_trial:
        text = "\n\n".join((*tables, f"Measured {describe_machine()}."))
        replace_section(PROJECT / "docs" / "performance.md", f"files, {name}", text)


@contextmanager
def _open_database(name: str) -> Iterator[FileDatabase]:
    if name == "sqlite":
        yield Sqlite()
    else:
        with open_postgres() as database:
            yield database


def _check_room(folder: Path, rows: int) -> None:
    free, needed = shutil.disk_usage(folder).free, rows * BYTES_PER_ROW
    if free < needed:
        raise BenchmarkError(
            f"{folder.parent} has {free / 1e9:,.0f} GB free of {needed / 1e9:,.0f} GB; set TMPDIR"
        )


def _parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.files", description="Measure the merge of daily files."
    )
    add = parser.add_argument
    add("--rows", type=int, default=ROWS, metavar="N", help="rows of a file (default: a million)")
    add("--rounds", type=int, default=ROUNDS, metavar="N", help="number of rounds (default: 3)")
    add("--only", action="append", choices=PARTS, help="measure this part; may be repeated")
    add("--database", action="append", choices=DATABASES, help="use this database; may be repeated")
    options = parser.parse_args(arguments)
    if options.rows < 2000 or options.rounds < 1:
        parser.error("--rows must be 2000 or more, and --rounds 1 or more")
    return options


if __name__ == "__main__":
    main()
