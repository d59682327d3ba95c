"""Tests of the links on the archive's page."""

import time

import pytest
import requests

from luigi_etl.bulk.archive_page import LARGEST_PAGE, MOST_LINKS, read_links
from luigi_etl.common.errors import EtlError, TransientError
from tests.conftest import Serve
from tests.sandbox.requested_files import ARCHIVE

PAGE = "https://www.consumerfinance.gov/foia-requests/archive/"
FILES = "https://files.consumerfinance.gov/f/documents/"
JANUARY = "CCDB_Export_5_January_2024.zip"


def page_of(*links: str) -> bytes:
    items = "".join(f'<li><a class="x" href="{link}">a file</a></li>' for link in links)
    return f"<html>{items}</html>".encode()


def refusal(page: bytes, url: str = PAGE) -> str:
    """Return the one line of the error; it begins with the page."""
    with pytest.raises(EtlError) as caught:
        read_links(page, url)

    line = str(caught.value)
    assert line.startswith("www.consumerfinance.gov/foia-requests/archive/: ")
    assert line.isprintable()
    return line


# --- links ---------------------------------------------------------------------------------------


def test_links_of_the_sandbox_are_read_in_order(served: Serve) -> None:
    server = served(300, days=365)
    address = server.url[: server.url.index("/data-")] + ARCHIVE

    links = read_links(requests.get(address, timeout=10).content, address)

    assert [link.rpartition("/")[2] for link in links][-2:] == [
        "CCDB_Export_20_July_2026.zip",
        "CCDB_Export_21_August_2026.zip",
    ]
    assert {requests.head(link, timeout=10).status_code for link in links} == {200}


def test_links_are_ordered_by_number() -> None:
    names = ["CCDB_Export_10_B.zip", "CCDB_Export_9_C.zip", "CCDB_Export_21_A.zip", "CCDB_Export_1_D.zip"]

    links = read_links(page_of(*[FILES + name for name in names]), PAGE)

    assert links == [FILES + names[index] for index in (3, 1, 0, 2)]


@pytest.mark.parametrize(
    ("link", "address"),
    [
        (FILES + JANUARY, FILES + JANUARY),
        (f"/f/{JANUARY}", f"https://www.consumerfinance.gov/f/{JANUARY}"),
        (JANUARY, PAGE + JANUARY),
        (f"../{JANUARY}", f"https://www.consumerfinance.gov/foia-requests/{JANUARY}"),
        (f"//files.consumerfinance.gov/{JANUARY}", f"https://files.consumerfinance.gov/{JANUARY}"),
        (
            f"HTTPS://Files.ConsumerFinance.gov:443/{JANUARY}",
            f"https://Files.ConsumerFinance.gov:443/{JANUARY}",
        ),
        (f" \n{FILES}{JANUARY} ", FILES + JANUARY),
        (f"{FILES}{JANUARY}?v=1&amp;w=2#top", f"{FILES}{JANUARY}?v=1&w=2"),
    ],
)
def test_link_is_absolute_or_relative(link: str, address: str) -> None:
    assert read_links(page_of(link), PAGE) == [address]


@pytest.mark.parametrize(
    "page",
    [
        f"<A HREF={FILES}{JANUARY}>x</A>",
        f"<a title='>' href='{FILES}{JANUARY}'><b>x",
        f"<a href='&#104;ttps://files.consumerfinance.gov/f/documents/{JANUARY}'>x</a>",
        f"<p \x00<a>\xff</p><a id=1 href='{FILES}{JANUARY}'/>",
    ],
)
def test_html_of_any_style_is_read(page: str) -> None:
    assert read_links(page.encode("latin-1") + b"</HTML>", PAGE) == [FILES + JANUARY]


def test_link_that_appears_twice_is_one_file() -> None:
    assert read_links(page_of(FILES + JANUARY, f"{FILES}{JANUARY}#top"), PAGE) == [FILES + JANUARY]


def test_other_links_are_ignored() -> None:
    others = [
        "/",
        "#main",
        "mailto:a@b.c",
        "https://evil.example/",
        "javascript:x()",
        f"{FILES}guide.zip",
        "http://[",
    ]
    comment = f"<!-- <a href='{FILES}CCDB_Export_1_A.zip'>x</a> -->".encode()

    assert read_links(comment + page_of(*others, FILES + JANUARY), PAGE) == [FILES + JANUARY]


# --- refused pages -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page_of(), page_of("/", f"{FILES}guide.pdf"), b"\x1b[2J\xff\x00</html>"])
def test_page_without_links_to_files_is_refused(page: bytes) -> None:
    assert "no links to CCDB_Export_*.zip" in refusal(page)


@pytest.mark.parametrize("lost", [1, 8, 40])
def test_page_that_breaks_off_is_refused(lost: int) -> None:
    page = page_of(FILES + JANUARY, FILES + "CCDB_Export_6_A.zip")

    with pytest.raises(TransientError, match="does not end with </html>"):
        read_links(page[:-lost], PAGE)


@pytest.mark.parametrize(
    ("link", "named"),
    [
        (f"https://evil.example/{JANUARY}", "https://evil.example,"),
        (f"//evil.example/{JANUARY}", "https://evil.example,"),
        (f"http://files.consumerfinance.gov/{JANUARY}", "http://files.consumerfinance.gov,"),
        (f"http://www.consumerfinance.gov/{JANUARY}", "http://www.consumerfinance.gov,"),
        (f"https://files.consumerfinance.gov:444/{JANUARY}", "https://files.consumerfinance.gov:444,"),
        (f"https://files.consumerfinance.gov.evil.example/{JANUARY}", "gov.evil.example,"),
        (f"https://files.consumerfinance.gov@evil.example/{JANUARY}", "https://evil.example,"),
        (f"https://user:secret@files.consumerfinance.gov/{JANUARY}", "https://files.consumerfinance.gov,"),
        (f"file:///etc/{JANUARY}", "file://,"),
        (f"ftp://files.consumerfinance.gov/{JANUARY}", "ftp://files.consumerfinance.gov,"),
    ],
)
def test_link_to_another_server_is_refused(link: str, named: str) -> None:
    line = refusal(page_of(FILES + "CCDB_Export_1_A.zip", link))

    assert named in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "name",
    [
        "CCDB_Export_1_A.b.zip",
        "CCDB_Export_1_A%2F..%2Fb.zip",
        "CCDB_Export_1_A b.zip",
        "CCDB_Export_1_\u00e9.zip",
        "CCDB_Export_January.zip",
        "ccdb_export_1_a.ZIP",
        "CCDB_Export_1_.zip",
        "CCDB_Export_1_\x1b[2J.zip",
        f"CCDB_Export_1_{'a' * 151}.zip",
        f"CCDB_Export_{'1' * 7}_a.zip",
    ],
)
def test_link_with_an_unsafe_name_is_refused(name: str) -> None:
    assert "unexpected name" in refusal(page_of(FILES + JANUARY, FILES + name))


@pytest.mark.parametrize("link", [f"https://[/{JANUARY}", f"https://files.consumerfinance.gov:x/{JANUARY}"])
def test_invalid_link_is_refused(link: str) -> None:
    assert "invalid link" in refusal(page_of(link))


def test_more_links_than_expected_are_refused() -> None:
    names = [f"{FILES}CCDB_Export_{number}_A.zip" for number in range(MOST_LINKS + 1)]

    assert len(read_links(page_of(*names[1:]), PAGE)) == MOST_LINKS
    assert "201 links" in refusal(page_of(*names))


def test_large_page_is_refused() -> None:
    assert "more than 1,000,000 bytes" in refusal(page_of(FILES + JANUARY) + b" " * LARGEST_PAGE)


def test_error_does_not_quote_credentials_of_the_page() -> None:
    line = refusal(b"", PAGE.replace("www.", "user:secret@www."))

    assert "secret" not in line


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [b"<", b"<!--", b"<![CDATA[", b"<a ", b"<a href='", b"<a href=x>"])
def test_hostile_page_is_refused_soon(pattern: bytes) -> None:
    start = time.monotonic()

    refusal(pattern * (LARGEST_PAGE // len(pattern)))

    assert time.monotonic() - start < 30
