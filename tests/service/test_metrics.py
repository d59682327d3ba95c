"""Metrics for node_exporter's textfile collector."""

import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest

from luigi_etl.common.errors import StorageError
from luigi_etl.common.job_state import JobState
from luigi_etl.service.metrics import write_metrics

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
STATE = JobState(began=NOON, last_success=NOON, rows=10, rejected=1, seconds=0.5, failures=2)


def metrics(folder: Path) -> dict[str, float]:
    lines = (folder / "luigi_etl.StoreComplaints.state=CA.prom").read_text().splitlines()
    values = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in values}


def test_each_metric_has_the_label_of_the_job(tmp_path: Path) -> None:
    write_metrics(tmp_path, "StoreComplaints.state=CA", STATE)
    label = '{run="StoreComplaints.state=CA"}'

    assert metrics(tmp_path) == {
        f"luigi_etl_last_success_timestamp_seconds{label}": NOON.timestamp(),
        f"luigi_etl_last_run_timestamp_seconds{label}": NOON.timestamp(),
        f"luigi_etl_rows{label}": 10,
        f"luigi_etl_rejected{label}": 1,
        f"luigi_etl_duration_seconds{label}": 0.5,
        f"luigi_etl_failures_in_a_row{label}": 2,
    }


def test_each_metric_follows_its_help_and_type(tmp_path: Path) -> None:
    write_metrics(tmp_path, "StoreComplaints.state=CA", STATE)
    lines = (tmp_path / "luigi_etl.StoreComplaints.state=CA.prom").read_text().splitlines()
    for help_line, type_line, value in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        name = value.partition("{")[0]
        assert help_line.startswith(f"# HELP {name} ")
        assert type_line == f"# TYPE {name} gauge"


def test_prometheus_client_can_parse_the_file(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    write_metrics(tmp_path, "StoreComplaints.state=CA", STATE)
    text = (tmp_path / "luigi_etl.StoreComplaints.state=CA.prom").read_text()

    assert len(list(parser.text_string_to_metric_families(text))) == 6


def test_last_success_is_zero_before_the_first_success(tmp_path: Path) -> None:
    write_metrics(tmp_path, "StoreComplaints.state=CA", JobState(failures=1))
    label = '{run="StoreComplaints.state=CA"}'

    assert metrics(tmp_path)[f"luigi_etl_last_success_timestamp_seconds{label}"] == 0


def test_second_write_replaces_the_file(tmp_path: Path) -> None:
    for _ in range(2):
        write_metrics(tmp_path, "StoreComplaints.state=CA", STATE)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_file_is_readable_for_node_exporter(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_metrics(tmp_path, "StoreComplaints.state=CA", STATE)
    finally:
        os.umask(before)

    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o644]


def test_missing_folder_is_one_line_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"/misspelt is not a folder; make it, or correct \[service\] metrics"
    ):
        write_metrics(tmp_path / "misspelt", "StoreComplaints.all", STATE)
    assert not (tmp_path / "misspelt").exists()


def test_each_kind_of_change_has_a_metric(tmp_path: Path) -> None:
    counts = {"new": 3, "changed": 2, "withdrawn": 1, "returned": 0}

    write_metrics(tmp_path, "StoreComplaints.state=CA", msgspec.structs.replace(STATE, counts=counts))

    found = metrics(tmp_path)
    label = 'run="StoreComplaints.state=CA",change="{}"'
    assert {kind: found[f"luigi_etl_changes{{{label.format(kind)}}}"] for kind in counts} == counts
    parser = pytest.importorskip("prometheus_client.parser")
    text = (tmp_path / "luigi_etl.StoreComplaints.state=CA.prom").read_text()
    assert len(list(parser.text_string_to_metric_families(text))) == 7
