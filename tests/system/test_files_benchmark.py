"""The benchmark of daily files: its rows, and a trial on SQLite."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.file_content import check_content, content_of_file
from benchmarks.file_rows import COLUMNS, DailyRows, Numbers, write_csv
from benchmarks.processes import BenchmarkError
from tests.conftest import PROJECT

pytestmark = pytest.mark.slow

ROWS = 2000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write both files."""
    folder = tmp_path_factory.mktemp("files")
    rows = DailyRows(Numbers.of(ROWS))
    write_csv(folder / "first.csv", rows.first())
    write_csv(folder / "second.csv", rows.second())
    return folder / "first.csv", folder / "second.csv"


def read(path: Path) -> dict[str, list[str]]:
    """Return the rows of a file by id."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [column.label for column in COLUMNS]
    assert len({row[-1] for row in rows}) == len(rows)
    return {row[-1]: row for row in rows}


def test_generated_files_differ_as_much_as_announced(files: tuple[Path, Path]) -> None:
    first, second = map(read, files)

    common = first.keys() & second.keys()
    changed = sum(first[one] != second[one] for one in common)

    assert Numbers(len(first), changed, len(first) - len(common), len(second) - len(common)) == Numbers.of(
        ROWS
    )


def test_other_cells_fail_the_benchmark(files: tuple[Path, Path], tmp_path: Path) -> None:
    expected = content_of_file(files[0])
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(files[0].read_text(encoding="utf-8").replace(",Yes,", ",No,", 1), encoding="utf-8")

    with pytest.raises(BenchmarkError, match="other cells"):
        check_content("wrong", content_of_file(wrong), expected)


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="needs the sqlite3 shell: apt install sqlite3")
def test_trial_prints_a_table_for_each_part(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.files", "--rows", str(ROWS), "--rounds", "1"]

    trial = subprocess.run(
        [*command, "--database", "sqlite"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert trial.returncode == 0, trial.stderr
    for name in ("`.import`", "first fill, ReconcileComplaints", "one complaint by id", "export as parquet"):
        assert re.search(rf"(?m)^\| {re.escape(name)} \| [0-9]", trial.stdout), trial.stdout
    assert not list(tmp_path.glob("luigi_etl.benchmarks.*"))
