"""The pace of requests, shared by all processes of this user on this machine.

The API counts the requests of a client address over a sliding minute (20 for JSON), whoever sends
them, so the count is kept in a file. requests-ratelimiter keeps it in SQLite, but looks and writes
in two steps; here SQLite's own write lock is taken around both.
"""

import os
import re
import sqlite3
import threading
from pathlib import Path

from requests_ratelimiter import Limiter, Rate, SingleBucketFactory, SQLiteBucket

# A request is counted when it leaves and by the server when it arrives: a second more than the
# server's minute keeps a slow first connection from bringing request 21 inside it.
WINDOW_MILLISECONDS = 61_000


def default_pace_file() -> Path:
    """Return the file that holds the count: in the user's cache folder (XDG Base Directory)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "luigi_etl" / "pace.sqlite"


def shared_pace(path: Path, host: str, requests_per_minute: int) -> Limiter:
    """Return the limiter that every process using `path` shares for `host`.

    Raises:
        OSError, sqlite3.Error: the file can't be used.

    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    bucket = SQLiteBucket.init_from_file(
        rates=[Rate(requests_per_minute, WINDOW_MILLISECONDS)],
        table="requests_to_" + re.sub(r"\W", "_", host, flags=re.ASCII),
        db_path=str(path),
    )
    bucket.conn.isolation_level = None
    bucket.lock = _WriteLock(bucket.conn)  # type: ignore[assignment]  # it is only entered and left
    bucket.leak(bucket.now())
    with bucket.lock:
        # A clock that was set back must not make everyone wait for the old future. The time is taken
        # under the lock: what others counted while this process waited for it is not the future.
        now = bucket.now()
        bucket.conn.execute(f"DELETE FROM {bucket.table} WHERE item_timestamp > ?", (now,))  # noqa: S608
    # Without the library's cleaning thread: a run is short, and the leak above is enough.
    return Limiter(SingleBucketFactory(bucket, schedule_leak=False))


class _WriteLock:
    """SQLite's write lock on the whole file, as a context manager: one process at a time looks and counts."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._threads = threading.RLock()

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.commit()
        finally:
            self._threads.release()
