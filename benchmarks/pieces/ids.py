"""A million ids, of which each is seen twice.

python ids.py own|other
"""

import sys

from luigi_etl.ids import IdSet

IDS = range(1_000_000, 26_000_000, 25)  # as far apart as those of one query


def own() -> int:
    """Count by `luigi_etl.ids` those that are new."""
    ids = IdSet()
    return sum(ids.add(str(number)) for _ in range(2) for number in IDS)


def other() -> int:
    """Count by a set those that are new."""
    ids: set[str] = set()

    def add(identifier: str) -> bool:
        is_new = identifier not in ids
        ids.add(identifier)
        return is_new

    return sum(add(str(number)) for _ in range(2) for number in IDS)


if __name__ == "__main__":
    if {"own": own, "other": other}[sys.argv[1]]() != len(IDS):
        sys.exit("not all of them were counted, or some twice")
