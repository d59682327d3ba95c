import gzip
import os
import weakref
from pathlib import Path

import pytest

from luigi_etl.api.page import Page
from luigi_etl.common.errors import DamagedFileError, StorageError, TransientError
from luigi_etl.snapshot.page_file import PageFile, read_pages

FIRST = Page("http://api/?size=1", b'{"page": 1}')
SECOND = Page("http://api/?size=1&search_after=1_2", b'{"page": 2}')


def write_finished(path: Path, *pages: Page) -> Path:
    with PageFile(path).open_locked() as file:
        for page in pages:
            file.append(page)
        file.finish()
    return path


def write_partial(path: Path, *pages: Page) -> Path:
    with PageFile(path).open_locked() as file:
        for page in pages:
            file.append(page)
    return file.partial


def test_pages_are_lines_of_a_plain_gzip_file(tmp_path: Path) -> None:
    path = write_finished(tmp_path / "pages.gz", FIRST, SECOND)

    assert gzip.decompress(path.read_bytes()) == b'{"page": 1}\n{"page": 2}\n'


def test_pages_are_read_back_with_their_addresses(tmp_path: Path) -> None:
    path = write_finished(tmp_path / "pages.gz", FIRST, SECOND)
    pages = [(page.address, page.body.rstrip()) for page in read_pages(path)]

    assert pages == [(FIRST.address, FIRST.body), (SECOND.address, SECOND.body)]


def test_large_pages_and_long_addresses_are_read_back(tmp_path: Path) -> None:
    pages = [
        Page("http://api/?" + "x" * size, os.urandom(size).hex().encode()) for size in (10, 9_000, 900_000)
    ]

    assert [len(page.body) - 1 for page in read_pages(write_finished(tmp_path / "gz", *pages))] == [
        20,
        18_000,
        1_800_000,
    ]


def test_same_pages_give_the_same_bytes(tmp_path: Path) -> None:
    one = write_finished(tmp_path / "one", FIRST, SECOND)
    other = write_finished(tmp_path / "other", FIRST, SECOND)

    assert one.read_bytes() == other.read_bytes()


def test_pages_have_their_final_name_only_when_finished(tmp_path: Path) -> None:
    partial = write_partial(tmp_path / "pages.gz", FIRST)

    assert os.listdir(tmp_path) == [partial.name] == ["pages.gz.partial"]


def test_file_without_pages_is_removed(tmp_path: Path) -> None:
    write_partial(tmp_path / "pages.gz")

    assert os.listdir(tmp_path) == []


def test_extraction_resumes_after_the_last_complete_page(tmp_path: Path) -> None:
    write_partial(tmp_path / "pages.gz", FIRST)
    with PageFile(tmp_path / "pages.gz").open_locked() as file:
        assert [page.address for page in file.recover()] == [FIRST.address]
        file.append(SECOND)
        file.finish()

    assert len(list(read_pages(tmp_path / "pages.gz"))) == 2


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_incomplete_page_is_cut_off(tmp_path: Path, kept: int) -> None:
    partial = write_partial(tmp_path / "pages.gz", FIRST)
    whole = partial.stat().st_size
    write_partial(tmp_path / "pages.gz", SECOND)
    os.truncate(partial, whole + kept)
    with PageFile(tmp_path / "pages.gz").open_locked() as file:
        assert [page.address for page in file.recover()] == [FIRST.address]

    assert partial.stat().st_size == whole


def test_invalid_bytes_after_a_page_are_cut_off(tmp_path: Path) -> None:
    partial = write_partial(tmp_path / "pages.gz", FIRST)
    with partial.open("ab") as stream:
        stream.write(b"rubbish" * 100)
    with PageFile(tmp_path / "pages.gz").open_locked() as file:
        assert len(list(file.recover())) == 1


def test_discarded_pages_are_removed(tmp_path: Path) -> None:
    write_partial(tmp_path / "pages.gz", FIRST)
    with PageFile(tmp_path / "pages.gz").open_locked() as file:
        file.discard()
        file.append(SECOND)
        file.finish()

    assert [page.address for page in read_pages(tmp_path / "pages.gz")] == [SECOND.address]


def test_two_processes_cannot_write_one_file(tmp_path: Path) -> None:
    with (
        PageFile(tmp_path / "pages.gz").open_locked(),
        pytest.raises(TransientError, match=r"another process is extracting pages\.gz"),
        PageFile(tmp_path / "pages.gz").open_locked(),
    ):
        pass


def test_closed_file_accepts_no_pages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not open"):
        PageFile(tmp_path / "pages.gz").append(FIRST)


def test_error_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"file/pages\.gz\.partial"),
        PageFile(tmp_path / "file/pages.gz").open_locked(),
    ):
        pass


OTHERS = gzip.compress(b"{}\n", mtime=0)  # a time would change the test's id


@pytest.mark.parametrize("damage", [b"", b"no gzip", OTHERS[:10], OTHERS])
def test_error_names_the_offset_of_damage(tmp_path: Path, damage: bytes) -> None:
    path = write_finished(tmp_path / "pages.gz", FIRST)
    end = path.stat().st_size
    with path.open("ab") as stream:
        stream.write(damage or b"\0")

    with pytest.raises(DamagedFileError, match=rf"pages\.gz is damaged after byte {end}; delete it"):
        list(read_pages(path))


def test_empty_file_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "pages.gz").touch()

    with pytest.raises(DamagedFileError, match=r"pages\.gz is damaged after byte 0; delete it"):
        list(read_pages(tmp_path / "pages.gz"))


def test_page_is_freed_when_the_next_is_read(tmp_path: Path) -> None:
    pages = read_pages(write_finished(tmp_path / "pages.gz", FIRST, SECOND))
    first = weakref.ref(next(pages))
    next(pages)

    assert first() is None


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"cannot read .*pages\.gz: No such file"):
        list(read_pages(tmp_path / "pages.gz"))
