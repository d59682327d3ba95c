"""The page of the CFPB's narratives archive, and its links to files."""

import re
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import SplitResult, urldefrag, urljoin, urlsplit

from luigi_etl.api.body import WebError
from luigi_etl.api.session import Session, Timeouts
from luigi_etl.api.settings import Settings
from luigi_etl.bulk.download import check_file_status
from luigi_etl.common.errors import PermanentError, TransientError

FILES_HOST = "files.consumerfinance.gov"
PREFIX, SUFFIX = "ccdb_export_", ".zip"
MOST_LINKS = 200  # the archive has 21 files
LARGEST_PAGE = 1_000_000  # bytes
PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"CCDB_Export_([0-9]{1,6})_[A-Za-z0-9_-]{1,150}\.zip", re.ASCII)


class _Origin(NamedTuple):
    """The server of an address."""

    scheme: str
    host: str
    port: int | None


def fetch_links(address: str, settings: Settings) -> list[str]:
    """Fetch the archive's page, and return the addresses of its files as `read_links` does.

    Raises:
        TransientError, RefusedError: the page could not be fetched.
        PermanentError: as for `read_links`.

    """
    timeouts = Timeouts(settings.connect_timeout, settings.read_timeout)
    try:
        with Session(address, settings.agent_header) as session:
            response = session.fetch(address, timeouts)
    except WebError as error:
        raise TransientError(f"{urlsplit(address).netloc}: {error}") from None
    check_file_status(address, response.status, response.headers)
    return read_links(response.body, address)


def read_links(page: bytes, page_url: str) -> list[str]:
    """Return the addresses of the archive's files on a page, in the order of their numbers.

    Links to other documents are ignored. A file may be on the page's own server or on the CFPB's file server.

    Raises:
        PermanentError: the page is too large or has no links to files, or a link is not safe.
        TransientError: the page is incomplete.

    """
    own = urlsplit(page_url)
    where = f"{own.netloc.rpartition('@')[2]}{own.path}"
    if len(page) > LARGEST_PAGE:
        raise PermanentError(f"{where}: the page has more than {LARGEST_PAGE:,} bytes; open it in a browser")
    parser = _PageParser()
    parser.feed(page.decode("utf-8", "replace"))  # without close(): it takes minutes for unclosed tags
    if not parser.is_complete:
        raise TransientError(f"{where}: the page does not end with </html>; try again")
    addresses = {_resolve(link, page_url, where) for link in parser.links if _is_archive_file(link)}
    if not addresses:
        raise PermanentError(f"{where}: no links to CCDB_Export_*.zip; open the page to see whether it moved")
    if len(addresses) > MOST_LINKS:
        raise PermanentError(
            f"{where}: {len(addresses):,} links to files, more than {MOST_LINKS}; check the page in a browser"
        )
    return sorted(addresses, key=_number)


class _PageParser(HTMLParser):
    """The targets of a page's links, and whether the page has its end."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.is_complete = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the target of a link."""
        if tag == "a":
            self.links += [value.strip() for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        """Notice the end of the page."""
        self.is_complete |= tag == "html"


def _is_archive_file(link: str) -> bool:
    name = _file_name(link).lower()
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def _file_name(address: str) -> str:
    return re.split("[?#]", address, maxsplit=1)[0].rpartition("/")[2]


def _resolve(link: str, page_url: str, where: str) -> str:
    """Return the absolute address of a file, without a fragment.

    Raises:
        PermanentError: the file is on another server, or its name is not safe.

    """
    if not _NAME.fullmatch(_file_name(link)):
        raise PermanentError(
            f"{where}: link to a file with the unexpected name {_file_name(link)!r}; nothing was downloaded"
        )
    try:
        address = urldefrag(urljoin(page_url, link)).url
        parts = urlsplit(address)
        is_allowed = _origin(parts) in (_origin(urlsplit(page_url)), _Origin("https", FILES_HOST, 443))
    except ValueError as error:  # an invalid port or IPv6 address
        raise PermanentError(f"{where}: invalid link {link!r} ({error}); nothing was downloaded") from None
    if not is_allowed or parts.username is not None:
        server = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        raise PermanentError(
            f"{where}: link to a file at {server}, which is neither https://{FILES_HOST} nor the page's own "
            "server; nothing was downloaded"
        )
    return address


def _origin(parts: SplitResult) -> _Origin:
    return _Origin(parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme))


def _number(address: str) -> tuple[int, str]:
    match = _NAME.fullmatch(_file_name(address))
    return (int(match[1]) if match else 0, address)
