"""A turn, of 20 in 61 seconds, counted in a file of all processes; from the start of Python on.

python pace.py ours|library FILE
"""

import sys
from pathlib import Path

PER_MINUTE, MILLISECONDS = 20, 61_000


def ours(path: Path) -> bool:
    """Take it from `luigi_etl.pace`."""
    from luigi_etl.pace import Pace

    return Pace(path, "127.0.0.1", PER_MINUTE).take_turn() == 0


def library(path: Path) -> bool:
    """Take it from pyrate-limiter, which keeps the turns in SQLite."""
    from pyrate_limiter import Limiter, Rate, SingleBucketFactory, SQLiteBucket

    bucket = SQLiteBucket.init_from_file([Rate(PER_MINUTE, MILLISECONDS)], table="turns", db_path=str(path))
    limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))
    return bool(limiter.try_acquire("127.0.0.1", blocking=False))


if __name__ == "__main__":
    if not {"ours": ours, "library": library}[sys.argv[1]](Path(sys.argv[2])):
        sys.exit("no turn was given")
