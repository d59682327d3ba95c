"""Metrics of a job for node_exporter's textfile collector, in the Prometheus text format."""

import os
from datetime import datetime
from pathlib import Path

from luigi_etl.common.errors import StorageError
from luigi_etl.common.files import atomic_write
from luigi_etl.common.job_state import JobState


def write_metrics(folder: Path, job: str, state: JobState) -> None:
    """Write `luigi_etl.<job>.prom` atomically; a label needs no escapes for `job`.

    The label is called `run`, because Prometheus itself sets `job`.

    Raises:
        StorageError: the file can't be written, or the folder is missing: it may be misspelt.

    """
    if not folder.is_dir():
        raise StorageError(f"{folder.absolute()} is not a folder; make it, or correct [service] metrics")
    with atomic_write(folder / f"luigi_etl.{job}.prom", "set [service] metrics") as stream:
        os.fchmod(stream.fileno(), 0o644)  # node_exporter is another user, whatever the umask
        stream.write(_format(job, state).encode())


def _format(job: str, state: JobState) -> str:
    metrics = (
        ("last_success_timestamp_seconds", "When the last run succeeded.", _to_seconds(state.last_success)),
        ("last_run_timestamp_seconds", "When the last run began.", _to_seconds(state.began)),
        ("rows", "Complaints the last successful run stored.", state.rows),
        ("rejected", "Hits of the last successful run that are no complaints.", state.rejected),
        ("duration_seconds", "How long the last run took.", state.seconds),
        ("failures_in_a_row", "Runs that failed since the last success.", state.failures),
    )
    text = "".join(
        f'{_header(name, meaning)}luigi_etl_{name}{{run="{job}"}} {value}\n'
        for name, meaning, value in metrics
    )
    if state.counts is None:
        return text
    changes = "".join(
        f'luigi_etl_changes{{run="{job}",change="{change}"}} {count}\n'
        for change, count in state.counts.items()
    )
    return (
        f"{text}{_header('changes', 'Complaints the last successful run changed in the database.')}{changes}"
    )


def _header(name: str, meaning: str) -> str:
    return f"# HELP luigi_etl_{name} {meaning}\n# TYPE luigi_etl_{name} gauge\n"


def _to_seconds(moment: datetime | None) -> float:
    return round(moment.timestamp(), 3) if moment else 0
