"""Responses that are not sent yet, and those of errors."""

import html
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from luigi_etl.sandbox.eras import Era
from luigi_etl.sandbox.script import Event

JSON_ERRORS: dict[int, Any] = {
    400: {"state": {"0": ['"ZZ" is not a valid choice.']}},
    404: {"detail": "Not found."},
    500: {"error": "There was a problem retrieving your request"},
}


@dataclass(frozen=True)
class FilePart:
    """Bytes of an open file, from `start` up to before `stop`; a slice of it is read from the file."""

    file: BinaryIO
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        return os.pread(self.file.fileno(), stop - start, self.start + start)


@dataclass(frozen=True)
class Answer:
    """A response that is not sent yet."""

    status: int
    body: bytes | FilePart
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    has_length: bool = True

    def halved(self) -> "Answer":
        """Return a valid response with half of the body."""
        return Answer(self.status, self.body[: len(self.body) // 2], self.content_type)

    def close(self) -> None:
        """Close the file of the body."""
        if isinstance(self.body, FilePart):
            self.body.file.close()


def json_answer(status: int, content: Any, *headers: tuple[str, str]) -> Answer:
    """Return a response with JSON."""
    return Answer(status, msgspec.json.encode(content), headers=headers)


def web_page(status: int, text: str) -> Answer:
    """Return a web page with a text."""
    page = f"<!DOCTYPE html><html><body>{html.escape(text)}</body></html>"
    return Answer(status, page.encode(), "text/html; charset=utf-8")


def engine_error(era: Era) -> Answer:
    """Return the API's answer for a failure of its search engine."""
    return json_answer(424, {"error": f"There was an error calling {era.engine}"})


def throttled(wait: int) -> Answer:
    """Return the answer beyond the rate limit; `wait` is in seconds."""
    said = f"Request was throttled. Expected available in {wait} seconds."
    return json_answer(429, {"detail": said}, ("Retry-After", str(wait)))


def scripted_error(events: list[Event], era: Era) -> Answer | None:
    """Return the answer of a scripted fault, if there is one."""
    for event in events:
        if event.name == "html":
            return web_page(200, "Consumer Complaint Database")
        if event.name == "status":
            return _of_status(int(event.value), era)
    return None


def _of_status(status: int, era: Era) -> Answer:
    if status == 429:
        return throttled(1)
    if status == 403:
        return web_page(403, "Access Denied. Reference #18.5d7a1002.1790000000.1a2b3c4d")
    if status == 424:
        return engine_error(era)
    if status in JSON_ERRORS:
        return json_answer(status, JSON_ERRORS[status])
    if 300 <= status < 400:
        return Answer(status, b"", "text/html", (("Location", "https://elsewhere.example/"),))
    return web_page(status, f"{status} from the gateway")
