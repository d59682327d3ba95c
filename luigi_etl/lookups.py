"""Complaints asked for by their ids: what a sync's windows did not find may only have moved out of them."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from urllib.parse import quote

from sqlalchemy import Connection, select

from luigi_etl.ccdb import Client
from luigi_etl.changes import Key, are
from luigi_etl.complaint import read_page
from luigi_etl.datapackage import HASH
from luigi_etl.merge import Taken
from luigi_etl.query import MAXIMUM_VALUE_LENGTH, Query, parse_query
from luigi_etl.schema import complaints, history, snapshots
from luigi_etl.sightings import Sighting, sightings_of

MOST_IDS = 400  # twenty requests: enough for the complaints of a usual day


def missing(connection: Connection, keys: Iterable[Key]) -> list[str]:
    """Return the complaints that snapshots found withdrawn and that still are, the newest first."""
    withdrawals = (
        select(history.c.complaint_id)
        .join(snapshots, snapshots.c.id == history.c.snapshot_id)
        .where(history.c.change == "withdrawn", are(keys))
    )
    asked = (
        select(complaints.c.complaint_id)
        .where(complaints.c.complaint_id.in_(withdrawals), complaints.c.withdrawn.is_not(None))
        .order_by(complaints.c.date_received.desc(), complaints.c.complaint_id)
        .limit(MOST_IDS)
    )
    return list(connection.scalars(asked))


def by_ids(complaint_ids: Iterable[str]) -> Iterator[Query]:
    """Give queries for complaints by their ids, as many at once as a search term holds.

    The API's engine takes Lucene's syntax, in which a field may be named and words between brackets are
    joined by OR (cfpb/ccdb5-api: query_string).
    """
    asked = ""
    for one in complaint_ids:
        if len(_term(one)) > MAXIMUM_VALUE_LENGTH:  # no complaint's id is that long
            continue
        if asked and len(_term(f"{asked} {one}")) > MAXIMUM_VALUE_LENGTH:
            yield _query_for(asked)
            asked = ""
        asked = f"{asked} {one}".strip()
    if asked:
        yield _query_for(asked)


def asked_for(client: Client, query: str, timestamp: datetime) -> tuple[Taken, Iterator[Sighting]]:
    """Ask for complaints by a query of `by_ids`; return those that are there, as a snapshot of a minute.

    Raises:
        PassingError, RefusedError: as `Client` raises them.

    """
    page, answer = client.page(parse_query(query).pairs, MOST_IDS, None)
    seen = list(sightings_of(read_page(page.body).results))
    taken = Taken(
        timestamp,
        query,
        0,
        rows=len(seen),
        last_indexed=answer.meta.last_indexed,
        is_complete=False,
        is_sandbox=bool(answer.meta.sandbox),
        content_hash=HASH + hashlib.sha256(page.body).hexdigest(),
    )
    return taken, iter(seen)


def _term(ids: str) -> str:
    return f"complaint_id:({ids})"


def _query_for(ids: str) -> Query:
    return parse_query(f"field=all&search_term={quote(_term(ids))}")
