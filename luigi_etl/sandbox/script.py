"""Scripted faults and changes, each at the number of a request."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The events, and the range of their numbers.
NO_NUMBER = (0.0, 0.0)
CHANGES = {
    "arrive": (1, 1e6),
    "change": (1, 1e6),
    "vanish": (1, 1e6),
    "redate": (1, 1e6),
    "reindex": NO_NUMBER,
}
FAULTS = {
    "status": (300, 599),
    "html": NO_NUMBER,
    "hang": (0, 86_400),  # 0: until the sandbox ends
    "drip": (0.001, 86_400),
    "cut": NO_NUMBER,
    "truncate": NO_NUMBER,
    "reset": NO_NUMBER,
    "timed_out": NO_NUMBER,
    "shards": NO_NUMBER,
}
DISTORTIONS = {
    "stale": NO_NUMBER,  # both of the publisher's flags are set
    "empty": NO_NUMBER,  # the index is empty, both flags are set
    "half": NO_NUMBER,  # the index holds half of its complaints, no flag is set
    "ignore_filters": NO_NUMBER,
    "ignore_sort": NO_NUMBER,  # the order of a request without `sort`
    "cap": (1, 10_000),  # the most hits of a page, whatever its size
    "repeat": NO_NUMBER,  # always page 1
    "tags_list": NO_NUMBER,  # tags is a list in every hit
    "rename": NO_NUMBER,  # zip_code is called zip5
    "behind": (1, 1e9),  # seconds that the server's clock is behind
}
OF_FILES = {
    "redirect": NO_NUMBER,  # to the same path under another host name, localhost
    "no_ranges": NO_NUMBER,
    "no_validators": NO_NUMBER,  # no ETag, no Last-Modified
    "no_length": NO_NUMBER,  # no Content-Length; the body ends with the connection
    "replaced": NO_NUMBER,  # another ETag, and Last-Modified an hour later
    "yesterday": NO_NUMBER,  # the daily file of the morning before
    "no_links": NO_NUMBER,  # the archive's page lacks the links to its files
    "foreign_links": NO_NUMBER,  # they lead to another host name, localhost
}
EVENTS = CHANGES | FAULTS | DISTORTIONS | OF_FILES


@dataclass(frozen=True)
class Event:
    """A fault, a distortion, or a change of the index, which happens before or `during` the request."""

    name: str
    value: float = 0
    during: bool = False


@dataclass(frozen=True)
class Rule:
    """An event at the request with this `number` (from 1), or at each multiple of it."""

    number: int
    event: Event
    repeated: bool = False

    def applies(self, request: int) -> bool:
        """Return whether the event happens at a request."""
        return request % self.number == 0 if self.repeated else request == self.number


@dataclass(frozen=True)
class Script:
    """The rules of a sandbox."""

    rules: Sequence[Rule] = ()

    def events(self, request: int) -> list[Event]:
        """Return the events of a request, in the order of the rules."""
        return [rule.event for rule in self.rules if rule.applies(request)]


def read_rule(text: str, repeated: bool = False) -> Rule:
    """Read `N:EVENT`, where EVENT is `name`, `name=number` or `during:name=number`.

    Raises:
        ValueError: the text is not a rule.

    """
    match = re.fullmatch(r"([1-9][0-9]*):(during:)?([a-z_]+)(?:=([0-9]+(?:\.[0-9]+)?))?", text)
    if not match or match[3] not in EVENTS:
        raise ValueError(f"{text!r} is not N:EVENT with one of the events {', '.join(EVENTS)}")
    event = Event(match[3], float(match[4] or 0), bool(match[2]))
    lowest, highest = EVENTS[event.name]
    if not lowest <= event.value <= highest:
        raise ValueError(f"{text!r}: {event.name} takes a number from {lowest:g} to {highest:g}")
    return Rule(int(match[1]), event, repeated)
