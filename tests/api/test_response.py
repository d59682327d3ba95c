import pytest

from luigi_etl.api.response import read_response
from luigi_etl.common.errors import TransientError

pytestmark = pytest.mark.libraries


def answer(hits: str, total: str = '{"value": 3, "relation": "eq"}') -> bytes:
    return f'{{"hits": {{"total": {total}, "hits": [{hits}]}}}}'.encode()


def test_total_may_be_a_plain_number() -> None:
    assert read_response(answer("", "7")).total == 7


def test_cursor_is_the_position_of_the_last_hit() -> None:
    read = read_response(answer('{"_id": "1", "sort": [5, "1"]}, {"_id": "2", "sort": [4, "2"]}'))
    assert read.cursor == "4_2"


def test_page_without_hits_has_no_cursor() -> None:
    assert read_response(answer("")).cursor is None


@pytest.mark.parametrize("hit", ["3", "null", '{"_id": [], "sort": 1}', '{"_source": "\\ud800"}'])
def test_malformed_hit_does_not_affect_others(hit: str) -> None:
    read = read_response(answer(f'{hit}, {{"_id": "2", "sort": [4, "2"]}}'))
    assert [found.id for found in read.hits.hits] == [None, "2"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b'{"hits": {}}', b'{"hits": {"total": 1}}', b"\xff"]
)
def test_malformed_response_is_transient(body: bytes) -> None:
    with pytest.raises(TransientError):
        read_response(body)


def test_malformed_id_keeps_the_position() -> None:
    read = read_response(answer('{"_id": "1", "sort": [5, "1"]}, {"_id": {"odd": 1}, "sort": [4, "2"]}'))

    assert read.cursor == "4_2"
    assert [hit.identity for hit in read.hits.hits] == ["1", "2"]


def test_last_hit_without_position_means_no_cursor() -> None:
    assert read_response(answer('{"_id": "1", "sort": [5, "1"]}, {"_id": "2"}')).cursor is None


@pytest.mark.parametrize(
    ("total", "exact"),
    [("7", True), ('{"value": 7, "relation": "eq"}', True), ('{"value": 7, "relation": "gte"}', False)],
)
def test_lower_bound_is_not_exact(total: str, exact: bool) -> None:
    assert read_response(answer("", total)).is_exact is exact
