"""Check the newest runs."""

import glob
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from luigi_etl.api.settings import MAXIMUM_CLOCK_SKEW
from luigi_etl.common.minutes import as_parameter, as_text, this_minute
from luigi_etl.service.doctor.finding import Finding, failed, passed
from luigi_etl.service.run_history import TROUBLE, Run, newest_of_each, newest_run, options_of
from luigi_etl.snapshot.paths import is_of_syncs, latest_folder
from luigi_etl.tasks.config import service, storage
from luigi_etl.tasks.future_minutes import latest_warning, remedy

LATEST = timedelta(minutes=10)
DAY = timedelta(days=1)


def check_runs() -> Iterator[Finding]:
    """Check that runs are recent, and that none needs help."""
    root, now = storage().path, this_minute()
    runs = newest_of_each(root)
    if not runs:
        yield failed(f"no run left anything in {root.absolute()}: wait a minute, or see [storage] root")
        return
    last = max(runs, key=lambda run: run.minute)
    if last.minute > now + MAXIMUM_CLOCK_SKEW:
        yield failed(f"{remedy(f'the last run, {describe_run(last)}', last.minute)}; let NTP keep the clock")
    elif now - last.minute > LATEST:
        yield failed(
            f"the last run, {describe_run(last)}, is long ago: check cron, and the logs in "
            f"{service().path.absolute()}"
        )
    elif last.outcome not in TROUBLE - {"unfinished"}:
        yield passed(f"the last run, {describe_run(last)}")
    for latest in sorted(latest_folder(root).glob("*.csv")):
        if warning := latest_warning(latest):
            yield failed(warning)
    for newest in runs:
        run = newest_run(root, newest.query, besides=["skipped"])
        if run and _is_to_be_seen_to(run, newest, now):
            yield failed(f"{describe_run(run)}: {run.error}; {_remedy(root, run)}")


def _is_to_be_seen_to(run: Run, newest: Run, now: datetime) -> bool:
    """Tell whether a query's newest run failed, and lately enough to matter.

    `newest` may be a later one that was skipped: then one that is unfinished is still at work.
    """
    if run.outcome == "unfinished" and now - newest.minute < LATEST:
        return False
    return run.outcome in TROUBLE and now - run.minute < DAY


def _remedy(root: Path, run: Run) -> str:
    if is_of_syncs(run.query):
        return f"the next run tries again{_log_of(run)}"
    options = options_of(root, run.query)
    command = f"luigi-etl redo {as_parameter(run.minute)} {options}"
    if run.is_stored_only:
        return f"`{command} --from merge` merges it"
    if run.rows is not None and run.outcome == "failed":
        return "its files are whole, and the next run takes a new snapshot"
    if run.outcome == "failed":
        return f"the next run takes a new snapshot, `{command}` this one{_log_of(run)}"
    return f"`{command} --from store` completes it from what is there"


def _log_of(run: Run) -> str:
    """Name the logs of a query's runs that exist."""
    folder = service().path.absolute()
    logs = [str(path) for path in sorted(folder.glob(f"*.{glob.escape(run.query)}.log"))]
    return f"; if that fails too, see {' and '.join(logs)}" if logs else ""


def describe_run(run: Run) -> str:
    """Return a run's minute, query and outcome for a message."""
    return f"{as_text(run.minute)} of {run.query}, {run.outcome}"
