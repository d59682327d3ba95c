"""A million ids, of which each is seen twice.

python ids.py ours|library
"""

import sys

from luigi_etl.ids import IdSet

IDS = range(18_000_000, 19_000_000)


def ours() -> int:
    """Count them by `luigi_etl.ids`."""
    ids = IdSet()
    for _ in range(2):
        for number in IDS:
            ids.add(str(number))
    return len(ids)


def library() -> int:
    """Count them by a set."""
    ids = set()
    for _ in range(2):
        for number in IDS:
            ids.add(str(number))
    return len(ids)


if __name__ == "__main__":
    if {"ours": ours, "library": library}[sys.argv[1]]() != len(IDS):
        sys.exit("not all of them were counted, or some twice")
