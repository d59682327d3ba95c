"""The state of a sandbox: its index, era, rate limit and script."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from math import ceil

from luigi_etl.sandbox.eras import ERAS, TODAY, Era
from luigi_etl.sandbox.index import Index
from luigi_etl.sandbox.script import Event, Script


@dataclass
class Throttle:
    """A rate limit for each kind of request, in any `window` seconds; refused requests do not count."""

    limits: dict[str, int] = field(default_factory=lambda: {"json": 20, "csv": 2, "detail": 5})
    window: float = 60.0
    _taken: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, kind: str) -> int:
        """Count the request and return 0, or return the whole seconds until one is allowed."""
        with self._lock:
            now = time.monotonic()
            taken = self._taken.setdefault(kind, deque())
            while taken and taken[0] <= now - self.window:
                taken.popleft()
            if len(taken) >= self.limits.get(kind, len(taken) + 1):
                return max(1, ceil(self.window - (now - taken[0] if taken else 0)))
            taken.append(now)
            return 0


@dataclass
class Sandbox:
    """The state of the sandbox; `requests` lists each path and its status, in order."""

    index: Index
    era: Era = ERAS[TODAY]
    throttle: Throttle | None = field(default_factory=Throttle)
    script: Script = field(default_factory=Script)
    compress: bool = False
    requests: list[tuple[str, int]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_events(self) -> list[Event]:
        """Count a request and return its events."""
        with self._lock:
            self._number += 1
            return self.script.events(self._number)

    def make(self, changes: list[Event]) -> None:
        """Apply changes to the index."""
        for event in changes:
            getattr(self.index, event.name)(int(event.value))
