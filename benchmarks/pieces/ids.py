"""A million ids, of which each is seen twice.

python ids.py own|other
"""

import sys
from collections.abc import Iterator

from luigi_etl.ids import IdSet

IDS = range(1_000_000, 26_000_000, 25)  # scattered, as those of one query are
PAGE = 10_000


def own() -> int:
    """Count by `luigi_etl.ids` those that are new."""
    ids = IdSet()
    return sum(sum(ids.add(page)) for page in pages())


def other() -> int:
    """Count by a set those that are new."""
    ids: set[str] = set()

    def add(page: list[str]) -> list[bool]:
        new = [one not in ids for one in page]
        ids.update(page)
        return new

    return sum(sum(add(page)) for page in pages())


def pages() -> Iterator[list[str]]:
    """Give all ids, page by page, twice."""
    for start in (*range(0, len(IDS), PAGE), *range(0, len(IDS), PAGE)):
        yield list(map(str, IDS[start : start + PAGE]))


if __name__ == "__main__":
    if {"own": own, "other": other}[sys.argv[1]]() != len(IDS):
        sys.exit("not all of them were counted, or some twice")
