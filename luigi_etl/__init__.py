"""Keeps a faithful copy of the CFPB's consumer complaints: `luigi --module luigi_etl StoreComplaints`."""

import configparser
import sys

try:
    import luigi as _luigi  # noqa: F401  # it reads luigi.cfg when it is imported
except (configparser.Error, UnicodeDecodeError) as error:
    sys.stderr.write(
        f"luigi_etl: error: luigi.cfg can't be read ({' '.join(str(error).split())}): correct it\n"
    )
    sys.exit(2)

from luigi_etl.maintenance import PruneSnapshots
from luigi_etl.tasks import (
    CreateDocument,
    ExtractComplaints,
    MergeComplaints,
    ParseComplaints,
    StoreComplaints,
)
from luigi_etl.upkeep import SyncComplaints

__all__ = [
    "CreateDocument",
    "ExtractComplaints",
    "MergeComplaints",
    "ParseComplaints",
    "PruneSnapshots",
    "StoreComplaints",
    "SyncComplaints",
]
