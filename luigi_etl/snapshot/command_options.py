"""The command-line options that select a snapshot."""

import shlex

from luigi_etl.api.query import parse_query
from luigi_etl.common.minutes import as_parameter
from luigi_etl.snapshot.paths import SnapshotFiles, is_sync_slug, sync_slug


def parse_slug(slug: str) -> tuple[str, int] | None:
    """Return the query and the limit of a slug; None if the slug was cut or is not valid."""
    name = slug.removesuffix(sync_slug(""))
    filters, separator, number = name.partition("-newest-")
    try:
        limit = int(number) if separator else 0
        query = parse_query("" if filters == "all" else filters.replace(",", "&"))
    except ValueError:
        return None
    return (str(query), limit) if query.slug(limit) == name else None


def format_options(slug: str, query_and_limit: tuple[str, int] | None) -> str:
    """Return the options for a query and its limit, quoted for a shell; a sync has no limit."""
    if query_and_limit is None:
        return f"--query QUERY --limit LIMIT (of {slug})"
    query, limit = query_and_limit
    query_option = f"--query {shlex.quote(query)}" if query else ""
    limit_option = "" if is_sync_slug(slug) else f"--limit {limit}"
    return " ".join(filter(None, (query_option, limit_option)))


def redo_command(files: SnapshotFiles, stage: str) -> str:
    """Return the command that repeats a snapshot from a stage on."""
    options = format_options(files.slug, parse_slug(files.slug))
    return f"luigi-etl redo {as_parameter(files.timestamp)} {options} --from {stage}"
