"""A turn, counted in a file that all processes share; from the start of Python on.

python pace.py own|other FILE
"""

import sys
from pathlib import Path

PER_MINUTE, MILLISECONDS = 1_000_000, 61_000  # never reached


def own(path: Path) -> bool:
    """Take it from `luigi_etl.api.rate_limit`."""
    from luigi_etl.api.rate_limit import Pace

    return Pace(path, "127.0.0.1", PER_MINUTE).take_turn() == 0


def other(path: Path) -> bool:
    """Take it from pyrate-limiter, which keeps the turns in SQLite, here under a lock as ours are."""
    from pyrate_limiter import Limiter, Rate, SingleBucketFactory, SQLiteBucket

    rates = [Rate(PER_MINUTE, MILLISECONDS)]
    bucket = SQLiteBucket.init_from_file(rates, table="turns", db_path=str(path), use_file_lock=True)
    limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))
    return bool(limiter.try_acquire("127.0.0.1", blocking=False))


if __name__ == "__main__":
    if not {"own": own, "other": other}[sys.argv[1]](Path(sys.argv[2])):
        sys.exit("no turn was given")
