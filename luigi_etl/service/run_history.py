"""The list of runs, from the files of the snapshots and the states of the jobs."""

import contextlib
import heapq
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.job_state import find_jobs
from luigi_etl.service.run_status import Run, RunStatus, read_run
from luigi_etl.snapshot.command_options import format_options, parse_slug
from luigi_etl.snapshot.datapackage_reader import read_counts
from luigi_etl.snapshot.listing import list_days, list_slugs, list_snapshots
from luigi_etl.snapshot.paths import sync_slug

_BY_MINUTE = attrgetter("minute")


def list_runs(root: Path, since: datetime, remembered: Iterable[Run] = ()) -> Iterator[Run]:
    """Yield the runs of all queries from `since` (naive UTC) on, newest first; earlier days are not read.

    A damaged file makes a `damaged` run. `remembered` are the runs of `read_job_runs`.

    Raises:
        OSError: a folder can't be read.

    """
    by_query = [_runs_since(root, slug, since) for slug in list_slugs(root)]
    job_runs = sorted((run for run in remembered if run.minute >= since), key=_BY_MINUTE, reverse=True)
    merged = heapq.merge(*by_query, job_runs, key=_BY_MINUTE, reverse=True)
    for _, minute_runs in groupby(merged, key=_BY_MINUTE):
        found: dict[str, Run] = {}
        for run in minute_runs:
            found[run.query] = _choose(found[run.query], run) if run.query in found else run
        yield from found.values()


def read_job_runs(folder: Path) -> Iterator[Run]:
    """Yield the runs in the states of the jobs of a `[service]` folder.

    They are the runs under way, and failed runs that could not write a record.
    """
    for job in find_jobs(folder):
        state = job.read_state()
        for minute in state.unrecorded_minutes:
            yield Run(minute=minute, query=state.slug, outcome="failed", error=state.unrecorded_error)
        if state.minute and job.is_under_way():
            yield Run(
                minute=state.minute,
                query=state.slug,
                outcome="running",
                attempt=state.attempt or None,
                attempts=state.attempts or None,
            )


def _choose(on_disk: Run, of_job: Run) -> Run:
    """Return the job's run, unless it failed and the files show a result."""
    has_result = on_disk.outcome != "unfinished"
    return on_disk if of_job.outcome == "failed" and has_result else of_job


def find_query(root: Path, slug: str) -> tuple[str, int] | None:
    """Return the query and limit of a slug, as `--query` and `--limit` take them.

    A shortened slug lacks them; then a Data Package has them, if one exists.
    """
    return parse_slug(slug) or _query_of_package(root, slug.removesuffix(sync_slug("")))


def format_run_options(root: Path, slug: str) -> str:
    """Return the options for the query and limit of a slug, quoted for a shell."""
    return format_options(slug, find_query(root, slug))


def _query_of_package(root: Path, slug: str) -> tuple[str, int] | None:
    for day in list_days(root, slug):
        for found in list_snapshots(root, slug, day):
            with contextlib.suppress(DamagedFileError):
                counts = read_counts(found.files.datapackage)
                if counts.query:
                    return counts.query, counts.limit
    return None


def find_newest_run(root: Path, slug: str, ignoring: Collection[RunStatus] = ()) -> Run | None:
    """Return a query's newest run, or None; read no earlier day than needed.

    `ignoring` are outcomes to ignore, such as `skipped`.

    Raises:
        OSError: a folder can't be read.

    """
    runs = _runs_since(root, slug, datetime.min)
    return next((run for run in runs if run.outcome not in ignoring), None)


def find_newest_runs(root: Path, ignoring: Collection[RunStatus] = ()) -> list[Run]:
    """Return the newest run of each query, as `newest_run` does.

    Raises:
        OSError: a folder can't be read.

    """
    return [run for slug in list_slugs(root) if (run := find_newest_run(root, slug, ignoring))]


def newest_of_all(root: Path) -> Run | None:
    """Return the newest run of all queries, or None.

    Raises:
        OSError: a folder can't be read.

    """
    return max(find_newest_runs(root), key=attrgetter("minute"), default=None)


def _runs_since(root: Path, slug: str, since: datetime) -> Iterator[Run]:
    for day in list_days(root, slug):
        if day < since.date():
            return
        for found in list_snapshots(root, slug, day):
            if found.files.timestamp >= since:
                yield read_run(found)
