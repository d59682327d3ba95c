import pytest

from luigi_etl.api.response import read_response
from luigi_etl.common.errors import TransientError


def answer(hits: str, total: str = '{"value": 3, "relation": "eq"}') -> bytes:
    return f'{{"hits": {{"total": {total}, "hits": [{hits}]}}}}'.encode()


def test_a_total_may_be_the_bare_number_it_was_before_2021() -> None:
    assert read_response(answer("", "7")).total == 7


def test_the_cursor_is_that_of_the_last_hit() -> None:
    read = read_response(answer('{"_id": "1", "sort": [5, "1"]}, {"_id": "2", "sort": [4, "2"]}'))
    assert read.cursor == "4_2"


def test_a_page_without_hits_has_no_cursor() -> None:
    assert read_response(answer("")).cursor is None


@pytest.mark.parametrize("hit", ["3", "null", '{"_id": [], "sort": 1}', '{"_source": "\\ud800"}'])
def test_one_odd_hit_does_not_cost_the_others(hit: str) -> None:
    read = read_response(answer(f'{hit}, {{"_id": "2", "sort": [4, "2"]}}'))
    assert [found.id for found in read.hits.hits] == [None, "2"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'{"hits": {}}', b'{"hits": {"total": 1}}', b"\xff"]
)
def test_what_is_no_answer_may_be_asked_for_again(body: bytes) -> None:
    with pytest.raises(TransientError):
        read_response(body)


def test_an_odd_hit_still_tells_its_place_in_the_order() -> None:
    read = read_response(answer('{"_id": "1", "sort": [5, "1"]}, {"_id": {"odd": 1}, "sort": [4, "2"]}'))
    assert read.cursor == "4_2"
    assert [hit.identity for hit in read.hits.hits] == ["1", "2"]


def test_the_cursor_is_never_that_of_an_earlier_hit() -> None:
    assert read_response(answer('{"_id": "1", "sort": [5, "1"]}, {"_id": "2"}')).cursor is None


@pytest.mark.parametrize(
    ("total", "exact"),
    [("7", True), ('{"value": 7, "relation": "eq"}', True), ('{"value": 7, "relation": "gte"}', False)],
)
def test_a_lower_bound_is_no_total(total: str, exact: bool) -> None:
    assert read_response(answer("", total)).is_exact is exact
