"""Complaints asked for by their ids: what a complete snapshot lacks may only have moved out of its query."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, exists, func, select

from luigi_etl.ccdb import Client
from luigi_etl.changes import Key
from luigi_etl.complaint import Complaint, read_page
from luigi_etl.database import Database
from luigi_etl.datapackage import HASH
from luigi_etl.errors import HeldBackError, PassingError, RefusedError
from luigi_etl.guard import Guard
from luigi_etl.losses import check_loss
from luigi_etl.matching import condition, lookup_query
from luigi_etl.merge import Taken, merge_sightings
from luigi_etl.query import MAXIMUM_VALUE_LENGTH, Query
from luigi_etl.schema import complaints, held_back, unverified
from luigi_etl.settings import Settings
from luigi_etl.sightings import sightings_of
from luigi_etl.withdrawals import Loss

DEFAULT_REQUESTS = Settings().requests_per_minute
_LONGEST_ID = 20  # characters; the longest real one has 8
_AT_ONCE = 16  # ids of 8 digits that a search term has room for, and one more
_LENGTH_OF = len("complaint_id:()")
_LENGTH_BETWEEN = len(" OR ")


class Covered(NamedTuple):
    """What a run read: the `days` it covers, and its `query`, by which an implausible loss is remembered."""

    query: Query
    days: Query


class Verifier:
    """Asks the API for the complaints that are unverified.

    One call of `verify` makes as many lookups as the API takes requests a minute; the next call goes on.
    """

    def __init__(self, database: Database, client: Client) -> None:
        self._database = database
        self._client = client
        self._requests = client.settings.requests_per_minute or DEFAULT_REQUESTS

    def verify(self, covered: Covered, now: datetime, guard: Guard) -> Iterator[Key]:
        """Look complaints up by their ids, the newest first; give the key of each lookup that is merged.

        An answer counts only if it holds a control, a complaint known to exist. `now` is naive UTC.

        Raises:
            HeldBackError: implausibly many of what is covered are missing; no lookup is made.
            PassingError, RefusedError: a lookup failed, or proves nothing; what is left stays unverified.
            DatabaseError, DatabaseAwayError: as `Database` raises them.

        """
        if problem := self._loss_held_back(covered, now, guard):
            raise HeldBackError(problem)
        for _ in range(self._requests):
            with self._database.reading() as connection:
                ids, control = _next_ids(connection)
            if not ids:
                return
            yield self._look_up(ids, control, now)

    def _loss_held_back(self, covered: Covered, now: datetime, guard: Guard) -> str:
        with self._database.reading() as connection:
            if not any(connection.scalar(select(exists(table))) for table in (unverified, held_back)):
                return ""
        with self._database.writing() as connection:
            loss = _measure(connection, condition(covered.days))
            return check_loss(connection, covered.query, loss, guard, now)

    def _look_up(self, ids: list[str], control: str, now: datetime) -> Key:
        query = lookup_query([control, *ids])
        page, answer = self._client.page(query.pairs, len(ids) + 1, None)
        results = read_page(page.body).results
        seen = list(sightings_of(results))
        found = {one.complaint_id for one in seen}
        if answer.meta.is_flagged:
            raise self._unproven("the CFPB flags its data as stale or faulty")
        if control not in found:
            raise self._unproven(f"it lacks complaint {control}, which exists")
        if not found <= {control, *ids} or answer.total != len(results):
            raise self._unproven("it holds complaints that were not asked for")
        key = Key(now, str(query), 0)
        taken = Taken(
            *key,
            rows=sum(isinstance(one, Complaint) for one in results),
            last_indexed=answer.meta.last_indexed,
            is_complete=True,
            is_sandbox=bool(answer.meta.sandbox),
            content_hash=HASH + hashlib.sha256(page.body).hexdigest(),
        )
        merge_sightings(self._database, taken, iter(seen))
        return key

    def _unproven(self, why: str) -> PassingError:
        return PassingError(f"{self._client.host}: the answer to a lookup by id proves nothing: {why}")


def count_unverified(database: Database) -> int:
    """Return how many complaints of a database are unverified and can be looked up.

    Raises:
        DatabaseError, DatabaseAwayError: as `Database` raises them.

    """
    with database.reading() as connection:
        return _count(connection, _can_be_looked_up())


def _measure(connection: Connection, wanted: ColumnElement[bool]) -> Loss:
    """Return how many complaints of those wanted would be withdrawn, were all unverified ones gone."""
    current = and_(complaints.c.withdrawn.is_(None), wanted)
    lost = and_(current, complaints.c.complaint_id.in_(select(unverified.c.complaint_id)))
    return Loss(_count(connection, lost), _count(connection, current))


def _next_ids(connection: Connection) -> tuple[list[str], str]:
    """Return the unverified complaints to look up next, and a complaint that is known to exist."""
    newest = (complaints.c.date_received.desc(), complaints.c.complaint_id)
    wanted = select(complaints.c.complaint_id).where(_can_be_looked_up()).order_by(*newest).limit(_AT_ONCE)
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
    ids = connection.scalars(wanted).all()
    control = connection.scalar(known)
    if ids and control is None:
        raise RefusedError("no complaint is known to exist, so no lookup can prove that another is gone")
    return _fitting(ids, str(control)), str(control)


def _fitting(complaint_ids: Iterable[str], control: str) -> list[str]:
    """Return as many ids as fit into a search term beside the control."""
    room = MAXIMUM_VALUE_LENGTH - _LENGTH_OF - len(control)
    fitting = []
    for one in complaint_ids:
        room -= _LENGTH_BETWEEN + len(one)
        if room < 0:
            break
        fitting.append(one)
    return fitting


def _can_be_looked_up() -> ColumnElement[bool]:
    return and_(
        complaints.c.complaint_id.in_(select(unverified.c.complaint_id)),
        func.length(complaints.c.complaint_id) <= _LONGEST_ID,
    )


def _count(connection: Connection, wanted: ColumnElement[bool]) -> int:
    return connection.scalar(select(func.count()).select_from(complaints).where(wanted)) or 0
