"""Download of files over HTTP: resuming, proof that a file is whole, and conditional requests."""

import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from urllib.parse import urljoin

import pytest

from luigi_etl.api.settings import Settings
from luigi_etl.bulk.download import download
from luigi_etl.bulk.file_version import FileVersion, read_version
from luigi_etl.common.errors import EtlError, RefusedError, StorageError, TransientError
from luigi_etl.snapshot.paths import DownloadPaths, ImportFiles
from tests.conftest import Serve, Served
from tests.raw import answer, serving
from tests.sandbox.requested_files import DAILY, request

SETTINGS = Settings(connect_timeout=2, read_timeout=0.5, deadline=20)
ZIP = "application/zip"
Raw = Callable[..., str]


@pytest.fixture
def paths(tmp_path: Path) -> DownloadPaths:
    return ImportFiles(tmp_path, "complaints.csv.zip", "address").download


@pytest.fixture
def raw() -> Iterator[Raw]:
    """Provide a function that serves the given answers in turn, and returns the address."""
    with ExitStack() as servers:
        yield lambda *answers: servers.enter_context(serving(*answers)).url + "complaints.csv.zip"


def daily(server: Served) -> str:
    return urljoin(server.url, DAILY)


def fetch(address: str, paths: DownloadPaths) -> FileVersion | None:
    return download(address, paths, SETTINGS)


def sent_ranges(server: Served) -> list[int]:
    """Return the statuses of the requests for the file."""
    return [status for path, status in server.sandbox.requests if path == DAILY]


def test_file_equals_the_served_one(served: Serve, paths: DownloadPaths) -> None:
    server = served(300)

    version = fetch(daily(server), paths)

    content = request(server).content
    assert paths.file.read_bytes() == content
    assert version is not None
    assert (version.size, version.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert version.minute == datetime(2026, 9, 26, 5, 0)
    assert read_version(paths.version) == version


def test_unchanged_file_is_not_downloaded_again(served: Serve, paths: DownloadPaths) -> None:
    server = served(300)
    fetch(daily(server), paths)

    assert fetch(daily(server), paths) is None

    assert sent_ranges(server) == [200, 304]


def test_new_file_is_downloaded(served: Serve, paths: DownloadPaths) -> None:
    server = served(300, "2:reindex")
    first = fetch(daily(server), paths)

    second = fetch(daily(server), paths)

    assert second is not None
    assert second != first
    assert paths.file.read_bytes() == request(server).content


def test_file_without_validators_is_downloaded_again(served: Serve, paths: DownloadPaths) -> None:
    server = served(300, "every 1:no_validators")
    fetch(daily(server), paths)

    assert fetch(daily(server), paths) is not None

    assert sent_ranges(server) == [200, 200]


@pytest.mark.parametrize(
    ("last_modified", "is_sent"),
    [
        ("Thu, 01 Dec 2011 00:00:00 GMT", True),
        ("Wed, 30 Nov 2011 23:59:59 GMT", False),
        ("Fri, 31 Dec 9999 23:59:59 -0500", False),
        ("Sat, 01 Jan 99999999999999999999 00:00:00 GMT", False),
        ("Sat, 01 Jan 2022 00:00:00 +99999999999", False),
        ("garbage", False),
    ],
)
def test_implausible_date_is_no_validator(paths: DownloadPaths, last_modified: str, is_sent: bool) -> None:
    """A server that gives each file the same date would never show a new one."""
    with serving(answer(b"x", f"Last-Modified: {last_modified}", kind=ZIP)) as server:
        for _ in range(2):
            fetch(server.url, paths)

    assert (b"If-Modified-Since" in server.requests[1]) is is_sent


# --- interrupted ---------------------------------------------------------------------------------


def interrupted(server: Served, paths: DownloadPaths) -> int:
    """Download until the server breaks the connection; return the number of bytes so far."""
    with pytest.raises(TransientError):
        fetch(daily(server), paths)
    assert not paths.file.exists()
    return paths.partial.stat().st_size


def test_interrupted_download_resumes(served: Serve, paths: DownloadPaths) -> None:
    server = served(3000, "1:cut")
    assert interrupted(server, paths) > 0

    fetch(daily(server), paths)

    assert sent_ranges(server) == [200, 206]
    assert paths.file.read_bytes() == request(server).content
    assert not paths.partial.exists()


@pytest.mark.parametrize("event", ["no_ranges", "replaced", "reindex"])
def test_download_starts_again_where_it_can_not_resume(
    served: Serve, paths: DownloadPaths, event: str
) -> None:
    server = served(3000, "1:cut", f"2:{event}")
    interrupted(server, paths)

    fetch(daily(server), paths)

    assert sent_ranges(server) == [200, 200]
    assert paths.file.read_bytes() == request(server).content


@pytest.mark.parametrize(
    "headers",
    [
        ('ETag: "2"', "Content-Range: bytes 50-99/100"),
        ("Last-Modified: Sun, 27 Sep 2026 05:00:00 GMT", "Content-Range: bytes 50-99/100"),
        ("Content-Range: bytes 50-99/120",),
    ],
)
def test_part_of_another_version_is_discarded(
    paths: DownloadPaths, raw: Raw, headers: tuple[str, ...]
) -> None:
    """The server ignores If-Range, and answers with a part of a new file."""
    dated = "Last-Modified: Sat, 26 Sep 2026 05:00:00 GMT"
    first = answer(b"x" * 100, 'ETag: "1"', dated, kind=ZIP)[:-50]
    part = answer(b"y" * 50, *headers, status="206 P", kind=ZIP)
    whole = answer(b"z" * 100, 'ETag: "2"', kind=ZIP)
    address = raw(first, part, whole)
    for _ in range(2):
        with pytest.raises(TransientError):
            fetch(address, paths)

    fetch(address, paths)

    assert paths.file.read_bytes() == b"z" * 100


@pytest.mark.parametrize(
    "wrong", ["bytes 0-49/100", "bytes 51-99/100", "bytes 50-99/*", "50-99/100", "bytes 50-99/" + "9" * 400]
)
def test_wrong_range_is_discarded(paths: DownloadPaths, raw: Raw, wrong: str) -> None:
    first = answer(b"x" * 100, 'ETag: "1"', kind=ZIP)[:-50]
    part = answer(b"y" * 50, 'ETag: "1"', f"Content-Range: {wrong}", status="206 P", kind=ZIP)
    address = raw(first, part, answer(b"z" * 100, kind=ZIP))
    for _ in range(2):
        with pytest.raises(TransientError):
            fetch(address, paths)

    fetch(address, paths)

    assert paths.file.read_bytes() == b"z" * 100


def test_range_beyond_the_end_starts_the_download_again(paths: DownloadPaths, raw: Raw) -> None:
    first = answer(b"x" * 100, 'ETag: "1"', kind=ZIP)[:-50]
    address = raw(first, answer(b"", status="416 Too long", kind=ZIP), answer(b"z" * 9, kind=ZIP))
    for _ in range(2):
        with pytest.raises(TransientError):
            fetch(address, paths)

    fetch(address, paths)

    assert paths.file.read_bytes() == b"z" * 9


def test_304_to_a_resumed_request_starts_again(paths: DownloadPaths, raw: Raw) -> None:
    first = answer(b"x" * 100, 'ETag: "1"', kind=ZIP)[:-50]
    address = raw(first, answer(b"", status="304 Not Modified"), answer(b"z" * 9, kind=ZIP))
    for reason in ("50", "status 304 to a request for the rest of the file; the download starts again"):
        with pytest.raises(TransientError, match=reason):
            fetch(address, paths)

    fetch(address, paths)

    assert paths.file.read_bytes() == b"z" * 9


@pytest.mark.slow
def test_killed_download_resumes(served: Serve, paths: DownloadPaths) -> None:
    server = served(3000, "1:drip=60")
    code = (
        "import sys; from pathlib import Path; from luigi_etl.api.settings import Settings;"
        "from luigi_etl.bulk.download import download; from luigi_etl.snapshot.paths import ImportFiles;"
        "paths = ImportFiles(Path(sys.argv[2]), 'complaints.csv.zip', 'address').download;"
        "download(sys.argv[1], paths, Settings())"
    )
    root = str(paths.file.parents[2])
    process = subprocess.Popen([sys.executable, "-c", code, daily(server), root])
    deadline = time.monotonic() + 60
    while not (paths.partial.exists() and paths.partial.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)

    fetch(daily(server), paths)

    assert sent_ranges(server) == [200, 206]
    assert paths.file.read_bytes() == request(server).content


def test_whole_download_without_a_name_is_used(served: Serve, paths: DownloadPaths) -> None:
    """A kill can hit between the last byte and the rename."""
    server = served(300)
    fetch(daily(server), paths)
    paths.file.rename(paths.partial)
    paths.version.rename(paths.partial_version)

    fetch(daily(server), paths)

    assert sent_ranges(server) == [200]
    assert paths.file.exists()


# --- refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "kind", "reason"),
    [
        ("redirect", RefusedError, "status 302 to localhost:"),
        ("html", RefusedError, "the response is a web page, not a file; check the address"),
        ("status=404", RefusedError, "status 404 for http://127.0.0.1:"),
        ("status=403", RefusedError, "status 403 for http://127.0.0.1:"),
        ("status=503", TransientError, "status 503"),
        ("status=429", TransientError, "status 429"),
        ("hang", TransientError, "no answer in time"),
        ("reset", TransientError, ""),
    ],
)
def test_failed_request_is_one_line(
    served: Serve, paths: DownloadPaths, rule: str, kind: type[EtlError], reason: str
) -> None:
    with pytest.raises(kind) as caught:
        fetch(daily(served(300, f"1:{rule}")), paths)

    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not paths.file.exists()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (answer(b"<html>", kind="text/plain"), "a web page"),
        (answer(b"\n <?xml", kind="text/csv"), "a web page"),
        (answer(b"\xef\xbb\xbf<html>", kind=ZIP), "a web page"),
        (answer(b"", status="304 Not Modified"), "status 304"),
        (answer(b"x", "Content-Encoding: br", kind=ZIP), "encoded"),
        (answer(b"x", kind=ZIP).replace(b"Length: 1", b"Length: 99999999999"), "more than any"),
        (answer(b"x", kind=ZIP).replace(b"Length: 1", b"Length: 9"), "1 of 9 bytes|1 bytes read"),
    ],
)
def test_unusable_response_leaves_no_file(paths: DownloadPaths, raw: Raw, sent: bytes, reason: str) -> None:
    with pytest.raises(EtlError, match=reason):
        fetch(raw(sent), paths)

    assert not paths.file.exists()


def test_redirect_shows_only_its_host(paths: DownloadPaths, raw: Raw) -> None:
    location = "Location: https://user:hunter2@other.example/f.zip?token=s3cret"

    with pytest.raises(RefusedError, match="status 302 to other.example, which") as caught:
        fetch(raw(answer(b"", location, status="302 Found")), paths)

    assert "hunter2" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_stalled_download_ends(paths: DownloadPaths, raw: Raw) -> None:
    def stall(connection: socket.socket) -> None:
        connection.sendall(answer(b"x" * 100, kind=ZIP)[:-50])
        time.sleep(3)

    with pytest.raises(TransientError, match="no answer in time"):
        fetch(raw(stall), paths)


def test_file_of_unknown_length_is_complete_at_its_end(served: Serve, paths: DownloadPaths) -> None:
    server = served(300, "1:no_length")

    fetch(daily(server), paths)

    assert paths.file.read_bytes() == request(server).content


def test_full_disk_is_reported_and_keeps_the_part(served: Serve, small_disk: Path) -> None:
    paths = ImportFiles(small_disk, "complaints.csv.zip", "address").download
    server = served(3000, "every 1:no_length")

    with pytest.raises(StorageError, match="No space left on device"):
        fetch(daily(server), paths)

    assert not paths.file.exists()


def test_small_disk_is_reported_before_the_download(served: Serve, small_disk: Path) -> None:
    paths = ImportFiles(small_disk, "complaints.csv.zip", "address").download

    with pytest.raises(StorageError, match="bytes are missing on the disk; make room there"):
        fetch(daily(served(3000)), paths)
