"""A snapshot into the database, in one transaction: what is new, changed, gone, or back."""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice

from msgspec import UNSET
from sqlalchemy import Connection, select, update

from luigi_etl.database import Database
from luigi_etl.datapackage import Facts, read_facts
from luigi_etl.errors import DatabaseError
from luigi_etl.held import Change, Held, Merging, held, insert, mark, remember, replace
from luigi_etl.matching import is_lasting
from luigi_etl.older import OlderMerge, Pair
from luigi_etl.paths import SnapshotFiles
from luigi_etl.progress import Report, unwatched
from luigi_etl.query import parse_query
from luigi_etl.schema import FIELDS, fields, snapshots
from luigi_etl.sightings import NOTHING, Observed, Sighting, Value, as_text, rejected_ids, sightings
from luigi_etl.withdrawals import conclude, see_again

BATCH = 1000


def merge(database: Database, files: SnapshotFiles, report: Report = unwatched) -> None:
    """Merge a stored snapshot into the database; one that is in it already changes nothing.

    Values of later snapshots are never replaced by those of earlier ones, whatever the order in which they
    are merged. A field that was not sent says nothing; null says that there is no value. `report` hears of
    each batch.

    Raises:
        DamagedFileError: a file of the snapshot is not what its task wrote.
        DatabaseError: the database can't be used, or holds complaints of another kind.
        DatabaseAwayError, StorageError: as `Database` raises them; the database is as it was before.

    """
    facts = read_facts(files.datapackage, files.complaints)
    is_complete = _proves_absence(files, facts)
    with database.writing() as connection:
        _check_kind(connection, facts)
        snapshot = _enter(connection, files.timestamp, facts, is_complete)
        if snapshot is None:
            return
        _merge_all(connection, snapshot, files, facts, report)
        conclude(connection, snapshot)


def _proves_absence(files: SnapshotFiles, facts: Facts) -> bool:
    """Tell whether a complaint that the snapshot should hold and does not is gone."""
    return (
        facts.limit == 0
        and facts.parsed + facts.rejected == facts.hits_total
        and is_lasting(parse_query(facts.query))
        and None not in rejected_ids(files.rejected)
    )


def _check_kind(connection: Connection, facts: Facts) -> None:
    other = select(1).where(snapshots.c.is_sandbox != bool(facts.sandbox)).limit(1)
    if connection.scalar(other):
        ours, theirs = ("sandbox", "CFPB") if facts.sandbox else ("CFPB", "sandbox")
        raise DatabaseError(
            f"the snapshot is of the {ours}, what the database holds is of the {theirs}; "
            "set [storage] database to another"
        )


def _enter(connection: Connection, timestamp: datetime, facts: Facts, is_complete: bool) -> Merging | None:
    """Return the snapshot as the database knows it from now on, or None if it was merged with these files."""
    key = {"timestamp": timestamp, "query": facts.query, "row_limit": facts.limit}
    known = connection.execute(select(snapshots.c.id, snapshots.c.parsed_hash).filter_by(**key)).one_or_none()
    if known and known.parsed_hash == facts.parsed_hash:
        return None
    told = {
        "rows": facts.parsed,
        "last_indexed": facts.last_indexed,
        "is_complete": is_complete,
        "is_sandbox": bool(facts.sandbox),
        "parsed_hash": facts.parsed_hash,
    }
    if known:
        number = known.id
        connection.execute(update(snapshots).where(snapshots.c.id == number).values(told))
    else:
        number = connection.scalar(snapshots.insert().values(**key, **told).returning(snapshots.c.id))
    return Merging(number, timestamp, parse_query(facts.query), is_complete)


def _merge_all(
    connection: Connection, snapshot: Merging, files: SnapshotFiles, facts: Facts, report: Report
) -> None:
    last_sent = {row.name: row.last_sent for row in connection.execute(select(fields))}
    batches = _Batches(connection, snapshot, last_sent)
    rejected = (Sighting(one, NOTHING) for one in rejected_ids(files.rejected) if one)
    done = 0
    for batch in _batched(chain(sightings(files.parsed, facts.parsed_hash), rejected)):
        batches.take(batch)
        done += len(batch)
        report(done, facts.parsed)
    if facts.parsed:
        sent = [field for field in FIELDS if field not in facts.absent_fields]
        _note_sent(connection, sent, last_sent, snapshot.timestamp)


def _batched(every: Iterator[Sighting]) -> Iterator[list[Sighting]]:
    while batch := list(islice(every, BATCH)):
        yield batch


def _note_sent(
    connection: Connection, sent: list[str], last_sent: dict[str, datetime], timestamp: datetime
) -> None:
    new = [field for field in sent if field not in last_sent]
    if new:
        connection.execute(fields.insert(), [{"name": field, "last_sent": timestamp} for field in new])
    older = (fields.c.name.in_(sent), fields.c.last_sent < timestamp)
    connection.execute(update(fields).where(*older).values(last_sent=timestamp))


class _Batches:
    """Merges a snapshot batch by batch."""

    def __init__(self, connection: Connection, snapshot: Merging, last_sent: dict[str, datetime]) -> None:
        self._connection = connection
        self._snapshot = snapshot
        self._older = OlderMerge(connection, snapshot, last_sent)

    def take(self, batch: list[Sighting]) -> None:
        """Merge some sightings."""
        before = held(self._connection, [sighting.complaint_id for sighting in batch])
        known: list[Pair] = [
            (before[sighting.complaint_id], sighting) for sighting in batch if sighting.complaint_id in before
        ]
        self._add([one for one in batch if one.complaint_id not in before and one.values is not NOTHING])
        self._update([pair for pair in known if pair[0].last_seen <= self._snapshot.timestamp])
        self._older.take([pair for pair in known if pair[0].last_seen > self._snapshot.timestamp])

    def _add(self, new: list[Sighting]) -> None:
        now = self._snapshot.timestamp
        rows = [Held(one.complaint_id, _known(one.values), now, now, now) for one in new]
        insert(self._connection, rows)
        remember(self._connection, [Change(one.complaint_id, "new", self._snapshot.id) for one in new])

    def _update(self, pairs: list[Pair]) -> None:
        changed: list[Held] = []
        lines: list[Change] = []
        for one, sighting in pairs:
            values = tuple(
                [old if new is UNSET else new for old, new in zip(one.values, sighting.values, strict=True)]
            )
            if values != one.values:
                now = self._snapshot.timestamp
                changed.append(one._replace(values=values, last_seen=now, last_changed=now))
                lines += self._changes(one, values)
        replace(self._connection, changed)
        remember(self._connection, lines)
        changed_ids = {one.complaint_id for one in changed}
        seen = [one.complaint_id for one, _ in pairs if one.complaint_id not in changed_ids]
        mark(self._connection, seen, last_seen=self._snapshot.timestamp)
        see_again(self._connection, self._snapshot, [one for one, _ in pairs])

    def _changes(self, one: Held, values: tuple[Value, ...]) -> Iterator[Change]:
        for field, old, new in zip(FIELDS, one.values, values, strict=True):
            if old != new:
                yield Change(
                    one.complaint_id, "changed", self._snapshot.id, field, as_text(old), as_text(new)
                )


def _known(values: tuple[Observed, ...]) -> tuple[Value, ...]:
    return tuple([None if value is UNSET else value for value in values])
