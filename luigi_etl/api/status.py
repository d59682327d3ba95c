"""Errors for the HTTP statuses of the API, with the API's own messages."""

import html
import json
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from luigi_etl.api.session import Response
from luigi_etl.api.settings import API
from luigi_etl.common.errors import RefusedError, TransientError
from luigi_etl.common.terminal import brief


class EngineError(TransientError):
    """Status 424: the search engine is down or can't read the query; the body is the same for both."""


def check_status(host: str, response: Response) -> None:
    """Raise an error unless the response is JSON with status 200.

    Raises:
        EngineError: the status is 424.
        TransientError: a retry may help (408, 429, 5xx).
        RefusedError: a retry can't help.

    """
    status = response.status
    kind = brief(response.headers.get("Content-Type", "of no type").partition(";")[0].strip(), 60).lower()
    if status == 200 and kind == "application/json":
        return
    if status == 200:
        raise RefusedError(
            f"{host}: the response is {kind}, not JSON: is the address wrong? "
            f"[ccdb] url must end with a slash, as in {API}"
        )
    message = _read_message(response.body, kind)
    if status == 424:
        raise EngineError(f"{host}: the search engine did not answer (424{message})")
    if status in (408, 429) or status >= 500:
        raise TransientError(f"{host}: status {status}{message}", read_retry_after(response.headers))
    raise RefusedError(f"{host}: {_explain_refusal(response, message)}")


def _explain_refusal(response: Response, message: str) -> str:
    status = response.status
    if status == 400:
        return f"the API refuses the query (400{message})"
    if status == 403:
        reference = _find_reference(response.body)
        quoted = f", reference {reference}" if reference else ""
        return f"blocked at the edge (403{quoted}): set [ccdb] user_agent, or use another network"
    if status == 414:
        return "the query is too long (414): use fewer or shorter values"
    if 300 <= status < 400:
        message = f" to {brief(response.headers.get('Location', 'nowhere'))!r}, which is not followed"
    return f"status {status}{message}: check [ccdb] url, which should be {API}"


def _find_reference(page: bytes) -> str:
    """Return the reference number that a content delivery network gives to a blocked request."""
    _, _, after = page.decode("utf-8", "replace").partition("Reference")
    try:
        found = re.match(r"\s*#?\s*([0-9A-Za-z.]+)", html.unescape(after[:200]))
    except ValueError:  # a character reference with thousands of digits
        found = None
    return found[1] if found else ""


def _read_message(body: bytes, kind: str) -> str:
    """Return the messages of a JSON error in one line, or an empty text for a web page."""
    if kind != "application/json":
        return ""
    try:
        message = brief("; ".join(_flatten(json.loads(body))), 500)
    except (ValueError, RecursionError):  # truncated, or nested too deeply
        return ""
    return f": {message}" if message else ""


def _flatten(error: Any, name: str = "") -> Iterator[str]:
    """Yield the messages of a Django REST error, which nests them by parameter and index."""
    if isinstance(error, dict):
        for key, value in error.items():
            parameter = (
                key if key not in ("detail", "error", "non_field_errors") and not key.isdigit() else ""
            )
            yield from _flatten(value, parameter or name)
    elif isinstance(error, list):
        for value in error:
            yield from _flatten(value, name)
    else:
        yield f"{name}: {error}" if name else str(error)


def read_retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds to wait from `Retry-After`, a number or a date (RFC 9110, 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
