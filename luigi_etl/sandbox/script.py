"""What goes wrong, and what changes, at which request."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

CHANGES = ("arrive", "change", "vanish", "redate", "reindex")
FAULTS = ("status", "html", "hang", "drip", "cut", "truncate", "reset", "timed_out", "shards")


@dataclass(frozen=True)
class Event:
    """A fault or a change of the index: `during` the request, or just before it."""

    name: str
    value: float = 0
    during: bool = False


@dataclass(frozen=True)
class Rule:
    """An event at request number `number` (from 1), or at each multiple of it."""

    number: int
    event: Event
    repeated: bool = False

    def applies(self, request: int) -> bool:
        """Tell whether the event happens at a request."""
        return request % self.number == 0 if self.repeated else request == self.number


@dataclass(frozen=True)
class Script:
    """All that is to happen."""

    rules: Sequence[Rule] = ()

    def events(self, request: int) -> list[Event]:
        """Return what happens at a request, in the order given."""
        return [rule.event for rule in self.rules if rule.applies(request)]


def read_rule(text: str, repeated: bool = False) -> Rule:
    """Read `N:EVENT`, where EVENT is `name`, `name=number` or `during:name=number`.

    Raises:
        ValueError: this is no rule.

    """
    match = re.fullmatch(r"([1-9][0-9]*):(during:)?([a-z_]+)(?:=([0-9.]+))?", text)
    if not match or match[3] not in CHANGES + FAULTS:
        raise ValueError(f"{text!r} is not N:EVENT with one of the events {', '.join(CHANGES + FAULTS)}")
    event = Event(match[3], float(match[4] or 0), bool(match[2]))
    return Rule(int(match[1]), event, repeated)
