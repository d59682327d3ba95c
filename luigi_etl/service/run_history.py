"""The runs on record: what became of each minute, from what is on the disk; of the days asked for alone."""

import contextlib
import heapq
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from luigi_etl.common.errors import DamagedFileError
from luigi_etl.common.job_state import known_jobs
from luigi_etl.service.run_status import Run, RunStatus, read_run
from luigi_etl.snapshot.command_options import options_for, query_of_slug
from luigi_etl.snapshot.datapackage_reader import read_counts
from luigi_etl.snapshot.listing import days, slugs, snapshots
from luigi_etl.snapshot.paths import sync_slug

_BY_MINUTE = attrgetter("minute")


def runs_since(root: Path, since: datetime, remembered: Iterable[Run] = ()) -> Iterator[Run]:
    """Give the runs of `since` (naive UTC) and after, of all queries, the newest first, as they are read.

    A file that is damaged makes a `damaged` run. `remembered` are runs that jobs know of (`of_jobs`).

    Raises:
        OSError: a folder can't be read.

    """
    of_each = [_runs_since(root, slug, since) for slug in slugs(root)]
    of_jobs = sorted((run for run in remembered if run.minute >= since), key=_BY_MINUTE, reverse=True)
    merged = heapq.merge(*of_each, of_jobs, key=_BY_MINUTE, reverse=True)
    for _, of_minute in groupby(merged, key=_BY_MINUTE):
        found: dict[str, Run] = {}
        for run in of_minute:
            found[run.query] = _better_known(found[run.query], run) if run.query in found else run
        yield from found.values()


def of_jobs(folder: Path) -> Iterator[Run]:
    """Give the runs that the jobs of a `[service]` folder know of.

    They are those under way, and those that failed while no record could be written.
    """
    for job in known_jobs(folder):
        memory = job.read_state()
        for minute in memory.unrecorded_minutes:
            yield Run(minute=minute, query=memory.slug, outcome="failed", error=memory.unrecorded_error)
        if memory.minute and job.is_under_way():
            yield Run(
                minute=memory.minute,
                query=memory.slug,
                outcome="running",
                attempt=memory.attempt or None,
                attempts=memory.attempts or None,
            )


def _better_known(on_disk: Run, of_job: Run) -> Run:
    is_known = on_disk.outcome != "unfinished"
    return on_disk if of_job.outcome == "failed" and is_known else of_job


def query_of(root: Path, slug: str) -> tuple[str, int] | None:
    """Return the query and the limit that files are named for, as `--query` and `--limit` take them.

    A name that was cut does not hold them; then a Data Package does, if there is one.
    """
    return query_of_slug(slug) or _of_package(root, slug.removesuffix(sync_slug("")))


def options_of(root: Path, slug: str) -> str:
    """Return the options by which a command line names a query and its limit, quoted for a shell."""
    return options_for(slug, query_of(root, slug))


def _of_package(root: Path, slug: str) -> tuple[str, int] | None:
    for day in days(root, slug):
        for found in snapshots(root, slug, day):
            with contextlib.suppress(DamagedFileError):
                asked = read_counts(found.files.datapackage)
                if asked.query:
                    return asked.query, asked.limit
    return None


def newest_run(root: Path, slug: str, besides: Collection[RunStatus] = ()) -> Run | None:
    """Return a query's newest run, or None; only the newest day that holds one is read.

    `besides` are the outcomes that do not count: a minute that was `skipped`, say, as a run was under way.

    Raises:
        OSError: a folder can't be read.

    """
    runs = _runs_since(root, slug, datetime.min)
    return next((run for run in runs if run.outcome not in besides), None)


def newest_of_each(root: Path, besides: Collection[RunStatus] = ()) -> list[Run]:
    """Return the newest run of each query, as `newest_run` does.

    Raises:
        OSError: a folder can't be read.

    """
    return [run for slug in slugs(root) if (run := newest_run(root, slug, besides))]


def newest_of_all(root: Path) -> Run | None:
    """Return the newest run of all queries, or None.

    Raises:
        OSError: a folder can't be read.

    """
    return max(newest_of_each(root), key=attrgetter("minute"), default=None)


def _runs_since(root: Path, slug: str, since: datetime) -> Iterator[Run]:
    for day in days(root, slug):
        if day < since.date():
            return
        for found in snapshots(root, slug, day):
            if found.files.timestamp >= since:
                yield read_run(found)
