"""A faithful copy of the CFPB's consumer complaints: `luigi --module luigi_etl StoreComplaints`.

If Luigi is already imported, this package imports all tasks, because Luigi finds them by name. Otherwise it
imports a task on first use: commands that do not need Luigi start faster.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luigi_etl.tasks.chain import (
        CreateDocument,
        ExtractComplaints,
        ParseComplaints,
        StoreComplaints,
    )
    from luigi_etl.tasks.files import ImportComplaints, ImportNarratives, ReconcileComplaints
    from luigi_etl.tasks.merge import MergeComplaints
    from luigi_etl.tasks.prune import PruneSnapshots
    from luigi_etl.tasks.sync import SyncComplaints

__all__ = [
    "CreateDocument",
    "ExtractComplaints",
    "ImportComplaints",
    "ImportNarratives",
    "MergeComplaints",
    "ParseComplaints",
    "PruneSnapshots",
    "ReconcileComplaints",
    "StoreComplaints",
    "SyncComplaints",
]
_MODULES = {
    "ImportComplaints": "files",
    "ImportNarratives": "files",
    "MergeComplaints": "merge",
    "PruneSnapshots": "prune",
    "ReconcileComplaints": "files",
    "SyncComplaints": "sync",
}


def import_tasks() -> None:
    """Import all tasks, so that Luigi finds them by name."""
    for name in __all__:
        getattr(sys.modules[__name__], name)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.tasks.{_MODULES.get(name, 'chain')}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


if "luigi" in sys.modules:
    import_tasks()
