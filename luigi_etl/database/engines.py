"""Addresses of databases, and the engines that connect to SQLite and PostgreSQL."""

import contextlib
import functools
import logging
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from luigi_etl.common.errors import DatabaseError
from luigi_etl.database.driver_errors import SQLITE_LOCKED

CACHE = 64 * 1024  # KiB of SQLite's pages in memory


@functools.cache  # it keeps facts about the server and compiled statements, but no connection
def get_postgres_engine(url: URL, name: str, wait: int) -> Engine:
    """Return the engine of a PostgreSQL database; an attempt to connect ends after `wait` seconds."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns and raises for a lost connection
    # A server that dies silently is detected within minutes, not hours.
    network = {"tcp_user_timeout": 6000 * wait, "keepalives_idle": 6 * wait}
    # A pooler such as pgbouncer may use another session for each transaction: keep no state in a session.
    session = {"prepare_threshold": None, "client_encoding": "utf8"}
    arguments = {"connect_timeout": wait, **network, **session}
    try:
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
    except ImportError as error:
        raise DatabaseError(f"{name} needs a driver ({error}): pip install '.[postgres]'") from error

    @event.listens_for(engine, "connect")
    def check_encoding(connection: Any, _: object) -> None:
        encoding = (connection.info.parameter_status("server_encoding") or "UTF8").upper()
        if encoding != "UTF8":
            connection.close()
            raise DatabaseError(
                f"{name}: its encoding is {encoding}, which can't store every complaint; create another with "
                "`createdb -E UTF8 -T template0 NAME` and set [storage] database to it"
            )

    return engine


@functools.cache
def get_sqlite_engine(url: URL, begin: str, wait: int) -> Engine:
    """Return the engine of an SQLite file whose transactions start with the statement `begin`."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": wait}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # else Python's driver begins transactions itself
        connection.execute(f"PRAGMA cache_size = -{CACHE}")
        if begin != "BEGIN":
            _enable_wal(connection, wait)
            connection.execute("PRAGMA synchronous = FULL")  # a merge survives a power failure

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _enable_wal(connection: sqlite3.Connection, wait: int) -> None:
    """Set the journal with which readers never wait; SQLite ignores its timeout for this statement."""
    deadline = time.monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not str(error).startswith(SQLITE_LOCKED) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def read_address(address: str | Path) -> URL:
    """Parse the address of a database; an error does not quote it, because it may hold a password."""
    if isinstance(address, Path):
        return URL.create("sqlite", database=str(address))
    with contextlib.suppress(ValueError, ArgumentError):
        url = make_url(re.sub(r"^postgres(?=[:+])", "postgresql", address))
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            return url.set(drivername="sqlite")
    raise DatabaseError(
        "[storage] database is neither a file nor an address: write it as sqlite:///FILE or postgresql://HOST/NAME"
    )


def hide_passwords(url: URL) -> str:
    """Return an address of PostgreSQL as text without passwords."""
    secrets = [name for name in url.query if "password" in name]
    return url.set(drivername="postgresql").difference_update_query(secrets).render_as_string()
