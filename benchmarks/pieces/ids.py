"""A million ids, of which each is seen twice.

python ids.py own|other
"""

import sys
from collections.abc import Iterator

from luigi_etl.ids import IdSet

IDS = range(1_000_000, 26_000_000, 25)  # as far apart as those of one query
PAGE = 10_000


def own() -> int:
    """Count them by `luigi_etl.ids`."""
    ids = IdSet()
    for page in pages():
        ids.add(page)
    return len(ids)


def other() -> int:
    """Count them by a set."""
    ids: set[str] = set()
    for page in pages():
        ids.update(page)
    return len(ids)


def pages() -> Iterator[list[str]]:
    """Give all ids, page by page, twice."""
    for start in (*range(0, len(IDS), PAGE), *range(0, len(IDS), PAGE)):
        yield list(map(str, IDS[start : start + PAGE]))


if __name__ == "__main__":
    if {"own": own, "other": other}[sys.argv[1]]() != len(IDS):
        sys.exit("not all of them were counted, or some twice")
