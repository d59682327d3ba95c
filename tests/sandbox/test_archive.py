"""Tests of the sandbox's narratives archive over HTTP: its page, its files, their narratives."""

import re
from collections import Counter
from datetime import datetime, timezone
from urllib.parse import urlsplit

import pytest

from luigi_etl.sandbox.eras import ERAS
from luigi_etl.sandbox.index import generated_index
from luigi_etl.sandbox.row import Row
from tests.conftest import Serve, Served
from tests.sandbox.requested_files import ARCHIVE, ids_of, open_csv, request, rows_of

COLUMNS = (
    "Date received,Product,Sub-product,Issue,Sub-issue,Consumer complaint narrative,Company public response,"
    "Company,State,ZIP code,Tags,Submitted via,Date sent to company,Company response to consumer,"
    "Timely response?,Complaint ID"
).split(",")
NARRATIVE = "Consumer complaint narrative"
HTML = "text/html; charset=utf-8"


def links_of(server: Served) -> list[str]:
    """Return the links to the archive's files, in the order of the page."""
    found: list[str] = re.findall(r'href="([^"]*CCDB_Export[^"]*)"', request(server, ARCHIVE).text)
    return found


def archive_rows(server: Served) -> list[dict[str, str]]:
    return [row for link in links_of(server) for row in rows_of(request(server, link))]


def index_rows(server: Served) -> list[Row]:
    return list(server.sandbox.index.rows.values())


# --- the page ------------------------------------------------------------------------------------


def test_page_links_to_files_by_months_newest_first(served: Serve) -> None:
    server = served(300, days=365)

    names = [urlsplit(link).path for link in links_of(server)]

    assert names[:2] == [
        "/f/documents/CCDB_Export_21_August_2026.zip",
        "/f/documents/CCDB_Export_20_July_2026.zip",
    ]
    assert "/f/documents/CCDB_Export_15_January_2026_through_February_2026.zip" in names
    assert len(names) == len(set(names)) == 9


def test_links_are_absolute_and_lead_to_the_sandbox(served: Serve) -> None:
    server = served(300)

    for link in links_of(server):
        assert urlsplit(link).netloc == urlsplit(server.url).netloc
        assert request(server, link).headers["Content-Type"] == "application/zip"


def test_page_has_other_links_too(served: Serve) -> None:
    page = request(served(1), ARCHIVE)

    assert page.headers["Content-Type"] == HTML
    for link in ('"/"', '"https://www.usa.gov/"', '"#main"', '"mailto:', "cfpb_foia-guide.pdf"):
        assert link in page.text


def test_head_of_the_page_has_no_body(served: Serve) -> None:
    response = request(served(1), ARCHIVE, method="HEAD")

    assert (response.status_code, response.content) == (200, b"")


def test_there_is_no_archive_before_its_day(served: Serve) -> None:
    summer = datetime(2026, 9, 13, 22, tzinfo=timezone.utc)
    server = served(index=generated_index(300, 1, ERAS["2026-08"], 90, summer))

    before = request(server, ARCHIVE).status_code
    server.sandbox.index.move_on(datetime(2026, 9, 14, 12, tzinfo=timezone.utc))
    server.sandbox.index.reindex()

    assert (before, request(server, ARCHIVE).status_code) == (404, 200)


# --- the files -----------------------------------------------------------------------------------


def test_file_has_16_columns_and_the_date_of_the_archive(served: Serve) -> None:
    server = served(300)

    for link in links_of(server):
        response = request(server, link)
        member, _ = open_csv(response.content)

        assert response.headers["Last-Modified"].startswith("Mon, 14 Sep 2026")
        assert (member.filename[:12], member.filename[-4:]) == ("CCDB_Export_", ".csv")
        assert {tuple(row) for row in rows_of(response)} == {tuple(COLUMNS)}


@pytest.mark.parametrize("era", ERAS)
def test_file_has_the_same_columns_in_each_era(served: Serve, era: str) -> None:
    server = served(30, era=era)

    assert list(archive_rows(server)[0]) == COLUMNS


def test_ids_are_unique_over_all_files(served: Serve) -> None:
    rows = archive_rows(served(300, days=365))

    assert max(Counter(row["Complaint ID"] for row in rows).values()) == 1


def test_file_holds_complaints_of_its_months_only(served: Serve) -> None:
    server = served(300, days=365)
    link = links_of(server)[6]

    months = {row["Date received"][:7] for row in rows_of(request(server, link))}

    assert link.endswith("CCDB_Export_15_January_2026_through_February_2026.zip")
    assert months == {"2026-01", "2026-02"}


def test_archive_holds_every_complaint_until_august(served: Serve) -> None:
    server = served(300)

    archived = {row["Complaint ID"]: row for row in archive_rows(server)}

    old = {row.identifier for row in server.sandbox.index.rows.values() if row.received <= "2026-08-31"}
    assert old <= archived.keys()
    assert max(row["Date received"] for row in archived.values()) <= "2026-08-31"


def test_archive_holds_complaints_that_the_index_has_lost(served: Serve) -> None:
    server = served(300)

    archived = {row["Complaint ID"] for row in archive_rows(server)}

    assert len(archived - server.sandbox.index.rows.keys()) == 16


def test_archive_stays_while_the_index_changes(served: Serve) -> None:
    server = served(300)
    before = archive_rows(server)

    server.sandbox.index.vanish(100)
    server.sandbox.index.arrive(100)
    server.sandbox.index.reindex()

    assert archive_rows(server) == before


def test_archive_holds_complaints_as_of_its_day(served: Serve) -> None:
    server = served(300)
    loaded = {row.identifier: row for row in server.sandbox.index.rows.values()}
    server.sandbox.index.change(300)
    server.sandbox.index.reindex()

    responses = {row["Complaint ID"]: row["Company response to consumer"] for row in archive_rows(server)}

    for identifier in responses.keys() & loaded.keys():
        assert responses[identifier] == loaded[identifier].source["company_response"]


def test_archive_leaves_the_series_of_complaints_alone(served: Serve) -> None:
    with_archive, without = served(300, "1:arrive=50"), served(300, "1:arrive=50")

    archive_rows(with_archive)
    request(without)

    assert with_archive.sandbox.index.rows == without.sandbox.index.rows


def test_file_supports_ranges(served: Serve) -> None:
    server = served(300)
    link = links_of(server)[0]
    whole = request(server, link)

    part = request(server, link, Range="bytes=100-", If_Range=whole.headers["ETag"])

    assert (part.status_code, part.content) == (206, whole.content[100:])


# --- narratives ----------------------------------------------------------------------------------


def test_some_complaints_have_a_narrative_the_same_each_time(served: Serve) -> None:
    first, second = archive_rows(served(300)), archive_rows(served(300))

    share = sum(bool(row[NARRATIVE]) for row in first) / len(first)
    assert first == second
    assert 0.2 < share < 0.4


def test_narratives_have_what_is_hard_to_read(served: Serve) -> None:
    text = "".join(row[NARRATIVE] for row in archive_rows(served(300)))

    for part in ("XXXX", ", ", '"', "\n", "\r\n", "\u00f1", "\u2014"):
        assert part in text


def test_narratives_end_in_the_middle_of_august(served: Serve) -> None:
    rows = archive_rows(served(300))

    assert "2026-08-0" < max(row["Date received"] for row in rows if row[NARRATIVE]) <= "2026-08-14"


def test_archive_has_the_narratives_of_an_era_with_narratives(served: Serve) -> None:
    server = served(300, era="2025-11")
    sent = {row.identifier: row.source["complaint_what_happened"] for row in index_rows(server)}

    archived = {row["Complaint ID"]: row[NARRATIVE] for row in archive_rows(server)}

    assert any(sent.values())
    for identifier in sent.keys() & archived.keys():
        assert archived[identifier] == sent[identifier]


def test_archive_has_the_narratives_that_the_index_sent_last(served: Serve) -> None:
    """The index stops sending narratives, then the archive is published."""
    summer = datetime(2026, 8, 1, 22, tzinfo=timezone.utc)
    server = served(index=generated_index(300, 1, ERAS["2026-07"], 90, summer))
    index = server.sandbox.index
    sent = {row.identifier: row.source["complaint_what_happened"] for row in index_rows(server)}
    index.enter(ERAS["2026-08"])
    index.move_on(datetime(2026, 9, 14, 12, tzinfo=timezone.utc))
    index.reindex()

    archived = {row["Complaint ID"]: row[NARRATIVE] for row in archive_rows(server)}

    assert any(sent.values())
    assert {identifier: archived[identifier] for identifier in sent} == sent


def test_complaint_that_returns_has_its_narrative_in_the_archive(served: Serve) -> None:
    summer = datetime(2026, 8, 1, 22, tzinfo=timezone.utc)
    server = served(index=generated_index(300, 1, ERAS["2026-07"], 90, summer))
    index = server.sandbox.index
    gone = next(row for row in index_rows(server) if row.source["complaint_what_happened"])
    index.remove([gone.identifier])
    index.enter(ERAS["2026-08"])
    index.put([{**gone.source, "complaint_what_happened": None}])
    index.move_on(datetime(2026, 9, 14, 12, tzinfo=timezone.utc))
    index.reindex()

    archived = {row["Complaint ID"]: row[NARRATIVE] for row in archive_rows(server)}

    assert archived[gone.identifier] == gone.source["complaint_what_happened"]


# --- faults --------------------------------------------------------------------------------------


def test_page_without_links_is_a_page(served: Serve) -> None:
    server = served(300, "1:no_links")

    assert links_of(server) == []
    assert len(links_of(server)) > 0


def test_foreign_links_lead_to_another_host_name(served: Serve) -> None:
    server = served(300, "1:foreign_links")

    links = links_of(server)

    assert {urlsplit(link).hostname for link in links} == {"localhost"}
    assert request(server, links[0]).status_code == 200


def test_truncated_page_is_half_of_the_page(served: Serve) -> None:
    server = served(300, "1:truncate")

    half, whole = request(server, ARCHIVE), request(server, ARCHIVE)

    assert half.content == whole.content[: len(whole.content) // 2]


@pytest.mark.parametrize(
    ("rule", "status"), [("1:status=503", 503), ("1:redirect", 302), ("1:html", 200), ("1:status=404", 404)]
)
def test_page_has_faults_of_the_file_server(served: Serve, rule: str, status: int) -> None:
    server = served(300, rule)

    response = request(server, ARCHIVE)

    assert response.status_code == status
    assert "CCDB_Export" not in response.text


def test_half_of_a_file_has_half_of_its_rows(served: Serve) -> None:
    server = served(300, "2:half")
    link = links_of(server)[0]

    half, whole = request(server, link), request(server, link)

    assert set(ids_of(half)) < set(ids_of(whole))
