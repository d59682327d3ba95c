"""Requests for the sandbox's files."""

import csv
import io
import zipfile
from typing import Any
from urllib.parse import urljoin

import requests

from tests.conftest import Served

DAILY = "/ccdb/complaints.csv.zip"
ARCHIVE = "/foia-requests/foia-electronic-reading-room/cfpb-consumer-complaint-database-narratives-archive/"


def request(server: Served, path: str = DAILY, method: str = "GET", **headers: str) -> requests.Response:
    """Request a file; in the names of headers, `_` stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    url = urljoin(server.url, path)
    return requests.request(method, url, headers=named, allow_redirects=False, timeout=10)


def open_csv(content: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    """Return the only member of a zip file, and its content."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.infolist()
        return member, archive.read(member)


def rows_of(response: requests.Response) -> list[dict[str, str]]:
    _, content = open_csv(response.content)
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def ids_of(response: requests.Response) -> list[str]:
    return [row["Complaint ID"] for row in rows_of(response)]


def validators(response: requests.Response) -> tuple[Any, Any]:
    return response.headers.get("ETag"), response.headers.get("Last-Modified")
