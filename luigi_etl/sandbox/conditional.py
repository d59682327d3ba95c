"""Conditional requests and byte ranges, as in sections 13 and 14 of RFC 9110."""

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.message import Message
from email.utils import format_datetime, parsedate_to_datetime
from typing import NamedTuple


class Representation(NamedTuple):
    """A file as a server describes it; an empty `etag` and no `modified` are not sent."""

    size: int  # in bytes
    etag: str = ""  # with its quotes
    modified: datetime | None = None  # aware, without a fraction of a second
    has_ranges: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the file, whichever part of it is sent."""
        modified = self.modified and format_datetime(self.modified, usegmt=True)
        described = {"ETag": self.etag, "Last-Modified": modified}
        if self.has_ranges:
            described["Accept-Ranges"] = "bytes"
        return {name: value for name, value in described.items() if value}


class Selection(NamedTuple):
    """The status of a response, its bytes from `start` up to before `stop`, and further headers."""

    status: int
    start: int = 0
    stop: int = 0
    headers: Mapping[str, str] = {}


def select(method: str, headers: Message, file: Representation) -> Selection:
    """Select the part of a file that a request gets, in the order of section 13.2.2."""
    if not _is_precondition_met(headers, file):
        return Selection(412)
    if _is_unchanged(headers, file):
        return Selection(304)
    span = _requested_span(headers.get("Range", ""), file.size)
    if method != "GET" or not span or not file.has_ranges or not _is_same_for_range(headers, file):
        return Selection(200, 0, file.size)
    start, stop = span
    if start >= stop:
        return Selection(416, headers={"Content-Range": f"bytes */{file.size}"})
    return Selection(206, start, stop, {"Content-Range": f"bytes {start}-{stop - 1}/{file.size}"})


def _is_precondition_met(headers: Message, file: Representation) -> bool:
    if tags := headers.get("If-Match"):
        return tags.strip() == "*" or file.etag in _entity_tags(tags)
    moment = _moment(headers.get("If-Unmodified-Since"))
    return not moment or not file.modified or file.modified <= moment


def _is_unchanged(headers: Message, file: Representation) -> bool:
    """Compare weakly: a weak ETag of the client equals a strong one of the file."""
    if tags := headers.get("If-None-Match"):
        return tags.strip() == "*" or file.etag in [tag.removeprefix("W/") for tag in _entity_tags(tags)]
    moment = _moment(headers.get("If-Modified-Since"))
    return bool(moment and file.modified and file.modified <= moment)


def _is_same_for_range(headers: Message, file: Representation) -> bool:
    """Compare strongly: without the very same ETag or date, the client needs the whole file."""
    validator = headers.get("If-Range")
    if not validator:
        return True
    if validator.startswith(('"', "W/")):
        return validator == file.etag
    return file.modified is not None and _moment(validator) == file.modified


def _requested_span(text: str, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last; None if the header is to be ignored.

    A span without bytes can't be satisfied. Several ranges are ignored, which the RFC allows.
    """
    match = re.fullmatch(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", text, re.IGNORECASE)
    if not match or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


def _entity_tags(text: str) -> list[str]:
    return re.findall(r'(?:W/)?"[^"]*"', text)


def _moment(text: str | None) -> datetime | None:
    """Return an HTTP date; None if there is none or it is invalid."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
