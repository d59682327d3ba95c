"""Errors for the statuses of the API's answers."""

import html
import json
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from luigi_etl.api.session import Response
from luigi_etl.api.settings import API
from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.common.terminal import brief


class EngineError(TransientError):
    """424: the search engine is down, or it can't read the query; the body is the same for both."""


def check_status(host: str, response: Response) -> None:
    """Raise unless the answer is JSON with status 200."""
    status = response.status
    kind = brief(response.headers.get("Content-Type", "of no type").partition(";")[0].strip(), 60).lower()
    if status == 200 and kind == "application/json":
        return
    if status == 200:
        raise RefusedError(
            f"{host}: the answer is {kind}, not JSON: is the address wrong? "
            f"[ccdb] url must end with a slash, as in {API}"
        )
    said = _message(response.body, kind)
    if status == 424:
        raise EngineError(f"{host}: the search engine did not answer (424{said})")
    if status in (408, 429) or status >= 500:
        raise TransientError(f"{host}: status {status}{said}", retry_after(response))
    if status == 400:
        raise RefusedError(f"{host}: the API refuses the query (400{said})")
    if status == 403:
        reference = _reference(response.body)
        quoted = f", reference {reference}" if reference else ""
        raise RefusedError(
            f"{host}: blocked at the edge (403{quoted}): set [ccdb] user_agent, or ask from another network"
        )
    if status == 414:
        raise RefusedError(f"{host}: the query is too long (414): ask for fewer or shorter values")
    if 300 <= status < 400:
        said = f" to {brief(response.headers.get('Location', 'nowhere'))!r}, which is not followed"
    raise RefusedError(f"{host}: status {status}{said}: check [ccdb] url, which should be {API}")


def _reference(page: bytes) -> str:
    """Return the number by which a content delivery network knows a request it blocked."""
    _, _, after = page.decode("utf-8", "replace").partition("Reference")
    try:
        found = re.match(r"\s*#?\s*([0-9A-Za-z.]+)", html.unescape(after[:200]))
    except ValueError:  # a character's number with thousands of digits
        found = None
    return found[1] if found else ""


def _message(body: bytes, kind: str) -> str:
    """Return what a JSON error says, in one line; nothing for a web page."""
    if kind != "application/json":
        return ""
    try:
        said = brief("; ".join(_flattened(json.loads(body))), 500)
    except (ValueError, RecursionError):  # cut, or nested too deeply
        return ""
    return f": {said}" if said else ""


def _flattened(said: Any, name: str = "") -> Iterator[str]:
    """Give the messages of a Django REST error: lists and objects, nested by parameter and index."""
    if isinstance(said, dict):
        for key, value in said.items():
            own = key if key not in ("detail", "error", "non_field_errors") and not key.isdigit() else ""
            yield from _flattened(value, own or name)
    elif isinstance(said, list):
        for value in said:
            yield from _flattened(value, name)
    else:
        yield f"{name}: {said}" if name else str(said)


def retry_after(response: Response) -> float:
    """Return the seconds the server asks to wait, from a number or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
