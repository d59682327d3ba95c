"""Checks of text settings: each returns the text, or raises a `SettingError`."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from luigi_etl.api.settings import API, ARCHIVE, DAILY_FILE
from luigi_etl.common.errors import SettingError

_LIBPQ = re.compile(r"\b(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=", re.ASCII)


def check_web_address(text: str) -> str:
    """Accept an HTTP or HTTPS address without credentials and query."""
    _check_address("[ccdb] url", text, API)
    parts = urlsplit(text)
    if parts.query or parts.fragment:
        raise SettingError(f"[ccdb] url: {text!r} must not contain a query; use the parameter query")
    return text


def check_file_address(setting: str, text: str, example: str) -> str:
    """Accept an HTTP or HTTPS address without credentials and query; errors name the `setting`."""
    if "?" in text or "#" in text:  # do not quote the text: a query may contain a secret
        raise SettingError(f"{setting}: it must not contain ? or #, because it is logged and stored")
    _check_address(setting, text, example)
    return text


def _check_address(setting: str, text: str, example: str) -> None:
    if "@" in text:  # do not quote the text: it may contain a password
        raise SettingError(
            f"{setting}: it must not contain a user name, a password or @, because it is logged and stored"
        )
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or any(character.isspace() for character in text):
        raise SettingError(f"{setting}: {text!r} is not a web address, such as {example}")


def check_daily_file(text: str) -> str:
    """Accept the address of a file."""
    return check_file_address("[ccdb] daily_file", text, DAILY_FILE)


def check_archive(text: str) -> str:
    """Accept the address of a page."""
    return check_file_address("[ccdb] archive", text, ARCHIVE)


def check_header_value(text: str) -> str:
    """Accept a text that can be the value of an HTTP header."""
    if not text.isascii() or not (text.isprintable() and text == text.strip()):
        raise SettingError(f"[ccdb] user_agent: {text!r} can't be sent in an HTTP header")
    return text


def check_columns(text: str) -> str:
    """Accept names of columns, separated by commas."""
    from luigi_etl.snapshot.columns import parse_columns

    parse_columns(text)
    return text


def accept_any_text(text: str) -> str:
    """Accept every text."""
    return text


def folder_check(setting: str) -> Callable[[str], str]:
    """Return a check that accepts the path of a folder."""

    def check(text: str) -> str:
        if not text.strip() or "\0" in text:
            raise SettingError(f"{setting}: {text!r} is not a folder")
        return text

    return check


def check_database(text: str) -> str:
    """Accept the path of a file, or the address of a database without a password."""
    if "\0" in text:
        raise SettingError(f"[storage] database: {text!r} is not a file")
    if "://" not in text:
        if _LIBPQ.search(text):  # do not quote the text: it may contain a password
            raise SettingError(
                "[storage] database: a libpq connection string (host=... dbname=...) can't be used; "
                "write it as postgresql://USER@HOST:PORT/NAME"
            )
        return text
    try:
        parts = urlsplit(text)
        has_password = bool(parts.password) or any("password" in name for name in parse_qs(parts.query))
    except ValueError as error:
        raise SettingError(f"[storage] database: it is not an address: {error}") from None
    if has_password:
        raise SettingError(
            "[storage] database: a password does not belong here; keep it in ~/.pgpass or $PGPASSWORD"
        )
    if parts.scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise SettingError("[storage] database: it is not a file, sqlite:///FILE or postgresql://HOST/NAME")
    return text


def check_command(text: str) -> str:
    """Accept a shell command, or an empty text."""
    if not text:
        return text
    import shlex

    try:
        return text if shlex.split(text) else ""
    except ValueError as error:
        raise SettingError(f"[service] notify: it is not a command: {error}") from None
