import random

import pytest

from luigi_etl.ids import IdSet


def test_ids_are_counted_once() -> None:
    ids = IdSet()
    numbers = random.Random(1).sample(range(10**8), 2000)
    assert [ids.add(str(number)) for number in numbers] == [True] * 2000
    assert not any(ids.add(number) for number in numbers)
    assert len(ids) == 2000


@pytest.mark.parametrize(
    ("one", "other"), [("7", "07"), ("abc", "ABC"), ("1" * 30, "1" * 31), ("", "0"), ("5", "\u0665")]
)
def test_different_ids_are_different(one: str, other: str) -> None:
    ids = IdSet()
    assert [ids.add(one), ids.add(other), ids.add(one)] == [True, True, False]
