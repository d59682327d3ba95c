"""Luigi, imported.

python lean.py ours|library
"""

import sys


def ours() -> None:
    """Import it by `luigi_etl.lean`."""
    from luigi_etl.lean import import_luigi

    import_luigi()


def library() -> None:
    """Import it as it is."""
    import luigi  # noqa: F401


if __name__ == "__main__":
    {"ours": ours, "library": library}[sys.argv[1]]()
