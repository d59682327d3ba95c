from pathlib import Path
from typing import Any

import pytest

from luigi_etl import SyncComplaints
from luigi_etl.api.settings import API, Settings
from luigi_etl.common.errors import SettingError
from luigi_etl.tasks.base import Snapshot
from luigi_etl.tasks.config import ccdb, guard, storage
from tests.conftest import Chain


def test_settings_have_their_documented_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccdb.url, "_default", API)

    assert ccdb().settings() == Settings()
    assert (ccdb().retries, ccdb().retry_delay) == (10, 30.0)
    assert (storage().root, storage().columns) == ("data", "")
    assert storage().database == ""
    assert (SyncComplaints().days, SyncComplaints().since) == (90, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "www.consumerfinance.gov"),
        ("url", "ftp://www.consumerfinance.gov/"),
        ("url", "http://["),
        ("url", "http://host/ /"),
        ("url", "http://host/?size=1"),
        ("url", "http://user:secret@host/"),
        ("requests_per_minute", -1),
        ("page_size", 0),
        ("page_size", 10_001),
        ("page_size", True),
        ("page_size", 1.5),
        ("user_agent", "two\nlines"),
        ("connect_timeout", 0),
        ("read_timeout", "soon"),
        ("deadline", -1),
        ("deadline", float("nan")),
        ("retry_delay", float("inf")),
    ],
)
def test_invalid_ccdb_setting_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=name):
        ccdb(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lost_percent", 101),
        ("lost_percent", -1),
        ("lost_percent", float("nan")),
        ("rejected_percent", "few"),
        ("lost_complaints", -1),
    ],
)
def test_invalid_guard_setting_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingError, match=name):
        guard(**{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["lost_percent=101", "lost_percent=nan", "accept=maybe"])
def test_invalid_guard_setting_ends_a_run_before_a_request(chain: Chain, setting: str) -> None:
    name, _, value = setting.partition("=")
    chain.configure("guard", **{name: value})

    run = chain.luigi(url="http://127.0.0.1:9/")

    assert (run.code, len(run.err.splitlines())) == (2, 1)
    assert name in run.err


@pytest.mark.slow
def test_invalid_switch_of_the_search_is_one_line(chain: Chain) -> None:
    chain.configure("storage", full_text="maybe")

    run = chain.luigi(url="http://127.0.0.1:9/")

    message = "luigi: error: full_text: 'maybe' is neither true nor false\n"
    assert (run.code, run.out, run.err) == (2, "", message)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret@host/name",
        "postgresql://host/name?user=me&password=secret",
        "postgresql://host/name?sslpassword=secret",
        "jdbc:postgresql://me:secret@host/name",
        "host=db.example.org dbname=complaints password=secret",
        "password = 'secret' host = db.example.org",
        "service=secret",
        "mysql://host/name",
        "postgresql://[",
        "a\0b",
    ],
)
def test_invalid_database_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(SettingError, match="database") as caught:
        storage(database=address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("", Path("data/complaints.db")),
        ("/srv/c.db", Path("/srv/c.db")),
        ("sqlite:///c.db", "sqlite:///c.db"),
        ("postgresql://me@host/name", "postgresql://me@host/name"),
        ("postgres://me@host/name", "postgres://me@host/name"),
        ("data/rows=10.db", Path("data/rows=10.db")),
    ],
)
def test_database_is_a_file_or_an_address(setting: str, address: Path | str) -> None:
    assert storage(database=setting).database_address == address


@pytest.mark.parametrize(
    "address", ["http://me:secret@host/", "me:secret@host", "ftp://me:secret@host:99999/"]
)
def test_error_does_not_repeat_a_secret_in_the_address(address: str) -> None:
    with pytest.raises(SettingError, match="must not contain a user name, a password or @") as caught:
        ccdb(url=address)
    assert "secret" not in str(caught.value)


def test_unknown_columns_are_refused() -> None:
    with pytest.raises(SettingError, match="did you mean 'state'"):
        storage(columns="stat")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--query", "prodct=Mortgage"), "query: the API knows no filter 'prodct'; did you mean 'product'?"),
        (("--timestamp", "now"), "timestamp: 'now' is not a minute (UTC) written as 2026-01-02T0304"),
        (
            ("--timestamp", "2026-11-22T09"),
            "timestamp: '2026-11-22T09' is not a minute (UTC) written as 2026-01-02T0304",
        ),
        (("--storage-root", " "), "[storage] root: ' ' is not a folder"),
        (("--limit", "-1"), "limit: -1 is not a whole number from 0 up"),
        (("--limit", "ten"), "limit: 'ten' is not a whole number from 0 up"),
        (("--ccdb-page-size", "20000"), "page_size: 20000 is not a whole number from 1 to 10000"),
        (("--ccdb-deadline", "soon"), "deadline: 'soon' is not a number of seconds"),
        (("--query", "company=a%00b"), "query: company has a control character, '\\x00'; remove it"),
        (("--ccdb-read-timeout", "0"), "read_timeout: 0.0 is not a number of seconds above 0"),
        (
            ("--storage-columns", "stat"),
            "[storage] columns: there is no column 'stat'; did you mean 'state'?",
        ),
    ],
)
def test_invalid_argument_is_one_line_and_exit_code_2(
    chain: Chain, arguments: tuple[str, ...], message: str
) -> None:
    run = chain.luigi(*arguments)

    assert (run.code, run.out, run.err) == (2, "", f"luigi: error: {message}\n")
    assert chain.files() == []


@pytest.mark.slow
def test_invalid_address_in_the_environment_is_one_line(chain: Chain) -> None:
    run = chain.luigi(url="nonsense")

    message = f"CCDB_URL in the environment, for [ccdb] url: 'nonsense' is not a web address, such as {API}"
    assert (run.code, run.out, run.err) == (2, "", f"luigi: error: {message}\n")
    assert chain.files() == []


@pytest.mark.slow
def test_settings_are_read_from_luigi_cfg(chain: Chain) -> None:
    with (chain.folder / "luigi.cfg").open("a") as file:
        file.write("\n[ccdb]\npage_size=20000\n")

    run = chain.luigi()

    assert (run.code, run.err) == (
        2,
        "luigi: error: page_size: 20000 is not a whole number from 1 to 10000\n",
    )


@pytest.mark.slow
def test_ignored_parameters_of_an_address_are_reported(chain: Chain) -> None:
    page = "https://www.consumerfinance.gov/data-research/consumer-complaints/search/"

    run = chain.luigi(
        "--query", f"{page}?tab=List&size=25&state=CA", "--ccdb-retries", "0", url="http://127.0.0.1:9/"
    )

    assert run.err.splitlines()[0] == "query: display parameters of the search page left out: size, tab"


@pytest.mark.slow
def test_future_minute_is_refused(chain: Chain) -> None:
    run = chain.luigi("--timestamp", "2999-01-01T0000")

    assert run.code == 2
    assert run.err.startswith("luigi: error: timestamp: '2999-01-01T0000' is not in the past; now it is 20")


@pytest.mark.slow
def test_exit_code_of_a_failure_does_not_need_luigi_cfg(chain: Chain) -> None:
    (chain.folder / "luigi.cfg").unlink()

    assert chain.luigi("--ccdb-retries", "0", url="http://127.0.0.1:9/").code == 30


@pytest.mark.slow
def test_exit_code_of_the_user_is_used(chain: Chain) -> None:
    with (chain.folder / "luigi.cfg").open("a") as file:
        file.write("\n[retcode]\ntask_failed=77\n")

    assert chain.luigi("--ccdb-retries", "0", url="http://127.0.0.1:9/").code == 77


def test_tilde_in_a_path_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/analyst")
    monkeypatch.setattr(storage.root, "_default", "~/complaints")
    monkeypatch.setattr(ccdb.pace_file, "_default", "~/pace")
    storage.clear_instance_cache()
    ccdb.clear_instance_cache()
    try:
        assert str(Snapshot().files.root) == "/home/analyst/complaints"
        assert str(ccdb().settings().pace_file) == "/home/analyst/pace"
    finally:
        storage.clear_instance_cache()
        ccdb.clear_instance_cache()
