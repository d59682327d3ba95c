"""Luigi, imported.

python lean.py own|other
"""

import sys


def own() -> None:
    """Import it by `luigi_etl.lean`."""
    from luigi_etl.lean import import_luigi

    import_luigi()


def other() -> None:
    """Import it as it is."""
    import luigi  # noqa: F401


if __name__ == "__main__":
    {"own": own, "other": other}[sys.argv[1]]()
