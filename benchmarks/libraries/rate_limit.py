"""One turn of a rate limit whose file all processes share, with our module or with pyrate-limiter.

python rate_limit.py own|other FILE
"""

import sys
from pathlib import Path

PER_MINUTE, MILLISECONDS = 1_000_000, 61_000  # never reached


def take_own_turn(path: Path) -> bool:
    """Take a turn with `luigi_etl.api.rate_limit`."""
    from luigi_etl.api.rate_limit import Pace

    return Pace(path, "127.0.0.1", PER_MINUTE).take_turn() == 0


def take_library_turn(path: Path) -> bool:
    """Take a turn with pyrate-limiter, which keeps turns in SQLite, here with a file lock like ours."""
    from pyrate_limiter import Limiter, Rate, SingleBucketFactory, SQLiteBucket

    rates = [Rate(PER_MINUTE, MILLISECONDS)]
    bucket = SQLiteBucket.init_from_file(rates, table="turns", db_path=str(path), use_file_lock=True)
    limiter = Limiter(SingleBucketFactory(bucket, schedule_leak=False))
    return bool(limiter.try_acquire("127.0.0.1", blocking=False))


if __name__ == "__main__":
    if not {"own": take_own_turn, "other": take_library_turn}[sys.argv[1]](Path(sys.argv[2])):
        sys.exit("the rate limit gave no turn")
