"""Check the newest runs."""

import glob
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.minutes import as_parameter, as_text, this_minute
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.run_history import find_newest_run, find_newest_runs, format_run_options
from luigi_etl.service.run_status import TROUBLE, Run
from luigi_etl.snapshot.paths import is_sync_slug, latest_folder
from luigi_etl.tasks.config import service, storage
from luigi_etl.tasks.future_minutes import describe_future_minute, warn_about_latest

MAXIMUM_AGE = timedelta(minutes=10)  # of the newest run
DAY = timedelta(days=1)


def check_runs() -> Iterator[Finding]:
    """Check that runs are recent, and that no query needs a repair."""
    root, now = storage().path, this_minute()
    runs = find_newest_runs(root)
    if not runs:
        yield failed(f"no run has left a file in {root.absolute()}: wait a minute, or correct [storage] root")
        return
    yield from _check_last_run(max(runs, key=lambda run: run.minute), now)
    for latest in sorted(latest_folder(root).glob("*.csv")):
        if warning := warn_about_latest(latest):
            yield failed(warning)
    for newest in runs:
        run = find_newest_run(root, newest.query, ignoring=["skipped"])
        if run and _needs_repair(run, newest, now):
            yield failed(f"{describe_run(run)}: {run.error}; {_remedy(root, run)}")


def _check_last_run(last: Run, now: datetime) -> Iterator[Finding]:
    name = f"the last run, {describe_run(last)}"
    if last.minute > now + MAXIMUM_CLOCK_SKEW:
        yield failed(f"{describe_future_minute(name, last.minute)}; keep the clock right with NTP")
    elif now - last.minute > MAXIMUM_AGE:
        yield failed(
            f"{name}, is more than ten minutes old: check cron, and the logs in {service().path.absolute()}"
        )
    elif last.outcome not in TROUBLE - {"unfinished"}:
        yield passed(name)


def _needs_repair(run: Run, newest: Run, now: datetime) -> bool:
    """Return whether a query's newest run failed within the last day.

    `newest` may be a later, skipped run: then an unfinished `run` still works.
    """
    if run.outcome == "unfinished" and now - newest.minute < MAXIMUM_AGE:
        return False
    return run.outcome in TROUBLE and now - run.minute < DAY


def _remedy(root: Path, run: Run) -> str:
    if is_sync_slug(run.query):
        return f"the next run tries again{_name_logs(run)}"
    command = f"luigi-etl redo {as_parameter(run.minute)} {format_run_options(root, run.query)}"
    if run.is_stored_only:
        return f"`{command} --from merge` merges it"
    if run.rows is not None and run.outcome == "failed":
        return "its files are complete; the next run takes a new snapshot"
    if run.outcome == "failed":
        return f"the next run takes a new snapshot; `{command}` repeats this one{_name_logs(run)}"
    return f"`{command} --from store` completes it from its files"


def _name_logs(run: Run) -> str:
    folder = service().path.absolute()
    logs = [str(path) for path in sorted(folder.glob(f"*.{glob.escape(run.query)}.log"))]
    return f"; if that fails too, see {' and '.join(logs)}" if logs else ""


def describe_run(run: Run) -> str:
    """Return a run's minute, query and outcome for a message."""
    return f"{as_text(run.minute)} of {run.query}, {run.outcome}"
