"""Keeps a faithful copy of the CFPB's consumer complaints: `luigi --module luigi_etl StoreComplaints`.

Luigi, which asks for this module, finds all tasks defined. Otherwise a task is imported when it is asked for,
so that a command of ours that needs one task, or no Luigi at all, does not wait for the others.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_ELSEWHERE = {"PruneSnapshots": "maintenance", "SyncComplaints": "upkeep"}


def define(task: str = "") -> None:
    """Define a task, as far as Luigi looks for it by its name; all of them, if it is none of ours."""
    for name in [task] if task in __all__ else __all__:
        __getattr__(name)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'tasks')}"), name)


if "luigi" in sys.modules:
    define()
