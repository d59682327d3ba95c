"""Lookups by id: they distinguish withdrawn complaints from those that left a query."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, select

from luigi_etl.api.client import Client
from luigi_etl.api.filters import MAXIMUM_VALUE_LENGTH
from luigi_etl.api.query import Query
from luigi_etl.api.settings import Settings
from luigi_etl.common.errors import HeldBackError, RefusedError, TransientError
from luigi_etl.database.change_log import Key
from luigi_etl.database.connection import Database
from luigi_etl.database.losses import Loss, hold_back, is_held
from luigi_etl.database.merge import merge_observations
from luigi_etl.database.observations import convert_observations
from luigi_etl.database.schema import complaints, unverified
from luigi_etl.database.snapshot_record import SnapshotToMerge
from luigi_etl.database.sql_filter import make_lookup_query, to_condition
from luigi_etl.snapshot.complaint import Complaint
from luigi_etl.snapshot.datapackage import HASH_PREFIX
from luigi_etl.snapshot.decoding import read_page
from luigi_etl.snapshot.guard import Guard

DEFAULT_REQUESTS = Settings().requests_per_minute
_AT_ONCE = 16  # one more id of 8 digits than fits into a search term
_PREFIX_LENGTH = len("complaint_id:()")
_SEPARATOR_LENGTH = len(" OR ")


class QueryRead(NamedTuple):
    """The query of a run, and the same query limited to the days that it read."""

    query: Query
    days: Query


class Verifier:
    """Asks the API for the unverified complaints.

    One call of `verify` sends at most one minute's requests; the next call continues.
    """

    def __init__(self, database: Database, client: Client) -> None:
        self._database = database
        self._client = client
        self._requests = client.settings.requests_per_minute or DEFAULT_REQUESTS

    def verify(self, covered: QueryRead, now: datetime, guard: Guard) -> Iterator[Key]:
        """Look up complaints by id, the newest first; yield the key of each merged lookup.

        An answer counts only if it holds a control, a complaint known to exist. `now` is naive UTC.

        Raises:
            HeldBackError: implausibly many complaints are missing; they are not looked up.
            TransientError, RefusedError: a lookup failed or proves nothing; the rest stays unverified.
            DatabaseError, DatabaseUnavailableError: see `Database`.

        """
        loss = self._hold_back(covered, now, guard)
        for _ in range(self._requests):
            with self._database.reading() as connection:
                ids, control = _next_ids(connection, to_condition(covered.query), now)
            if not ids:
                break
            yield self._look_up(ids, control, now)
        if loss:
            raise HeldBackError(loss.describe(covered.query))

    def _hold_back(self, covered: QueryRead, now: datetime, guard: Guard) -> Loss | None:
        with self._database.reading() as connection:
            if not connection.scalar(select(exists(unverified))):
                return None
        with self._database.writing() as connection:
            return hold_back(connection, to_condition(covered.query), to_condition(covered.days), now, guard)

    def _look_up(self, ids: list[str], control: str, now: datetime) -> Key:
        query = make_lookup_query([control, *ids])
        page, answer = self._client.fetch_page(query.pairs, len(ids) + 1, None)
        results = read_page(page.body).results
        observations = list(convert_observations(results))
        found = {one.complaint_id for one in observations}
        if answer.meta.is_flagged:
            raise self._unproven("the CFPB flags its data as stale or faulty")
        if control not in found:
            raise self._unproven(f"it lacks complaint {control}, which exists")
        if not found <= {control, *ids} or answer.total != len(results):
            raise self._unproven("it holds complaints that were not asked for")
        key = Key(now, str(query), 0)
        snapshot = SnapshotToMerge(
            *key[:3],
            rows=sum(isinstance(one, Complaint) for one in results),
            last_indexed=answer.meta.last_indexed,
            is_complete=True,
            is_sandbox=bool(answer.meta.sandbox),
            content_hash=HASH_PREFIX + hashlib.sha256(page.body).hexdigest(),
        )
        merge_observations(self._database, snapshot, iter(observations))
        return key

    def _unproven(self, why: str) -> TransientError:
        return TransientError(f"{self._client.host}: the answer to a lookup by id proves nothing: {why}")


def _next_ids(connection: Connection, asked: ColumnElement[bool], now: datetime) -> tuple[list[str], str]:
    """Return the next ids to look up, and the control."""
    newest = (complaints.c.date_received.desc(), complaints.c.complaint_id)
    wanted = select(complaints.c.complaint_id).where(asked, _can_be_looked_up(now))
    known = (
        select(complaints.c.complaint_id)
        .where(
            complaints.c.withdrawn.is_(None),
            complaints.c.date_received.is_not(None),
            complaints.c.complaint_id.not_in(select(unverified.c.complaint_id)),
        )
        .order_by(*newest)
        .limit(1)
    )
    ids = connection.scalars(wanted.order_by(*newest).limit(_AT_ONCE)).all()
    control = connection.scalar(known)
    if ids and control is None:
        raise RefusedError("no complaint is known to exist, so no lookup can prove that another is gone")
    return _fit_into_term(ids, str(control)), str(control)


def _fit_into_term(complaint_ids: Iterable[str], control: str) -> list[str]:
    """Return the first ids that fit into a search term together with the control."""
    room = MAXIMUM_VALUE_LENGTH - _PREFIX_LENGTH - len(control)
    fitting = []
    for one in complaint_ids:
        room -= _SEPARATOR_LENGTH + len(one)
        if room < 0:
            break
        fitting.append(one)
    return fitting


def _can_be_looked_up(now: datetime) -> ColumnElement[bool]:
    is_open = and_(unverified.c.since <= now, ~is_held(now))
    return complaints.c.complaint_id.in_(select(unverified.c.complaint_id).where(is_open))
