"""How a snapshot is named on a command line, from the name of its files."""

import shlex

from luigi_etl.api.query import parse_query
from luigi_etl.common.minutes import as_parameter
from luigi_etl.snapshot.paths import SnapshotFiles, is_of_syncs, sync_slug


def query_of_slug(slug: str) -> tuple[str, int] | None:
    """Return the query and the limit that a name of files holds; None if it was cut, or is no such name."""
    name = slug.removesuffix(sync_slug(""))
    filters, marked, number = name.partition("-newest-")
    try:
        limit = int(number) if marked else 0
        query = parse_query("" if filters == "all" else filters.replace(",", "&"))
    except ValueError:
        return None
    return (str(query), limit) if query.slug(limit) == name else None


def options_for(slug: str, asked: tuple[str, int] | None) -> str:
    """Return the options that name a query and its limit, quoted for a shell; a sync takes no limit."""
    if asked is None:
        return f"--query QUERY --limit LIMIT (of {slug})"
    query, limit = asked
    of_query = f"--query {shlex.quote(query)}" if query else ""
    of_limit = "" if is_of_syncs(slug) else f"--limit {limit}"
    return " ".join(filter(None, (of_query, of_limit)))


def redo_command(files: SnapshotFiles, stage: str) -> str:
    """Return the command that makes a snapshot's files again from a stage on."""
    options = options_for(files.slug, query_of_slug(files.slug))
    return f"luigi-etl redo {as_parameter(files.timestamp)} {options} --from {stage}"
