"""The parts of the benchmark of files; each measures one question and returns its table."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from benchmarks.bench import Costs, run_in_turns
from benchmarks.file_bench import FileBench, Home
from benchmarks.file_content import check_content, content_of_file
from benchmarks.file_databases import FileDatabase
from benchmarks.file_lookups import time_lookups
from benchmarks.processes import BenchmarkError, Cost
from benchmarks.tables import format_megabytes, format_seconds, format_spread, format_table, median_ratio

IMPORT = "first fill, ImportComplaints"
FILL = "first fill, ReconcileComplaints"
RECONCILE = "ReconcileComplaints, the next day"
COST_HEADER = ("", "seconds", "CPU seconds", "MB of memory", "MB written")


class FileParts:
    """The parts for one database.

    All parts but the first need a filled database. It is that of the last fill, and belongs to the stack.
    """

    def __init__(self, bench: FileBench, database: FileDatabase, stack: ExitStack) -> None:
        self._bench = bench
        self._database = database
        self._stack = stack
        self._filled: Home | None = None
        self._fills: list[Cost] = []

    def measure_fill(self) -> str:
        """Measure a first fill by each task, and by the database's own loader."""
        loader = self._database.loader
        runs = {loader: self._load, IMPORT: self._import, FILL: self._fill}
        costs = self._take_turns(runs)
        ratios = [f"{median_ratio(costs, name, loader):.2f}" for name in costs]
        return f"{_format_costs(costs, f'times {loader}', ratios)}\n\n{self._describe_size()}"

    def measure_reconcile(self) -> str:
        """Measure a merge of the next day's file into the filled database."""
        self._find_filled()
        costs = self._take_turns({RECONCILE: self._reconcile})
        share = _median(costs[RECONCILE]) / _median(self._fills)
        numbers = self._bench.numbers
        differences = (
            f"{numbers.changed:,} rows changed, {numbers.removed:,} are gone and {numbers.new:,} are new."
        )
        return f"{_format_costs(costs, 'of the first fill', [f'{share:.0%}'])}\n\n{differences}"

    def measure_lookups(self) -> str:
        """Measure queries over the filled database, after each ran once."""
        home = self._find_filled()
        self._database.tidy(home.database)
        with closing(self._database.connect(home.database)) as connection:
            times = time_lookups(connection, self._bench.files[0].csv)
        rows = [[name, format_spread(each)] for name, each in times.items()]
        return format_table(["", "milliseconds"], rows)

    def measure_export(self) -> str:
        """Measure exports of everything."""
        self._find_filled()
        costs = self._take_turns({kind: partial(self._export, kind) for kind in ("csv", "parquet")})
        rates = {
            name: [self._bench.numbers.rows / cost.wall for cost in each] for name, each in costs.items()
        }
        rows = [
            [
                f"export as {name}",
                format_seconds(costs[name]),
                format_spread(each),
                format_megabytes(costs[name]),
            ]
            for name, each in rates.items()
        ]
        return format_table(["", "seconds", "rows a second", "MB of memory"], rows)

    def _take_turns(self, runs: Mapping[str, Callable[[], Cost]]) -> Costs:
        return run_in_turns(runs, self._bench.rounds, warm_up=False)

    def _load(self) -> Cost:
        """Run the database's own loader."""
        database, file = self._database, self._bench.files[0]
        schema = self._bench.find_schema(database)
        with self._bench.new_home(database) as home:
            database.prepare_load(home.database, schema)
            cost = self._bench.run(
                database, home.command(*database.load(home.database, schema.table, file.csv))
            )
            check_content(database.loader, database.read_content(home.database, schema.table), file.content)
        return cost

    def _import(self) -> Cost:
        """Run ImportComplaints on the CSV."""
        database, file = self._database, self._bench.files[0]
        with self._bench.new_home(database) as home:
            options = ("--file", file.csv, "--timestamp", file.minute)
            cost = self._bench.run(database, home.luigi("ImportComplaints", *options))
            check_content("ImportComplaints", database.read_content(home.database), file.content)
        return cost

    def _fill(self) -> Cost:
        """Run ReconcileComplaints on an empty database, and keep the database."""
        self._stack.close()
        home = self._stack.enter_context(self._bench.new_home(self._database))
        cost = self._bench.reconcile(self._database, home, self._bench.files[0])
        self._filled = home
        self._fills.append(cost)
        return cost

    def _find_filled(self) -> Home:
        if not self._filled:
            self._fill()
        assert self._filled  # noqa: S101  # for mypy
        return self._filled

    def _reconcile(self) -> Cost:
        """Run ReconcileComplaints on a copy of the filled database."""
        with self._bench.new_home(self._database, self._find_filled()) as home:
            cost = self._bench.reconcile(self._database, home, self._bench.files[1])
            self._check_changes(home)
        return cost

    def _check_changes(self, home: Home) -> None:
        """Compare the recorded changes with those of the file."""
        rows = self._database.query(
            home.database,
            "SELECT change, count(DISTINCT complaint_id) FROM changes "  # noqa: S608
            f"WHERE snapshot > '{self._bench.files[0].time:%Y-%m-%d %H:%M}' GROUP BY change",
        )
        numbers = self._bench.numbers
        expected = {"changed": numbers.changed, "withdrawn": numbers.removed, "new": numbers.new}
        if dict(rows) != expected:
            raise BenchmarkError(f"the view changes differs: {dict(rows)}, expected {expected}")

    def _export(self, kind: str) -> Cost:
        """Export everything, and check the file."""
        home, file = self._find_filled(), self._bench.files[0]
        path = home.folder / f"all.{kind}"
        cost = self._bench.run(self._database, home.export(path.name))
        if kind == "csv":
            check_content("export as csv", content_of_file(path), file.content)
        else:
            _check_parquet(path, file.content.rows)
        path.unlink()
        return cost

    def _describe_size(self) -> str:
        content, size = (
            self._bench.files[0].csv.stat().st_size,
            self._database.size(self._find_filled().database),
        )
        return (
            f"The CSV has {content / 1e6:,.0f} MB, the database {size / 1e6:,.0f} MB, "
            f"which is {size / content:.2f} times as much."
        )


PARTS = {
    "fill": FileParts.measure_fill,
    "reconcile": FileParts.measure_reconcile,
    "lookups": FileParts.measure_lookups,
    "export": FileParts.measure_export,
}


def _format_costs(costs: Costs, label: str, ratios: Sequence[str]) -> str:
    """Return a table of costs, with a ratio for each under the label."""
    rows = [
        [
            name,
            format_seconds(each),
            format_spread([cost.cpu for cost in each]),
            format_megabytes(each),
            format_spread([cost.written / 1e6 for cost in each]),
            ratio,
        ]
        for (name, each), ratio in zip(costs.items(), ratios, strict=True)
    ]
    return format_table([*COST_HEADER, label], rows)


def _median(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.wall for cost in costs)


def _check_parquet(path: Path, rows: int) -> None:
    from pyarrow import parquet

    found = parquet.read_metadata(path).num_rows
    if found != rows:
        raise BenchmarkError(f"the Parquet file has {found:,} rows, expected {rows:,}")
