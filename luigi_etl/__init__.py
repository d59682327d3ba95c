"""Keeps a faithful copy of the CFPB's consumer complaints: `luigi --module luigi_etl StoreComplaints`.

Luigi, which asks for this module, finds all tasks defined. Where Luigi is not imported yet, a task is when it
is asked for, so that a command of ours that needs no Luigi, or a lean one, does not wait for it.
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
    from luigi_etl.tasks.merge import MergeComplaints
    from luigi_etl.tasks.prune import PruneSnapshots
    from luigi_etl.tasks.sync import SyncComplaints

__all__ = [
    "CreateDocument",
    "ExtractComplaints",
    "MergeComplaints",
    "ParseComplaints",
    "PruneSnapshots",
    "StoreComplaints",
    "SyncComplaints",
]
_ELSEWHERE = {"MergeComplaints": "merge", "PruneSnapshots": "prune", "SyncComplaints": "sync"}


def define() -> None:
    """Define all tasks: Luigi looks for them by their names."""
    for name in __all__:
        getattr(sys.modules[__name__], name)


if not TYPE_CHECKING:  # which knows them from above

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.tasks.{_ELSEWHERE.get(name, 'chain')}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


if "luigi" in sys.modules:
    define()
