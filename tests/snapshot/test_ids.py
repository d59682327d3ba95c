import random
import subprocess
import sys

import pytest

from luigi_etl.snapshot.ids import IdSet
from tests.conftest import with_peak_memory


def test_ids_are_counted_once() -> None:
    ids = IdSet()
    numbers = random.Random(1).sample(range(10**8), 2000)

    assert ids.add(map(str, numbers)) == [True] * 2000
    assert ids.add(numbers) == [False] * 2000
    assert len(ids) == 2000


def test_id_repeated_in_one_call_is_new_once() -> None:
    ids = IdSet()

    assert ids.add(["7", "8", "7"]) == [True, True, False]
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("7", "07"),
        ("abc", "ABC"),
        ("1" * 30, "1" * 31),
        (str(2**64), "0"),
        (str(2**64 - 1), str(2**64)),
        ("-1", str(2**64 - 1)),
        ("", "0"),
        ("5", "\u0665"),
    ],
)
def test_different_ids_are_different(one: str, other: str) -> None:
    ids = IdSet()

    assert ids.add([one, other, one]) == [True, True, False]


def test_known_ids_are_not_new_in_later_calls() -> None:
    ids = IdSet()
    ids.add(["7", "8"])

    assert ids.add(["7", "seven", "9"]) == [False, True, True]
    assert ids.add(["9", "seven"]) == [False, False]
    assert ids.add([]) == []
    assert len(ids) == 4


def test_sparse_ids_need_little_memory() -> None:
    code = "from luigi_etl.snapshot.ids import IdSet; assert all(IdSet().add(range(1, 10**10, 10**5)))"

    run = subprocess.run(with_peak_memory(sys.executable, "-c", code), capture_output=True, timeout=60)

    assert run.returncode == 0
    assert int(run.stderr) < 80_000
