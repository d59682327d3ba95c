"""The CSV in a zip archive, a gzip file or a plain file; damaged files are refused."""

import gzip
import io
import struct
import zipfile
from datetime import datetime
from pathlib import Path

import pytest

from luigi_etl.bulk.containers import open_content
from luigi_etl.common.errors import FileFormatError

CSV = b"Complaint ID,Company\n" + b"".join(b"%d,Acme %d\n" % (number, number**3) for number in range(500))


def packed(*names: str, content: bytes = CSV, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name, (2026, 9, 14, 12, 30, 0)), content, method)
    return stream.getvalue()


def read(folder: Path, content: bytes) -> bytes:
    path = folder / "complaints"
    path.write_bytes(content)
    with open_content(path) as opened:
        return b"".join(iter(lambda: opened.stream.read(1000), b""))


@pytest.mark.parametrize(
    "content",
    [CSV, gzip.compress(CSV), packed("complaints.csv"), packed("__MACOSX/._a.csv", "a.CSV", "b.txt")],
)
def test_content_is_found_by_its_first_bytes(content: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, content) == CSV


def test_member_of_an_archive_has_a_time_and_a_checksum(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(packed("complaints.csv"))

    with open_content(tmp_path / "a.zip") as opened:
        assert (opened.modified, opened.is_checked) == (datetime(2026, 9, 14, 12, 30), True)


def test_impossible_date_of_a_member_is_none(tmp_path: Path) -> None:
    """Some packers write zeros."""
    in_dos_form = struct.pack("<HH", 12 << 11 | 30 << 5, (2026 - 1980) << 9 | 9 << 5 | 14)
    (tmp_path / "a.zip").write_bytes(packed("a.csv").replace(in_dos_form, bytes(4)))

    with open_content(tmp_path / "a.zip") as opened:
        assert opened.modified is None


def test_member_name_of_any_bytes_is_read(tmp_path: Path) -> None:
    """Without the flag for UTF-8 every byte is a character."""
    assert read(tmp_path, packed("+++.csv").replace(b"+++", b"\xff\x1b\x80")) == CSV


@pytest.mark.parametrize("whole", [gzip.compress(CSV), packed("complaints.csv")], ids=["gzip", "zip"])
@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(whole: bytes, at: float, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="it is cut off or damaged"):
        read(tmp_path, whole[: int(len(whole) * at)])


@pytest.mark.parametrize("whole", [gzip.compress(CSV), packed("complaints.csv")], ids=["gzip", "zip"])
@pytest.mark.parametrize("at", [0.3, 0.5, 0.8])
def test_changed_byte_is_refused(whole: bytes, at: float, tmp_path: Path) -> None:
    damaged = bytearray(whole)
    damaged[int(len(whole) * at)] ^= 0x55

    with pytest.raises(FileFormatError, match="it is cut off or damaged"):
        read(tmp_path, bytes(damaged))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed(), "it holds 0 CSV files"),
        (packed("a.csv", "b.csv"), "it holds 2 CSV files; unpack it and import one of them"),
        (packed("a.csv", method=zipfile.ZIP_LZMA), "another method than Deflate; import the unpacked CSV"),
        (packed("é.csv").replace("é".encode(), b"\xff\xff"), "it is cut off or damaged"),
        (b"BZh91AY&SY", "it is compressed with bzip2; unpack it"),
        (b"\xfd7zXZ\x00\x00", "it is compressed with xz; unpack it"),
    ],
)
def test_unusable_container_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: packed("a.csv", content=content)])
def test_bomb_is_refused_before_it_is_unpacked(pack: object, tmp_path: Path) -> None:
    bomb = pack(bytes(200_000_000))  # type: ignore[operator]

    with pytest.raises(FileFormatError, match="more than any complaint file"):
        read(tmp_path, bomb)
