"""The measurements that the README tells of still run, on a few complaints."""

import re
import subprocess
import sys

import pytest

from tests.conftest import PROJECT


@pytest.mark.slow
@pytest.mark.usefixtures("shared_postgres")  # the benchmark starts one of its own, if there is any
def test_the_costs_of_merges_are_measured_in_both_databases() -> None:
    run = benchmark("--complaints", "5000", "--turns", "1")
    assert run.returncode == 0, run.stderr
    header, line, *rows = run.stdout.splitlines()
    assert (header, line) == ("| | SQLite | PostgreSQL |", "|---|---|---|")
    told = {name: values for _, name, *values, _ in (re.split(r" ?\| ?", row) for row in rows)}
    assert list(told)[:2] == ["5,000 complaints into an empty database", "memory for that"]
    assert {"memory for 500", "100 changes into 5,000", "the same changes into 500"} <= told.keys()
    assert all(float(value.split()[0]) > 0 for values in told.values() for value in values)


def test_a_number_that_cannot_be_shared_out_is_refused() -> None:
    run = benchmark("--complaints", "4321")
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith(
        "error: --complaints: it takes a multiple of 200, from 5000 on"
    )


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.merge", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
