"""The command-line options that select a snapshot."""

import re
import shlex
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luigi_etl.api.query import parse_query
from luigi_etl.common.errors import DamagedFileError, QueryError
from luigi_etl.database.connection import Database
from luigi_etl.database.merge import merge
from luigi_etl.snapshot.command_options import format_options, parse_slug, redo_command
from luigi_etl.snapshot.paths import SnapshotFiles, sync_slug
from tests.made import taken

MINUTE = datetime(2026, 11, 22, 9, 26)


@given(st.text(min_size=1, max_size=30), st.integers(0, 99))
def test_slug_yields_query_and_limit(company: str, limit: int) -> None:
    try:
        query = parse_query("company=" + "".join(f"%{byte:02X}" for byte in company.encode(errors="replace")))
    except QueryError:
        return

    found = parse_slug(query.slug(limit))

    if "~" not in query.slug(limit):
        assert found == (str(query), limit)
        assert parse_slug(sync_slug(query.slug(0))) == (str(query), 0)


@pytest.mark.parametrize("slug", ["", "x", "state=ca", "all-newest-", "all-newest-x", "all-newest-010", "~"])
def test_invalid_slug_yields_none(slug: str) -> None:
    assert parse_slug(slug) is None


def test_sync_has_no_limit() -> None:
    assert format_options("state=CA~sync", ("state=CA", 0)) == "--query state=CA"


def test_damaged_package_error_has_the_redo_command(tmp_path: Path) -> None:
    query = "product=Debt collection&state=CA"
    files = taken(tmp_path, MINUTE, [], query=query, limit=7)
    files.datapackage.write_bytes(b"{")

    with pytest.raises(DamagedFileError) as raised:
        merge(Database(tmp_path / "complaints.db"), files)

    (command,) = re.findall("`(.*)`", str(raised.value))
    assert command == redo_command(files, "store")
    assert shlex.split(command) == [
        *("luigi-etl", "redo", "2026-11-22T0926", "--query", str(parse_query(query))),
        *("--limit", "7", "--from", "store"),
    ]


def test_command_for_a_cut_slug_names_the_slug() -> None:
    slug = "company=a~0123456789abcdef"

    command = redo_command(SnapshotFiles(Path("data"), slug, MINUTE), "store")

    assert command == f"luigi-etl redo 2026-11-22T0926 --query QUERY --limit LIMIT (of {slug}) --from store"
