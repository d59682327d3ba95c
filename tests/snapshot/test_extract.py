import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luigi_etl.api.response import Meta, SearchResponse, read_response
from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import Found, Index
from luigi_etl.sandbox.replay import replayed_index
from luigi_etl.sandbox.search import Search
from luigi_etl.snapshot.extract import Progress, Walk, extract
from luigi_etl.snapshot.page_file import PageFile, read_pages
from tests.conftest import Serve, Served


def walk(
    server: Served, path: Path, limit: int = 0, query: tuple[tuple[str, str], ...] = (), **settings: object
) -> list[str]:
    """Extract; return the ids in the page file."""
    with server.client(**settings) as client:
        extract(client, query, limit, path, lambda _: None)
    return ids_in(path)


def ids_in(path: Path) -> list[str]:
    return [str(hit.id) for page in read_pages(path) for hit in read_response(page.body).hits.hits]


def newest_first(server: Served) -> list[str]:
    rows = sorted(server.sandbox.index.rows.values(), key=lambda row: row.key, reverse=True)
    return [row.identifier for row in rows]


@pytest.mark.parametrize("page_size", [7, 10, 50, 51, 10_000])
def test_walk_collects_every_complaint_once_newest_first(
    served: Serve, tmp_path: Path, page_size: int
) -> None:
    server = served(50)

    assert walk(server, tmp_path / "gz", page_size=page_size) == newest_first(server)


@pytest.mark.parametrize(("page_size", "requests"), [(10, 5), (50, 1), (7, 8)])
def test_complete_walk_sends_no_further_request(
    served: Serve, tmp_path: Path, page_size: int, requests: int
) -> None:
    server = served(50)
    walk(server, tmp_path / "gz", page_size=page_size)

    assert len(server.asked) == requests


@pytest.mark.parametrize(("limit", "page_size"), [(10, 10_000), (10, 3), (49, 10), (50, 10), (60, 25)])
def test_limit_selects_the_newest_complaints(
    served: Serve, tmp_path: Path, limit: int, page_size: int
) -> None:
    server = served(50)

    assert walk(server, tmp_path / "gz", limit, page_size=page_size) == newest_first(server)[:limit]


def test_requests_with_a_limit_are_no_larger_than_needed(served: Serve, tmp_path: Path) -> None:
    server = served(50)
    walk(server, tmp_path / "gz", 10, page_size=8)

    assert ["size=8&" in server.asked[0], "size=2&" in server.asked[1]] == [True, True]


def test_no_match_is_a_complete_walk_of_one_page(served: Serve, tmp_path: Path) -> None:
    server = served(50)

    assert walk(server, tmp_path / "gz", query=(("company", "No such company"),)) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("rule", ["2:arrive=3", "2:vanish=3", "2:during:vanish=5", "3:reindex"])
def test_walk_restarts_when_the_index_changes(served: Serve, tmp_path: Path, rule: str) -> None:
    server = served(50, rule)

    assert sorted(walk(server, tmp_path / "gz", page_size=20)) == sorted(server.sandbox.index.rows)
    assert len(server.asked) > 3


def test_index_that_changes_on_every_walk_is_an_error(served: Serve, tmp_path: Path) -> None:
    server = served(50, "every 1:arrive=1")

    with pytest.raises(TransientError, match="were never complete: the number of matches changed from"):
        walk(server, tmp_path / "gz", page_size=20)

    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 6  # each walk ends with the page that shows the change


def test_index_that_is_always_rebuilt_is_an_error(served: Serve, tmp_path: Path) -> None:
    server = served(50, "every 1:reindex")

    with pytest.raises(TransientError, match="the index changed from 20.* to 20"):
        walk(server, tmp_path / "gz", page_size=20)


def test_change_within_the_same_total_is_accepted(served: Serve, tmp_path: Path) -> None:
    server = served(200, "2:change=1")
    before = newest_first(server)

    assert walk(server, tmp_path / "gz", page_size=100) == before
    assert len(server.asked) == 2


class Stuck(Index):
    """An index that ignores the cursor."""

    def search(self, search: Search) -> Found:
        return super().search(replace(search, search_after=None))


def test_page_that_repeats_forever_ends_the_walk(served: Serve, tmp_path: Path) -> None:
    rows = served(50).sandbox.index
    stuck = Stuck(rows.rows.values(), rows.last_indexed, rows._generator, "stuck")
    server = served(index=stuck)

    with pytest.raises(RefusedError, match="the API ignored search_after="):
        walk(server, tmp_path / "gz", page_size=20)

    assert len(server.asked) == 2


class Short(Index):
    """An index whose pages lack their first hit."""

    def search(self, search: Search) -> Found:
        found = super().search(search)
        return replace(found, rows=found.rows[1:])


def test_page_that_lacks_a_hit_is_an_error(served: Serve, tmp_path: Path) -> None:
    rows = served(50).sandbox.index
    server = served(index=Short(rows.rows.values(), rows.last_indexed, rows._generator, "short"))

    with pytest.raises(
        TransientError,
        match="3 times and were never complete: received 49 of 50 complaints",
    ):
        walk(server, tmp_path / "gz")


class Capped(Index):
    """An index that returns at most seven rows per page."""

    def search(self, search: Search) -> Found:
        return super().search(replace(search, size=min(search.size, 7)))


class CappedOnce(Capped):
    """An index that returns at most seven rows on the first page and none after it."""

    def search(self, search: Search) -> Found:
        found = super().search(search)
        return replace(found, rows=[]) if search.search_after else found


def serve_index(served: Serve, kind: type[Index], *rules: str) -> Served:
    rows = served(50).sandbox.index
    return served(
        50, *rules, index=kind(rows.rows.values(), rows.last_indexed, rows._generator, kind.__name__)
    )


@pytest.mark.parametrize("limit", [0, 5, 7, 20, 50, 60])
@pytest.mark.parametrize("page_size", [8, 10_000])
def test_walk_over_capped_pages_is_complete(
    served: Serve, tmp_path: Path, limit: int, page_size: int
) -> None:
    server = serve_index(served, Capped)

    ids = walk(server, tmp_path / "gz", limit, page_size=page_size)

    assert ids == newest_first(server)[: limit or None]
    assert len(server.asked) == -(-len(ids) // 7)


def test_walk_over_capped_pages_is_resumed(served: Serve, tmp_path: Path) -> None:
    server = serve_index(served, Capped, "4:status=403")

    with pytest.raises(RefusedError):
        walk(server, tmp_path / "gz")

    ids = walk(server, tmp_path / "gz")

    assert ids == newest_first(server)
    assert len(server.asked) == 9  # eight pages, one of them requested twice


def test_error_after_a_capped_page_names_the_setting(served: Serve, tmp_path: Path) -> None:
    server = serve_index(served, CappedOnce)
    expected = (
        "the pages were read 3 times and were never complete: received 7 of 50 complaints; "
        "a page had 7 of 10,000 requested complaints: "
        r"if the API sends no larger pages, set \[ccdb\] page_size=7$"
    )

    with pytest.raises(TransientError, match=expected):
        walk(server, tmp_path / "gz")

    assert len(server.asked) == 6


def page_of(*ids: str, total: int = 9) -> SearchResponse:
    hits = [{"_id": one, "sort": [int(one), one]} for one in ids]
    return read_response(json.dumps({"hits": {"total": total, "hits": hits}}).encode())


@pytest.mark.parametrize(
    ("pages", "problem"),
    [
        ([("5", "4"), ("5", "4")], "received 2 of 9 complaints"),
        ([("5",), ("4",), ("3",), ("5",)], "received 3 of 9 complaints"),
        ([("5",), ()], "received 1 of 9 complaints"),
        ([()], "received 0 of 9 complaints"),
        ([("9", "8", "7", "6", "5"), ("4", "3", "2", "1", "0")], "received 10 of 9 complaints"),
    ],
)
def test_page_without_new_complaints_ends_the_walk(pages: list[tuple[str, ...]], problem: str) -> None:
    one_walk = Walk(0)

    for page in pages:
        assert not one_walk.is_over
        one_walk.add(page_of(*page))

    assert one_walk.is_over
    assert one_walk.problem == problem


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("123456"), max_size=3), max_size=60), st.integers(0, 6))
def test_number_of_pages_is_bounded(pages: list[list[str]], limit: int) -> None:
    """Each page except the last has a new complaint, for any answers of the API."""
    one_walk = Walk(limit)
    taken = 0

    for page in pages:
        if one_walk.is_over:
            break
        one_walk.add(page_of(*page), 3)
        taken += 1

    assert taken <= one_walk.expected + 1
    assert one_walk.is_over or len(pages) == taken


def test_api_text_in_a_problem_is_printable_and_short() -> None:
    one_walk = Walk(0)
    first, second = page_of("5"), page_of("4")

    one_walk.add(msgspec.structs.replace(first, meta=Meta(last_indexed="2026\x1b[31m\n")))
    one_walk.add(msgspec.structs.replace(second, meta=Meta(last_indexed="x" * 1_000_000)))

    assert one_walk.problem.startswith(r"the index changed from 2026\x1b[31m to xxx")
    assert len(one_walk.problem) < 300


def test_refused_query_sends_one_request(served: Serve, tmp_path: Path) -> None:
    server = served()

    with pytest.raises(RefusedError, match="state"):
        walk(server, tmp_path / "gz", query=(("state", "ZZ"),))

    assert server.statuses == [400]


# --- interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault_at", [2, 3, 4, 5])
def test_resumed_walk_fetches_no_page_twice(served: Serve, tmp_path: Path, fault_at: int) -> None:
    undisturbed = served(50)
    walk(undisturbed, tmp_path / "undisturbed", page_size=10)
    server = served(50, f"{fault_at}:status=403")

    with pytest.raises(RefusedError):
        walk(server, tmp_path / "gz", page_size=10)
    assert not (tmp_path / "gz").exists()
    walk(server, tmp_path / "gz", page_size=10)
    answered = [path for path, status in server.sandbox.requests if status == 200]

    assert answered == undisturbed.asked
    assert ids_in(tmp_path / "gz") == ids_in(tmp_path / "undisturbed")


def test_complete_partial_file_needs_no_request(served: Serve, tmp_path: Path) -> None:
    server = served(50)
    walk(server, tmp_path / "gz", page_size=20)
    (tmp_path / "gz").rename(tmp_path / "gz.partial")
    walk(server, tmp_path / "gz", page_size=20)

    assert len(server.asked) == 3


def test_pages_of_two_index_states_are_not_mixed(served: Serve, tmp_path: Path) -> None:
    server = served(50, "3:status=403")

    with pytest.raises(RefusedError):
        walk(server, tmp_path / "gz", page_size=20)
    server.sandbox.index.vanish(5)

    assert walk(server, tmp_path / "gz", page_size=20) == newest_first(server)


def test_pages_from_another_address_are_not_resumed(served: Serve, tmp_path: Path) -> None:
    first, second = served(50, "2:status=403", seed=1), served(50, seed=2)

    with pytest.raises(RefusedError):
        walk(first, tmp_path / "gz", page_size=20)

    assert walk(second, tmp_path / "gz", page_size=20) == newest_first(second)


def test_finished_extraction_is_not_repeated(served: Serve, tmp_path: Path) -> None:
    """The second of two processes finds the finished file."""
    server = served(50)
    walk(server, tmp_path / "gz")
    walk(server, tmp_path / "gz")

    assert len(server.asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["gz"]


def test_second_process_cannot_extract_the_same_file(served: Serve, tmp_path: Path) -> None:
    with PageFile(tmp_path / "gz").open_locked(), pytest.raises(TransientError, match="another process"):
        walk(served(50), tmp_path / "gz")


def test_progress_is_reported_after_each_page(served: Serve, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with served(50).client(page_size=20) as client:
        extract(client, (), 0, tmp_path / "gz", seen.append)

    assert seen == [Progress(20, 50, 1), Progress(40, 50, 2), Progress(50, 50, 3)]


# --- odd hits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(12))
def test_hit_with_an_odd_id_does_not_affect_others(served: Serve, tmp_path: Path, place: int) -> None:
    hits = [
        {"_id": str(number), "sort": [1000 - number, str(number)], "_source": {"complaint_id": str(number)}}
        for number in range(12)
    ]
    hits[place]["_id"] = {"odd": 1}
    (tmp_path / "recorded.json").write_text(json.dumps({"hits": {"hits": hits}}))
    server = served(index=replayed_index([tmp_path / "recorded.json"], 1, ERAS["2026-08"]))
    ids = walk(server, tmp_path / "gz", page_size=4)

    assert len(ids) == 12
    assert len(server.asked) == 3


class LowerBound(Index):
    """An index that reports only a lower bound of the total."""

    def search(self, search: Search) -> Found:
        return replace(super().search(search), relation="gte")


def test_total_that_is_a_lower_bound_is_an_error(served: Serve, tmp_path: Path) -> None:
    rows = served(50).sandbox.index
    server = served(index=LowerBound(rows.rows.values(), rows.last_indexed, rows._generator, "counts so far"))

    with pytest.raises(TransientError, match=r"hits\.total is only a lower bound"):
        walk(server, tmp_path / "gz")


def test_row_that_moves_behind_the_cursor_counts_once(served: Serve, tmp_path: Path) -> None:
    server = served(50, "2:redate=1")
    ids = walk(server, tmp_path / "gz", page_size=30)

    assert len(ids) == 51
    assert sorted(set(ids)) == sorted(server.sandbox.index.rows)
    assert len(server.asked) == 2


def test_walk_is_complete_in_every_era(served: Serve, tmp_path: Path) -> None:
    for era in ERAS:
        server = served(30, era=era)
        assert sorted(walk(server, tmp_path / era, page_size=10)) == sorted(server.sandbox.index.rows)
