"""The check of luigi.cfg."""

import pytest

from tests.conftest import Chain
from tests.service.doctor.helpers import failure_of, findings_of, of_check, run_doctor

pytestmark = pytest.mark.slow


def test_configuration_with_known_settings_passes(chain: Chain) -> None:
    chain.configure("PruneSnapshots", keep_days=3)
    chain.configure("StoreComplaints", limit=3)
    chain.configure("retcode", task_failed=3)
    chain.configure("ccdb", **{"page-size": 100})

    assert findings_of(chain, "config") == [(True, f"{chain.folder}/luigi.cfg: all settings are known")]


def test_missing_luigi_cfg_is_reported_with_its_path(chain: Chain) -> None:
    (chain.folder / "luigi.cfg").unlink()

    assert failure_of(chain, "config") == (
        f"{chain.folder}/luigi.cfg does not exist: run this command in the folder of luigi.cfg"
    )


@pytest.mark.parametrize(
    ("section", "setting", "name"),
    [
        ("ccdb", "page_sise", "[ccdb] page_sise"),
        ("core", "scheduler_prot", "[core] scheduler_prot"),
        ("PruneSnapshots", "keep_day", "[PruneSnapshots] keep_day"),
        ("strage", "root", "[strage]"),
    ],
)
def test_unknown_setting_or_section_is_named(chain: Chain, section: str, setting: str, name: str) -> None:
    chain.configure(section, **{setting: 1})

    assert failure_of(chain, "config") == f"luigi.cfg: {name} is unknown: correct or remove it"


@pytest.mark.parametrize(
    ("section", "setting", "value", "reason"),
    [
        ("ccdb", "page_size", "0", "page_size: 0 is not a whole number from 1 to 10000"),
        ("PruneSnapshots", "keep_days", "x", "keep_days: 'x' is not a whole number from 1 to 36500"),
        ("core", "scheduler_port", "abc", "invalid literal for int() with base 10: 'abc'"),
        ("storage", "root", "a%20b", "'%' must be followed by '%' or '('"),
    ],
)
def test_invalid_value_is_named_with_the_reason(
    chain: Chain, section: str, setting: str, value: str, reason: str
) -> None:
    chain.configure(section, **{setting: value})

    assert (
        failure_of(chain, "config")
        == f"luigi.cfg: [{section}] {setting} can't be used ({reason}): correct it"
    )


def test_check_stopped_by_a_setting_is_reported(chain: Chain) -> None:
    chain.configure("storage", root="~nobody-of-this-name/data")
    reason = "Could not determine home directory."
    stopped = f"this can't be checked ({reason}): correct luigi.cfg or the environment"

    findings = run_doctor(chain)

    for check in ("folders", "database", "runs", "temporary files"):
        assert of_check(check, findings) == [(False, stopped)]


@pytest.mark.parametrize("content", [b"root=data\n", b"[storage]\nroot\n", b"[storage]\nroot=caf\xe9\n"])
def test_unreadable_luigi_cfg_is_one_line(chain: Chain, content: bytes) -> None:
    (chain.folder / "luigi.cfg").write_bytes(content)

    ran = chain.program("luigi-etl", "doctor", "--json")

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("luigi_etl: error: luigi.cfg can't be read (")
    assert ran.err.endswith("): correct it\n")
